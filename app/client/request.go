package client

// This file owns the request: what a caller may ask for, and its head on the
// wire. It refuses to know connections.

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"tafe/httpparse"
)

// Request is what to send. It is only read; it may be reused as soon as Do has
// returned.
type Request struct {
	Method string // "" is GET
	// URL is "http://host[:port][/path][?query]" or https. Its fragment is not
	// sent; a user name or password in it is refused.
	URL string

	// A proxy that has no URL sets Addr instead: "host:port" or "unix:/path", with
	// Target in whatever form the peer expects ("/" if empty).
	Addr   string
	TLS    bool
	Target []byte
	// Host is the Host field; "" is the URL's authority or Addr.
	Host string

	// Headers are sent in this order. Host, Content-Length, Transfer-Encoding,
	// Connection, Keep-Alive, Proxy-Connection and Upgrade are computed here:
	// naming one of them is an error, as is a name or value that could be read as
	// another line.
	Headers []httpparse.Header
	// Upgrade asks for another protocol, such as "websocket". If the answer is
	// 101, Response.Upgrade hands the connection out.
	Upgrade string

	// Interim, if not nil, is told of each interim response (1xx but 101) before the final one, in the goroutine that called
	// Do. The fields are views that end with the call.
	Interim func(status int, fields []httpparse.Header)

	// Body, or Stream with StreamLength bytes, -1 for as many as it has (chunked).
	// No more than StreamLength bytes are read; fewer are an error. Stream is read
	// by the goroutine that called Do, and once at most: such a request is never
	// sent again.
	Body         []byte
	Stream       io.Reader
	StreamLength int64

	// Timeout bounds each try, to the end of the response body; 0 is none. The
	// bounds of Options hold besides.
	Timeout time.Duration
	// Retries is how many more tries an idempotent request gets when no response
	// came: no connection, a lost one, or a timeout.
	Retries int
	// Idempotent declares that sending twice is as good as sending once, whatever
	// the method (RFC 9110 section 9.2.2).
	Idempotent bool
	// Fresh insists on a new connection.
	Fresh bool
	// Close asks the peer to close the connection after the response.
	Close bool
	// Hedge allows a second, concurrent request when the first is late; see
	// Options.Hedge. Only for idempotent requests without Stream.
	Hedge bool
}

// AddHeader appends a field. Name and value are not copied.
func (r *Request) AddHeader(name, value string) {
	r.Headers = append(r.Headers, httpparse.Header{Name: view(name), Value: view(value)})
}

// view shows a string as bytes that nobody writes to.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Reset empties the request and keeps the array of its headers.
func (r *Request) Reset() {
	clear(r.Headers)
	*r = Request{Headers: r.Headers[:0]}
}

// idempotent tells whether the request may be sent again (RFC 9110 section
// 9.2.2) as far as its meaning goes.
func (r *Request) idempotent() bool {
	switch r.Method {
	case "", "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return r.Idempotent
}

// destination is where a request goes, in views into the Request.
type destination struct {
	key    hostKey
	target []byte
	host   string
}

// destination splits the URL, or takes the fields that stand for it. query-only
// targets get their slash in scratch, which is returned grown.
func (r *Request) destination(scratch []byte) (d destination, _ []byte, ok bool) {
	if r.URL == "" {
		d = destination{key: hostKey{r.TLS, r.Addr}, target: r.Target, host: r.Host}
		if len(d.target) == 0 {
			d.target = view("/")
		}
	} else {
		rest := ""
		if d.key.tls, rest, ok = cutScheme(r.URL); !ok {
			return d, scratch, false
		}
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		d.key.authority = rest[:end]
		target, _, _ := strings.Cut(rest[end:], "#")
		d.target = view(target)
		if target == "" || target[0] != '/' {
			scratch = append(append(scratch[:0], '/'), target...)
			d.target = scratch
		}
		d.host = r.Host
	}
	if d.host == "" {
		d.host = d.key.authority
		if strings.HasPrefix(d.host, unixPrefix) {
			d.host = "localhost"
		}
	}
	return d, scratch, d.key.authority != "" && plainHost(d.host)
}

func cutScheme(url string) (tls bool, rest string, ok bool) {
	const plain, secure = "http://", "https://"
	if len(url) > len(plain) && strings.EqualFold(url[:len(plain)], plain) {
		return false, url[len(plain):], true
	}
	if len(url) > len(secure) && strings.EqualFold(url[:len(secure)], secure) {
		return true, url[len(secure):], true
	}
	return false, "", false
}

// plainHost accepts what a Host field may hold (RFC 9110 section 7.2), user
// information excluded.
func plainHost(host string) bool {
	for i := range len(host) {
		switch c := host[i]; {
		case c <= ' ', c >= 0x7f:
			return false
		case strings.IndexByte(`/?#@\"<>^{}|`+"`", c) >= 0:
			return false
		}
	}
	return host != ""
}

// ValidAddr tells whether Addr can be this: "host:port" or "unix:/path".
func ValidAddr(addr string) bool {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		return path != ""
	}
	_, _, err := net.SplitHostPort(addr)
	if err == nil {
		_, _, _, err = dialTarget(hostKey{authority: addr})
	}
	return err == nil
}

