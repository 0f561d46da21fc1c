// The request and its head on the wire.

package client

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"tafe/httpparse"
)

// Request is a request to send. The client does not modify it. It may be reused when Do has returned.
type Request struct {
	Method string // "" means GET
	// URL is "http://host[:port][/path][?query]" or https. The fragment is not sent. User information is an error.
	URL string

	// Addr, used if URL is empty, is "host:port" or "unix:/path". Target is the request target in any form; empty
	// means "/".
	Addr   string
	TLS    bool
	Target []byte
	// ServerName is the name expected in the certificate of the server, unless Options.TLS has one. The default is the
	// host of the URL or of Addr.
	ServerName string
	// Host is the Host field. The default is the authority of the URL, or Addr.
	Host string

	// Headers are sent in this order. The client sets Host, Content-Length, Transfer-Encoding, Connection,
	// Keep-Alive, Proxy-Connection, TE and Upgrade; one of these is an error, and so is a name or value that is not valid
	// (RFC 9110 section 5).
	Headers []httpparse.Header
	// Upgrade requests a switch to another protocol, such as "websocket" (RFC 9110 section 7.8). After a 101,
	// Response.Upgrade returns the connection.
	Upgrade string

	// Interim, if not nil, is called for each interim response (1xx except 101) in the goroutine that called Do.
	// fields is valid during the call.
	Interim func(status int, fields []httpparse.Header)

	// Body is the request body. Stream is the alternative: StreamLength bytes are read from it, or all if
	// StreamLength is -1 (chunked). Fewer bytes are an error. Stream is read by the goroutine that called Do; a
	// request whose Stream was read is never sent again. A Stream that is a Source is sent over HTTP/2 while the
	// response is received: Do returns with its head, and the rest is sent until the response is closed.
	Body         []byte
	Stream       io.Reader
	StreamLength int64
	// Trailers, if not nil, is called after the end of a Stream, and returns trailer fields to send (RFC 9110 section
	// 6.5). HTTP/1 sends them after a chunked body only. With a Source over HTTP/2 it is called on
	// the loop and must not wait.
	Trailers func() []httpparse.Header
	// AcceptTrailers announces that trailers of the response are used: "TE: trailers" (RFC 9110 section 10.1.4).
	AcceptTrailers bool

	// Timeout bounds each try up to the end of the response body. 0 means no bound. The bounds of Options apply as
	// well.
	Timeout time.Duration
	// Retries is the number of additional tries of an idempotent request to which no response arrived: no connection,
	// a lost connection or a timeout.
	Retries int
	// Idempotent declares the request idempotent whatever its method (RFC 9110 section 9.2.2).
	Idempotent bool
	// Fresh requires a new connection. HTTP/2 ignores it.
	Fresh bool
	// Preface is sent first on the connection, before a TLS handshake, such as a PROXY header. The request then has a
	// connection of its own, as with Fresh and Close. With HTTP/2 it is an error.
	Preface []byte
	// Close sends "Connection: close": the server closes the connection after the response. HTTP/2 ignores it.
	Close bool
	// Hedge allows a second, concurrent request if the response is late; see Options.Hedge. It applies to idempotent
	// requests without Stream.
	Hedge bool
}

// Source is a Stream that can be read without waiting.
type Source interface {
	io.Reader
	// TryRead reads what has arrived, on the loop. If n and err are 0 and nil, wake is called once when there is more,
	// on the loop, unless Forget is called before.
	TryRead(p []byte, wake func()) (n int, err error)
	// Forget drops the last wake.
	Forget()
}

// AddHeader appends a field. name and value are not copied.
func (r *Request) AddHeader(name, value string) {
	r.Headers = append(r.Headers, httpparse.Header{Name: httpparse.ViewBytes(name), Value: httpparse.ViewBytes(value)})
}

// Reset clears the request and keeps the array of Headers.
func (r *Request) Reset() {
	clear(r.Headers)
	*r = Request{Headers: r.Headers[:0]}
}

// IdempotentMethod reports whether method is idempotent, so that a request may be sent again (RFC 9110 section 9.2.2).
func IdempotentMethod(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// destination is where a request is sent. Its values are views into the Request.
type destination struct {
	key    hostKey
	target []byte
	host   string
}

// destination splits URL, or takes Addr, TLS and Target. A target without a path is completed in scratch, which is
// returned.
func (r *Request) destination(scratch []byte) (d destination, _ []byte, ok bool) {
	if r.URL == "" {
		d = destination{key: hostKey{r.TLS, r.Addr, r.ServerName}, target: r.Target, host: r.Host}
		if len(d.target) == 0 {
			d.target = httpparse.ViewBytes("/")
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
		d.key.authority, d.key.serverName = rest[:end], r.ServerName
		target, _, _ := strings.Cut(rest[end:], "#")
		d.target = httpparse.ViewBytes(target)
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

// plainHost reports whether host is valid in a Host field (RFC 9110 section 7.2), without user information.
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

// ValidAddr reports whether addr is valid as Request.Addr: "host:port" or "unix:/path".
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

// dialTarget returns the network address of an authority, and the name expected in its certificate.
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

// appendHead appends the request head. bodyLength is a length, chunkedBody or noBody. A non-empty traceparent
// replaces the request's field.
func (r *Request) appendHead(b []byte, d destination, bodyLength int64, traceparent string) ([]byte, error) {
	method := r.Method
	if method == "" {
		method = "GET"
	}
	b, err := httpparse.AppendRequestLine(b, httpparse.ViewBytes(method), d.target)
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
	case r.Close || len(r.Preface) > 0:
		b = append(b, "Connection: close\r\n"...)
	}
	if r.AcceptTrailers {
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
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

// bodyLength returns the length of the body, chunkedBody or noBody. A method that defines a meaning for a body sends
// a Content-Length of 0 (RFC 9110 section 8.6).
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

// reserved reports whether name is a field that frames or routes the request or controls the connection.
func reserved(name []byte) bool {
	var want string
	switch len(name) {
	case len("te"):
		want = "te"
	case len("host"):
		want = "host"
	case len("upgrade"):
		want = "upgrade"
	case len("connection"):
		return strings.EqualFold(httpparse.ViewString(name), "connection") || strings.EqualFold(httpparse.ViewString(name), "keep-alive")
	case len("content-length"):
		want = "content-length"
	case len("proxy-connection"):
		want = "proxy-connection"
	case len("transfer-encoding"):
		want = "transfer-encoding"
	default:
		return false
	}
	return strings.EqualFold(httpparse.ViewString(name), want)
}
