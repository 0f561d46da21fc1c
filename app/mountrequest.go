// The http.Request of a mounted handler. It is a copy that may outlive the Context; its body is read by the task.

package app

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"sync/atomic"
	"time"

	"tafe/httpparse"
)

// bodyCopyMax is the largest body in bytes that is copied for a mounted handler. Larger ones are read through the task.
const bodyCopyMax = 64 << 10

// request returns the handler's request.
func (m *mounted) request(c *Context, server *http.Server) (*http.Request, error) {
	target := c.RawTarget()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, &HTTPError{Status: http.StatusBadRequest, Message: "the request target is not a URI", Err: err}
	}
	if u.Path != c.PathView() {
		u.Path, u.RawPath = c.Path(), ""
	}
	r := &http.Request{
		Method: c.Method(), URL: u, Proto: c.Proto(), ProtoMajor: int(c.req.Major), ProtoMinor: c.ProtoMinor(),
		Header: c.httpHeader(), ContentLength: c.req.ContentLength, Host: c.Host(),
		RemoteAddr: c.RemoteAddr(), RequestURI: target, Close: !c.req.KeepAlive, Pattern: c.Route(), TLS: c.TLS(),
	}
	if c.req.Framing == httpparse.FramingChunked {
		r.TransferEncoding = []string{"chunked"}
	}
	for _, name := range c.params.names {
		r.SetPathValue(name, c.Param(name))
	}
	switch b := &c.body; {
	case !b.done:
		r.Body = &mountedBody{m: m}
	case len(b.whole) == 0:
		r.Body = http.NoBody
	case len(b.whole) <= bodyCopyMax:
		r.Body = io.NopCloser(bytes.NewReader(bytes.Clone(b.whole)))
	default:
		r.Body = &mountedBody{m: m}
	}
	return r.WithContext(m.context(c, server)), nil
}

// httpHeader returns the header of the request as net/http has it.
func (c *Context) httpHeader() http.Header {
	header := make(http.Header, len(c.req.Headers()))
	for name, value := range c.Headers() {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if name != "Host" && name != "Transfer-Encoding" {
			header[name] = append(header[name], value)
		}
	}
	return header
}

// context returns the context of the request. It has the values and the deadline that c has now, and ends with the handler.
func (m *mounted) context(c *Context, server *http.Server) context.Context {
	var ctx context.Context = &mountedContext{
		Context: context.Background(), server: server, local: c.LocalAddr(), values: append([]value(nil), c.values...), outer: c.outer,
	}
	ctx, m.cancel = context.WithCancelCause(ctx)
	if at, ok := c.Deadline(); ok {
		ctx = deadlined{ctx, at}
	}
	return ctx
}

// LocalAddr returns the address at which the connection was accepted; behind the PROXY protocol, the one that the header announces.
func (c *Context) LocalAddr() net.Addr {
	defer c.task.Leave(c.task.Enter())
	return c.wire.reactorConn().LocalAddr()
}

// mountedContext has the values that net/http sets, and those of Context.Set.
type mountedContext struct {
	context.Context
	server *http.Server
	local  net.Addr
	values []value
	outer  context.Context // of a middleware around, or nil
}

func (x *mountedContext) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return x.server
	case http.LocalAddrContextKey:
		return x.local
	}
	for _, v := range x.values {
		if v.key == key {
			return v.value
		}
	}
	if x.outer != nil {
		return x.outer.Value(key)
	}
	return nil
}

// deadlined reports a deadline. The task enforces it.
type deadlined struct {
	context.Context
	at time.Time
}

func (d deadlined) Deadline() (time.Time, bool) { return d.at, true }

// mountedBody is the body of the request.
type mountedBody struct {
	m     *mounted
	ended atomic.Bool
}

// Read implements io.Reader.
func (b *mountedBody) Read(p []byte) (int, error) {
	switch {
	case b.ended.Load():
		return 0, http.ErrBodyReadAfterClose
	case len(p) == 0:
		return 0, nil
	}
	a := &taskCall{p: p}
	err := b.m.submit(a)
	return a.n, err
}

// Close implements io.Closer. The server discards the unread rest.
func (b *mountedBody) Close() error {
	b.ended.Store(true)
	return nil
}
