// Views: the strings of a Context without a copy, for middlewares, proxies and handlers on a hot path.
//
// A view points into the memory of the connection or of the Context, which the next request overwrites. It is valid until the handler returns,
// those of response headers only until the headers change. Do not keep it, and do not pass it to another goroutine. Each method with "View" in
// its name is the one without it, which returns a copy, and does not allocate where that one would only copy. cookie.go and clientip.go have
// two more.
//
// A test run can overwrite the memory of views when the handler has returned; see package poison.

package app

import (
	"bytes"
	"iter"
	"slices"
	"strings"

	"tafe/app/internal/poison"
	"tafe/httpparse"
)

// HeaderView is Header without a copy. A view is valid until the handler returns.
func (c *Context) HeaderView(name string) string { return httpparse.ViewString(c.req.Header(name)) }

// HeadersView is Headers without copies. A view is valid until the handler returns.
func (c *Context) HeadersView() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, h := range c.req.Headers() {
			if !yield(httpparse.ViewString(h.Name), httpparse.ViewString(h.Value)) {
				return
			}
		}
	}
}

// HeaderListView is HeaderList without a copy, unless several headers have to be joined. A view is valid until the handler returns.
func (c *Context) HeaderListView(name string) string { return httpparse.ListOf(c.req.Headers(), name) }

// HostView is Host without a copy. A view is valid until the handler returns.
func (c *Context) HostView() string { return httpparse.ViewString(c.req.Host) }

// PathView is Path without a copy. A view is valid until the handler returns.
func (c *Context) PathView() string { return httpparse.ViewString(c.path) }

// RawPathView is RawPath without a copy. A view is valid until the handler returns.
func (c *Context) RawPathView() string { return httpparse.ViewString(c.req.Path) }

// RawQueryView is RawQuery without a copy. A view is valid until the handler returns.
func (c *Context) RawQueryView() string { return httpparse.ViewString(c.req.Query) }

// RawTargetView is RawTarget without a copy. A view is valid until the handler returns.
func (c *Context) RawTargetView() string { return httpparse.ViewString(c.req.Target) }

// RequestIDView is RequestID without a copy. A view is valid until the handler returns.
func (c *Context) RequestIDView() string { return httpparse.ViewString(c.id[:c.idBytes]) }

// QueryView is Query without a copy, unless the value has to be decoded. A view is valid until the handler returns.
func (c *Context) QueryView(name string) string {
	for v := range c.queryViews(name) {
		return v
	}
	return ""
}

// queryViews yields what QueryAll yields, as views where nothing is decoded.
func (c *Context) queryViews(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k, v := range httpparse.Query(c.req.Query) {
			if !c.sameKey(k, name) {
				continue
			}
			if bytes.IndexByte(v, '%') < 0 && bytes.IndexByte(v, '+') < 0 {
				if !yield(httpparse.ViewString(v)) {
					return
				}
				continue
			}
			decoded, err := httpparse.DecodeQuery(nil, v)
			if err == nil && !yield(httpparse.ViewString(decoded)) {
				return
			}
		}
	}
}

// ParamView is Param without a copy, unless the value has escaped slashes. A view is valid until the handler returns.
func (c *Context) ParamView(name string) string {
	p := &c.params
	value := p.get(name)
	switch {
	case bytes.IndexByte(value, escapedSlash) < 0:
		return httpparse.ViewString(value)
	case p.rest && p.names[len(p.names)-1] == name:
		return httpparse.ViewString(appendShown(nil, value))
	}
	return strings.ReplaceAll(httpparse.ViewString(value), "\x00", "/")
}

// EncodedParamView is EncodedParam without a copy, unless the value has to be encoded. A view is valid until the handler returns.
func (c *Context) EncodedParamView(name string) string {
	value := c.params.get(name)
	if value == nil {
		return ""
	}
	from := cap(c.routed) - cap(value) // value is a part of routed
	return c.encodedPart(value, from, from+len(value))
}

// CaptureView is Capture without a copy, unless the value has escaped slashes. A view is valid until the handler returns.
func (c *Context) CaptureView(group int) string {
	value, _, _ := c.captured(group)
	if bytes.IndexByte(value, escapedSlash) < 0 {
		return httpparse.ViewString(value)
	}
	return httpparse.ViewString(appendShown(nil, value))
}

// EncodedCaptureView is EncodedCapture without a copy, unless the value has to be encoded. A view is valid until the handler returns.
func (c *Context) EncodedCaptureView(group int) string {
	value, from, to := c.captured(group)
	return c.encodedPart(value, from, to)
}

// EncodedPathView is EncodedPath without a copy, unless the path has to be encoded. A view is valid until the handler returns.
func (c *Context) EncodedPathView() string { return c.encodedPart(c.routed, 0, len(c.routed)) }

// ResponseHeaderView is ResponseHeader without a copy. The view is valid until the next change of the response's headers.
func (c *Context) ResponseHeaderView(name string) string {
	for i := range c.resp.fields {
		if n, value := c.resp.field(i); len(n) == len(name) && strings.EqualFold(n, name) {
			return value
		}
	}
	return ""
}

// ResponseHeaderListView is ResponseHeaderList without a copy, unless several headers have to be joined. The view is valid until the next change
// of the response's headers.
func (c *Context) ResponseHeaderListView(name string) (list string) {
	for i := range c.resp.fields {
		if n, value := c.resp.field(i); len(n) == len(name) && strings.EqualFold(n, name) {
			list = httpparse.JoinLists(list, value)
		}
	}
	return list
}

// poison overwrites the memory of views, apart from the pinned input; see http1Conn.unpin.
func (c *Context) poison() {
	poison.Overwrite(c.head, c.pathSpace, c.pathShown, c.rewritten, c.id[:], c.resp.text)
}

// ownFields copies the fields of an HTTP/2 request to c.head. Fields of HTTP/2 are immutable otherwise, and cannot be overwritten.
func (c *Context) ownFields(fields []httpparse.Header) []httpparse.Header {
	n := 0
	for _, f := range fields {
		n += len(f.Name) + len(f.Value)
	}
	own := slices.Clone(fields)
	c.head = slices.Grow(c.head[:0], n)
	for i := range own {
		for _, b := range []*[]byte{&own[i].Name, &own[i].Value} {
			from := len(c.head)
			c.head = append(c.head, *b...)
			*b = c.head[from:len(c.head):len(c.head)]
		}
	}
	return own
}
