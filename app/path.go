// This file owns the form of a path that routing compares, and the views of it that handlers get. It is the one place that decides
// which bytes separate segments: a slash that the client wrote as a slash, and nothing else. %2F is data, so are %5C and ';', an
// empty segment is a segment, and nothing is decoded twice.

package app

import (
	"bytes"
	"net/url"
	"strings"

	"tafe/httpparse"
)

// An escaped slash stands as NUL in a path that is matched and in the values of its parameters, a byte that no path can hold
// otherwise, since %00 is refused.
const escapedSlash = 0

var errHiddenDots = &httpparse.Error{Status: 400, Reason: "hidden-dot-segment",
	Detail: "the path has a dot segment next to an escaped slash"}

// cleanPath returns raw, the path of a request target, percent-decoded and without dot segments, as find takes it. It
// is raw itself where there is nothing to do, and else appended to scratch.
//
// A broken escape, %00, and a path that climbs above the root are refused with a 400, also where the dots stand
// beside an escaped slash: "..%2Fsecret" would be one harmless segment here, and a way out of the folder for who
// decodes it later. The error is an *httpparse.Error.
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

// hidesDots tells whether a dot segment appears once escaped slashes count as separators.
func hidesDots(path []byte) bool {
	separator := func(r rune) bool { return r == '/' || r == escapedSlash }
	for segment := range bytes.FieldsFuncSeq(path, separator) {
		if string(segment) == "." || string(segment) == ".." {
			return true
		}
	}
	return false
}

// appendShown appends a path from cleanPath to dst as Context.Path returns it: an escaped slash is spelled %2F.
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

// Path is the request's path as it was routed: percent-decoded and without dot segments, but with %2F where the client has
// escaped a slash. An escaped slash is data (RFC 3986 section 2.2): it separates no segments here, and must not do so later.
func (c *Context) Path() string { return view(c.path) }

// RawPath is the path as the client wrote it.
func (c *Context) RawPath() string { return view(c.req.Path) }

// Param is the value of a parameter of the route's pattern, decoded; "" if the pattern has none of that name. The value of a
// catch-all has %2F where the client has escaped a slash, so that each slash in it separates segments, as in Path. A parameter
// of one segment is decoded as a whole and may hold slashes: check it before it becomes a part of a path.
func (c *Context) Param(name string) string {
	p := &c.params
	value := p.get(name)
	switch {
	case bytes.IndexByte(value, escapedSlash) < 0:
		return view(value)
	case p.rest && p.names[len(p.names)-1] == name:
		return view(appendShown(nil, value))
	}
	return strings.ReplaceAll(view(value), "\x00", "/")
}

// EscapedSlash tells whether the value of a parameter holds a slash that the client has escaped. Such a value cannot name a
// file, and must be escaped anew where it becomes a part of a URL: see EscapedParam.
func (c *Context) EscapedSlash(name string) bool {
	return bytes.IndexByte(c.params.get(name), escapedSlash) >= 0
}

// EscapedParam is the value of a parameter, percent-encoded for the path of a URL. Slashes that the client has escaped are
// escaped; those of a catch-all that separate segments are not.
func (c *Context) EscapedParam(name string) string {
	value := c.params.get(name)
	var b strings.Builder
	for i, segment := range strings.Split(view(value), "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(url.PathEscape(strings.ReplaceAll(segment, "\x00", "/")))
	}
	return b.String()
}