const unixPrefix = "unix:"

// dialTarget says how to reach an authority, and the name its certificate must
// bear.
func dialTarget(k hostKey) (network, addr, serverName string, err error) {
	if path, ok := strings.CutPrefix(k.authority, unixPrefix); ok {
		return "unix", path, "localhost", nil
	}
	host, port, err := net.SplitHostPort(k.authority)
	if err != nil { // no port
		host = strings.TrimSuffix(strings.TrimPrefix(k.authority, "["), "]")
		port = "80"
		if k.tls {
			port = "443"
		}
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", "", "", ErrURL
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || !plainHost(host) {
		return "", "", "", ErrURL
	}
	return "tcp", net.JoinHostPort(host, port), host, nil
}

// appendHead appends the request's head; bodyLength is -1 for chunked, -2 for no
// body at all. A traceparent takes the place of the request's own.
func (r *Request) appendHead(b []byte, d destination, bodyLength int64, traceparent string) ([]byte, error) {
	method := r.Method
	if method == "" {
		method = "GET"
	}
	b, err := httpparse.AppendRequestLine(b, view(method), d.target)
	if err != nil {
		return b, err
	}
	if b, err = httpparse.AppendHeader(b, "Host", d.host); err != nil {
		return b, err
	}
	switch {
	case r.Upgrade != "":
		b = append(b, "Connection: upgrade\r\n"...)
		if b, err = httpparse.AppendHeader(b, "Upgrade", r.Upgrade); err != nil {
			return b, err
		}
	case r.Close:
		b = append(b, "Connection: close\r\n"...)
	}
	for i := range r.Headers {
		h := &r.Headers[i]
		if reserved(h.Name) {
			return b, ErrReservedField
		}
		if traceparent != "" && len(h.Name) == len("Traceparent") && bytes.EqualFold(h.Name, []byte("Traceparent")) {
			continue
		}
		if b, err = httpparse.AppendHeaderBytes(b, h.Name, h.Value); err != nil {
			return b, err
		}
	}
	if traceparent != "" {
		if b, err = httpparse.AppendHeader(b, "Traceparent", traceparent); err != nil {
			return b, err
		}
	}
	switch {
	case bodyLength == chunkedBody:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case bodyLength >= 0:
		b = httpparse.AppendContentLength(b, bodyLength)
	}
	return httpparse.AppendHeadEnd(b), nil
}

const (
	chunkedBody = -1
	noBody      = -2
)

// bodyLength says how the body is framed (RFC 9110 section 8.6: a method that
// expects a body says so even when it is empty).
func (r *Request) bodyLength() int64 {
	switch {
	case r.Stream != nil:
		return max(r.StreamLength, chunkedBody)
	case len(r.Body) > 0:
		return int64(len(r.Body))
	}
	switch r.Method {
	case "POST", "PUT", "PATCH":
		return 0
	}
	return noBody
}

// reserved names the fields that decide where this message ends, where it goes
// and what becomes of the connection.
func reserved(name []byte) bool {
	var want string
	switch len(name) {
	case len("host"):
		want = "host"
	case len("upgrade"):
		want = "upgrade"
	case len("connection"):
		return strings.EqualFold(text(name), "connection") || strings.EqualFold(text(name), "keep-alive")
	case len("content-length"):
		want = "content-length"
	case len("proxy-connection"):
		want = "proxy-connection"
	case len("transfer-encoding"):
		want = "transfer-encoding"
	default:
		return false
	}
	return strings.EqualFold(text(name), want)
}

// text shows bytes as a string for as long as nobody writes to them.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
