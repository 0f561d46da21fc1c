// Values in a URL. A value stays in its part of the URL: what would end the part is percent-encoded. Values that are copied from the URL of the
// request keep the encoding of the client.

package variable

import (
	"fmt"
	"strings"

	"tafe/httpparse"
)

// urlPart is a part of a URL.
type urlPart uint8

const (
	inScheme urlPart = iota // at the start: a scheme or a path follows
	inHost
	inPath
	inQuery
	inFragment
)

// urlParts finds the part in which a variable stands. The zero value is at the start of a URL.
type urlParts struct {
	at   urlPart
	seen string // of the scheme
}

// schemeBytesMax is more than any scheme has, with its "://".
const schemeBytesMax = 64

// skip passes over literal text.
func (u *urlParts) skip(text string) {
	for i := range len(text) {
		b := text[i]
		switch u.at {
		case inScheme:
			u.seen += text[i : i+1]
			switch {
			case b == '/' && (u.seen == "/" || u.seen == "//"), b == '?' || b == '#':
				u.at = inPath
			case strings.HasSuffix(u.seen, "://"):
				u.at = inHost
			case len(u.seen) > schemeBytesMax:
				u.at = inPath
			}
		case inHost:
			if b == '/' {
				u.at = inPath
			}
		}
		switch {
		case u.at == inQuery && b == '#' || u.at < inQuery && b == '#':
			u.at = inFragment
		case u.at < inQuery && b == '?':
			u.at = inQuery
		}
	}
}

// skipValue passes over the value of a variable. {scheme} is followed by a host.
func (u *urlParts) skipValue(name string, rooted bool) {
	switch {
	case u.at == inScheme && name == "scheme" && u.seen == "":
		u.seen = name
	case u.at == inScheme || u.at == inHost && rooted:
		u.at = inPath
	}
}

// inURL returns the piece of a variable in a part of a URL.
func (v *value) inURL(name string, at urlPart) (piece, error) {
	text := v.text
	if at == inHost && v.rooted {
		at = inPath
	}
	switch at {
	case inHost:
		if v.kind != hostValue {
			return piece{}, fmt.Errorf("{%s} stands in the host of a URL, where only {host}, {hostport}, {host.1} and the like may stand: others would let "+
				"the client choose the host", name)
		}
		return piece{append: func(dst []byte, s Source) []byte { return append(dst, text(s)...) }}, nil
	case inQuery, inFragment:
		if v.kind == queryValue {
			raw := v.raw
			return piece{append: func(dst []byte, s Source) []byte { return appendEncoded(dst, raw(s), queryByte, true) }}, nil
		}
		return piece{append: func(dst []byte, s Source) []byte { return appendEncoded(dst, text(s), httpparse.IsUnreserved, false) }}, nil
	}
	switch v.kind {
	case pathValue:
		raw := v.raw
		return piece{append: func(dst []byte, s Source) []byte { return appendEncoded(dst, raw(s), httpparse.IsPathByte, true) }}, nil
	case targetValue:
		raw := v.raw
		return piece{append: func(dst []byte, s Source) []byte { return appendEncoded(dst, raw(s), queryByte, true) }}, nil
	}
	return piece{append: func(dst []byte, s Source) []byte { return appendEncoded(dst, text(s), httpparse.IsUnreserved, false) }}, nil
}

// withOneSlash removes all but one of the slashes at the start of a path in dst[start:]: "//host" is another server.
func withOneSlash(dst []byte, start int) []byte {
	n := start
	for n+1 < len(dst) && dst[n] == '/' && dst[n+1] == '/' {
		n++
	}
	return append(dst[:start], dst[n:]...)
}

// appendEncoded appends value with all bytes but those of plain percent-encoded. With escaped, value has percent-escapes already, which are
// kept.
func appendEncoded(dst []byte, value string, plain func(byte) bool, escaped bool) []byte {
	from := 0
	for i := range len(value) {
		b := value[i]
		if plain(b) || escaped && b == '%' && i+2 < len(value) && httpparse.IsHex(value[i+1]) && httpparse.IsHex(value[i+2]) {
			continue
		}
		dst = httpparse.AppendEscape(append(dst, value[from:i]...), b)
		from = i + 1
	}
	return append(dst, value[from:]...)
}

// queryByte reports whether b may stand in a query (RFC 3986 section 3.4).
func queryByte(b byte) bool { return httpparse.IsPathByte(b) || b == '?' }

// rawQuery returns the first value of a query parameter as the client has encoded it.
func rawQuery(s Source, name string) string {
	if s.Request == nil {
		return ""
	}
	for k, v := range httpparse.Query([]byte(s.Request.RawQueryView())) {
		if key, err := httpparse.DecodeQuery(nil, k); err == nil && string(key) == name {
			return string(v)
		}
	}
	return ""
}
