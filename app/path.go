// Normalization of paths, path parameters, and their encoding for URLs. Only a literal slash separates segments: %2F, %5C and ';' are data.
// Empty segments are kept, and nothing is decoded twice.

package app

import (
	"bytes"
	"net/url"
	"slices"
	"strings"

	"tafe/httpparse"
)

// escapedSlash stands for an escaped slash in a cleaned path and in parameter values. NUL does not occur otherwise, because %00 is refused.
const escapedSlash = 0

var errHiddenDots = &httpparse.Error{Status: 400, Reason: "hidden-dot-segment",
	Detail: "the path has a dot segment next to an escaped slash"}

// cleanPath percent-decodes raw, the path of a request target, and removes its dot segments. The result is raw itself if there is nothing to
// do, and stored in scratch otherwise.
//
// Invalid escapes, %00, and paths that lead above the root are refused with 400. So are dot segments next to an escaped slash: "..%2Fsecret"
// is a single segment here, but a path traversal for a backend that decodes it later. The error is an *httpparse.Error.
func cleanPath(scratch, raw []byte) (path []byte, err error) {
	if bytes.IndexByte(raw, '%') < 0 && !bytes.Contains(raw, []byte("/.")) {
		return raw, nil
	}
	path = scratch[:0]
	escaped := false
	for segment := range bytes.SplitSeq(raw[1:], []byte("/")) {
		path = append(path, '/')
		from := len(path)
		if path, err = httpparse.DecodePath(path, segment); err != nil {
			return nil, err
		}
		for i, b := range path[from:] {
			if b == '/' {
				path[from+i] = escapedSlash
				escaped = true
			}
		}
	}
	if path, err = httpparse.NormalizePath(path[:0], path); err != nil {
		return nil, err
	}
	if escaped && hidesDots(path) {
		return nil, errHiddenDots
	}
	return path, nil
}

// hidesDots reports whether path has a dot segment if escaped slashes count as separators.
func hidesDots(path []byte) bool {
	separator := func(r rune) bool { return r == '/' || r == escapedSlash }
	for segment := range bytes.FieldsFuncSeq(path, separator) {
		if string(segment) == "." || string(segment) == ".." {
			return true
		}
	}
	return false
}

// appendShown appends a cleaned path to dst, with %2F for escaped slashes.
func appendShown(dst, path []byte) []byte {
	for {
		i := bytes.IndexByte(path, escapedSlash)
		if i < 0 {
			return append(dst, path...)
		}
		dst = append(append(dst, path[:i]...), "%2F"...)
		path = path[i+1:]
	}
}

// Path returns the path that was routed: percent-decoded and without dot segments, but with %2F for slashes that the client has escaped.
// An escaped slash does not separate segments (RFC 3986 section 2.2).
func (c *Context) Path() string { return string(c.path) }

// RawPath returns the path as received.
func (c *Context) RawPath() string { return string(c.req.Path) }

// Param returns the decoded value of a path parameter; "" if the pattern has none of that name. In the value of a catch-all, slashes that
// the client has escaped are %2F, as in Path. The value of a single segment is decoded completely and may contain slashes: check it before
// you use it in a file name; see EscapedSlash.
func (c *Context) Param(name string) string { return strings.Clone(c.ParamView(name)) }

// EscapedSlash reports whether the value of a path parameter contains a slash that the client has escaped. Such a value must not be used as
// a file name, and must be escaped in a URL; see EncodedParam.
func (c *Context) EscapedSlash(name string) bool {
	return bytes.IndexByte(c.params.get(name), escapedSlash) >= 0
}

// CanonicalPath returns the path that was routed, percent-encoded for a URL in one form: unlike RawPath, it is the same for all spellings of
// a path, and has no dot segments.
func (c *Context) CanonicalPath() string {
	path, err := cleanPath(nil, c.req.Path)
	if err != nil { // such a request reaches no handler
		return "/"
	}
	return escapeSegments(httpparse.ViewString(path))
}

func escapeSegments(path string) string {
	var b strings.Builder
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(url.PathEscape(strings.ReplaceAll(segment, "\x00", "/")))
	}
	return b.String()
}

// EncodedParam returns the value of a path parameter for the path of a URL, with the encoding that the client has used. Slashes that the
// client has escaped stay escaped; the separators in a catch-all do not.
func (c *Context) EncodedParam(name string) string { return strings.Clone(c.EncodedParamView(name)) }

// EncodedCapture is Capture for the path of a URL, with the encoding that the client has used.
func (c *Context) EncodedCapture(group int) string { return strings.Clone(c.EncodedCaptureView(group)) }

// EncodedPath returns the routed path, without dot segments, with the encoding that the client has used. See CanonicalPath for one form of all
// spellings.
func (c *Context) EncodedPath() string { return strings.Clone(c.EncodedPathView()) }

// encodedPart returns routed[from:to] in the encoding of the client. A path with dot segments is encoded anew.
func (c *Context) encodedPart(value []byte, from, to int) string {
	raw, ok := rawPart(c.req.Path, len(c.routed), from, to)
	if !ok {
		return escapeSegments(httpparse.ViewString(value))
	}
	if !slices.ContainsFunc(raw, func(b byte) bool { return b != '%' && !httpparse.IsPathByte(b) }) {
		return httpparse.ViewString(raw)
	}
	b := make([]byte, 0, len(raw)+16)
	for _, x := range raw {
		if x == '%' || httpparse.IsPathByte(x) {
			b = append(b, x)
		} else {
			b = httpparse.AppendEscape(b, x)
		}
	}
	return httpparse.ViewString(b)
}

// rawPart returns the part of a raw path that decodes to the bytes from to to of a cleaned path of n bytes. ok is false if dot segments were
// removed, so that the positions differ.
func rawPart(raw []byte, n, from, to int) (part []byte, ok bool) {
	start, end, at := -1, -1, 0
	for i := 0; ; at++ {
		if at == from {
			start = i
		}
		if at == to {
			end = i
		}
		if i >= len(raw) {
			break
		}
		if raw[i] == '%' {
			i += 2
		}
		i++
	}
	if at != n || start < 0 || end < 0 {
		return nil, false
	}
	return raw[start:end], true
}
