// This file owns the choice between a file and its compressed siblings (RFC 9110 section 12.5.3).

package static

import "strings"

// coding is one of those that a sibling may have, in the order of preference among equals.
type coding int

const (
	zstd coding = iota
	brotli
	gzip
	identity
	codings
)

// suffixes and tokens are those of the codings; constant.
func (k coding) suffix() string { return [...]string{".zst", ".br", ".gz", ""}[k] }
func (k coding) token() string  { return [...]string{"zstd", "br", "gzip", ""}[k] }

// weights are what an Accept-Encoding gives each coding, in thousandths; 0 refuses it.
type weights [codings]int

// parseAccept reads an Accept-Encoding. Codings that it does not name have the weight of "*", or 0; identity has the least there
// is unless it, or "*", is refused. An element that is none refuses nothing and accepts nothing; of two, the last counts.
func parseAccept(header string) (w weights) {
	named, any := [codings]bool{}, -1
	for rest, more := header, true; more; {
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
		if k, known := codingOf(token); known {
			w[k], named[k] = q, true
		}
	}
	for k := range w {
		switch {
		case named[k]:
		case any >= 0:
			w[k] = any
		case coding(k) == identity:
			w[k] = 1
		}
	}
	return w
}

func codingOf(token string) (coding, bool) {
	for k := range codings {
		name := k.token()
		if k == identity {
			name = "identity"
		}
		if strings.EqualFold(token, name) || k == gzip && strings.EqualFold(token, "x-gzip") {
			return k, true
		}
	}
	return identity, false
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

// choose picks what to send of a: the coding of the greatest weight, among equals the smallest file. Without the header, and
// where nothing that is there is acceptable, it is the file itself.
func (a *asset) choose(k *conditions) *variant {
	best := a.variants[identity]
	if !a.coded || !k.encodings {
		return best
	}
	w := parseAccept(k.acceptEncoding)
	weight := w[identity]
	for i := range identity {
		if v := a.variants[i]; v != nil && (w[i] > weight || w[i] == weight && weight > 0 && v.size < best.size) {
			best, weight = v, w[i]
		}
	}
	return best
}
