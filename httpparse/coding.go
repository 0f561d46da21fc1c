// Content codings and the Accept-Encoding field.

package httpparse

import "strings"

// Coding is a content coding (RFC 9110 section 8.4.1).
type Coding uint8

// The codings in use on the web. [Codings] is their number.
const (
	Zstd Coding = iota
	Brotli
	Gzip
	Identity
	Codings
)

// Token returns the name of the coding as it stands in fields.
func (k Coding) Token() string { return [...]string{"zstd", "br", "gzip", "identity"}[k] }

// CodingNamed returns the coding with this name, case-insensitively. x-gzip is gzip (RFC 9110 section 8.4.1.3).
func CodingNamed(token string) (Coding, bool) {
	for k := range Codings {
		if strings.EqualFold(token, k.Token()) || k == Gzip && strings.EqualFold(token, "x-gzip") {
			return k, true
		}
	}
	return Identity, false
}

// CodingWeights holds the weight that an Accept-Encoding gives each coding, in thousandths. 0 means not acceptable.
type CodingWeights [Codings]int

// ParseAcceptEncoding parses an Accept-Encoding value (RFC 9110 section 12.5.3). A coding that is not listed has the
// weight of "*", or 0. Identity, if neither it nor "*" is listed, has the lowest weight, 1. Malformed elements are
// ignored. If a coding is listed twice, the last weight counts.
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

// weightOf parses a weight such as "q=0.5" (RFC 9110 section 12.4.2) in thousandths. An empty string means 1000.
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
