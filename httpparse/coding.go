package httpparse

// This file owns content codings: their names, and what an Accept-Encoding makes of them.

import "strings"

// Coding is a content coding (RFC 9110 section 8.4.1).
type Coding uint8

// The codings that browsers know; [Codings] is their number.
const (
	Zstd Coding = iota
	Brotli
	Gzip
	Identity
	Codings
)

// Token is how fields spell the coding.
func (k Coding) Token() string { return [...]string{"zstd", "br", "gzip", "identity"}[k] }

// CodingNamed is the coding with that token, in any case.
func CodingNamed(token string) (Coding, bool) {
	for k := range Codings {
		if strings.EqualFold(token, k.Token()) || k == Gzip && strings.EqualFold(token, "x-gzip") {
			return k, true
		}
	}
	return Identity, false
}

// CodingWeights are what an Accept-Encoding gives each coding, in thousandths; 0 refuses it.
type CodingWeights [Codings]int

// ParseAcceptEncoding reads an Accept-Encoding (RFC 9110 section 12.5.3). Codings that it does not name have the weight of "*", or 0; identity has the least there
// is unless it, or "*", is refused. An element that is none refuses nothing and accepts nothing; of two, the last counts.
func ParseAcceptEncoding(value string) (w CodingWeights) {
	named, any := [Codings]bool{}, -1
	for rest, more := value, true; more; {
		var element string
		element, rest, more = strings.Cut(rest, ",")
		token, parameters, _ := strings.Cut(element, ";")
		token = strings.Trim(token, " \t")
		q, ok := weightOf(parameters)
		if !ok {
			continue
		}
		if token == "*" {
			any = q
			continue
		}
		if k, known := CodingNamed(token); known {
			w[k], named[k] = q, true
		}
	}
	for k := range w {
		switch {
		case named[k]:
		case any >= 0:
			w[k] = any
		case Coding(k) == Identity:
			w[k] = 1
		}
	}
	return w
}

// weightOf reads ";q=0.5" without its semicolon (section 12.4.2), in thousandths; 1000 where there is none.
func weightOf(parameters string) (int, bool) {
	s := strings.Trim(parameters, " \t")
	if s == "" {
		return 1000, true
	}
	if len(s) < 3 || s[0] != 'q' && s[0] != 'Q' || s[1] != '=' || s[2] != '0' && s[2] != '1' || len(s) > len("q=0.000") {
		return 0, false
	}
	q, unit := int(s[2]-'0')*1000, 100
	if len(s) > 3 && s[3] != '.' {
		return 0, false
	}
	for i := 4; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		q += int(s[i]-'0') * unit
		unit /= 10
	}
	return q, q <= 1000
}
