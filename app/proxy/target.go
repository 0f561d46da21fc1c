// The path in the request to an upstream.

package proxy

import (
	"bytes"
	"strings"

	"tafe/httpparse"
)

// appendPath appends raw in normal form: unreserved characters are unescaped, other escapes get upper-case digits,
// and dot segments are removed (RFC 3986 section 6.2.2). Escaped reserved characters such as %2F stay escaped. app
// has rejected invalid escapes and paths above the root.
func appendPath(dst, raw []byte) ([]byte, error) {
	if bytes.IndexByte(raw, '%') < 0 && !bytes.Contains(raw, []byte("/.")) { // httpparse rejects an unescaped backslash
		return append(dst, raw...), nil
	}
	from := len(dst)
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if b != '%' || i+2 >= len(raw) {
			dst = append(dst, b)
			continue
		}
		decoded := unhex(raw[i+1])<<4 | unhex(raw[i+2])
		i += 2
		if httpparse.IsUnreserved(decoded) {
			dst = append(dst, decoded)
		} else {
			dst = httpparse.AppendEscape(dst, decoded)
		}
	}
	if dst, err := httpparse.NormalizePath(dst[:from], dst[from:]); err != nil || !hasDisguisedDotSegment(dst[from:]) {
		return dst, err
	}
	return dst, errDisguised
}

var errDisguised = &httpparse.Error{Status: 400, Reason: "hidden-dot-segment",
	Detail: "the path contains a dot segment with a parameter or a backslash"}

var disguises = strings.NewReplacer("%5C", "/", "%2F", "/", "%3B", ";")

// hasDisguisedDotSegment reports whether a normalized path contains a segment that some servers read as a dot
// segment, so that they would serve a path that was not routed: "..;x", which servlet containers cut to "..", and
// "..\\x", where a backslash separates segments.
func hasDisguisedDotSegment(path []byte) bool {
	for segment := range bytes.SplitSeq(path, []byte("/")) {
		if bytes.IndexByte(segment, '.') < 0 {
			continue
		}
		for part := range strings.SplitSeq(disguises.Replace(string(segment)), "/") {
			if part, _, _ = strings.Cut(part, ";"); part == "." || part == ".." {
				return true
			}
		}
	}
	return false
}

func unhex(b byte) byte {
	switch {
	case b <= '9':
		return b - '0'
	case b >= 'a':
		return b - 'a' + 10
	}
	return b - 'A' + 10
}

// hasDotSegment reports whether a segment of raw is "." or "..", escaped or not.
func hasDotSegment(raw string) bool {
	for segment := range strings.SplitSeq(raw, "/") {
		dots, other := 0, false
		for i := 0; i < len(segment); i++ {
			switch {
			case segment[i] == '.':
				dots++
			case segment[i] == '%' && i+2 < len(segment) && unhex(segment[i+1])<<4|unhex(segment[i+2]) == '.':
				dots++
				i += 2
			default:
				other = true
			}
		}
		if !other && (dots == 1 || dots == 2) {
			return true
		}
	}
	return false
}

// rewrite replaces the prefix strip of path by add. A prefix matches at a slash only: "/api" is not a prefix of
// "/apiary". moved reports whether path had the prefix.
func rewrite(dst, path []byte, strip, add string) (_ []byte, moved bool) {
	rest, moved := bytes.CutPrefix(path, []byte(strip))
	if strip != "" && (!moved || len(rest) > 0 && rest[0] != '/' && strip[len(strip)-1] != '/') {
		rest, moved = path, false
	}
	dst = append(dst, add...)
	if len(dst) > 0 && dst[len(dst)-1] == '/' && len(rest) > 0 && rest[0] == '/' {
		rest = rest[1:]
	}
	dst = append(dst, rest...)
	if len(dst) == 0 || dst[0] != '/' {
		dst = append([]byte("/"), dst...)
	}
	return dst, moved
}
