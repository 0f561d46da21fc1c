// Iteration over the pairs of a query in the format of HTML forms.

package httpparse

import (
	"bytes"
	"iter"
)

// Query yields the pairs of a raw query in order, not decoded: "a=1&b" yields (a, 1) and (b, nil). Empty pairs are
// skipped.
func Query(b []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) { eachPair(b, yield) }
}

func eachPair(b []byte, yield func(key, value []byte) bool) {
	for len(b) > 0 {
		pair := b
		if end := bytes.IndexByte(b, '&'); end >= 0 {
			pair, b = b[:end], b[end+1:]
		} else {
			b = nil
		}
		if len(pair) == 0 {
			continue
		}
		key, value := pair, []byte(nil)
		if equals := bytes.IndexByte(pair, '='); equals >= 0 {
			key, value = pair[:equals], pair[equals+1:]
		}
		if !yield(key, value) {
			return
		}
	}
}

// DecodeQuery appends a decoded key or value to dst: '+' becomes a space, and percent-escapes become bytes, including
// NUL. An invalid escape is an error with status 400. dst may be raw[:0].
func DecodeQuery(dst, raw []byte) ([]byte, error) {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if !escapeAt(raw, i) {
				return dst, badEscape.inRequest()
			}
			c = hexValue(raw[i+1])<<4 | hexValue(raw[i+2])
			i += 2
		}
		dst = append(dst, c)
	}
	return dst, nil
}
