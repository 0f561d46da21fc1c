// This file has the PROXY protocol, versions 1 and 2: a header before the first
// byte of a connection, in which a load balancer announces the client's address
// (HAProxy, doc/proxy-protocol.txt). The file finds the end of the header;
// github.com/pires/go-proxyproto parses it.

package reactor

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"

	"tafe/loop"
)

// ProxyProtocol makes a Listener require a PROXY header on every connection.
type ProxyProtocol struct {
	// Trusted are the networks of the load balancers. Connections from other
	// addresses are closed, because any client can send such a header. Unix sockets
	// are trusted.
	Trusted []netip.Prefix
	// Timeout is the time from the accept to the end of the header; default 5 s.
	Timeout time.Duration
	// Failed, if not nil, is called on the loop for each connection that is closed
	// for lack of a valid header. It must not wait.
	Failed func(l *loop.Loop, remote string, err error)
}

// Errors for ProxyProtocol.Failed.
var (
	// ErrUntrusted means that the peer's address is not in ProxyProtocol.Trusted.
	ErrUntrusted = errors.New("reactor: a PROXY header is required, and the peer's address is not trusted")
	// ErrProxyHeader means that the connection does not begin with a PROXY header
	// of version 1 or 2.
	ErrProxyHeader = errors.New("reactor: invalid PROXY header")
	// ErrProxyTimeout means that ProxyProtocol.Timeout has passed.
	ErrProxyTimeout = errors.New("reactor: PROXY header timeout")
)

const (
	proxyTimeout    = 5 * time.Second
	proxyLineMax    = 107     // length of a version 1 header
	proxyPayloadMax = 4 << 10 // length of a version 2 header after its first 16 bytes, with extensions
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// proxyHeader is the Handler of a connection whose PROXY header is not complete.
type proxyHeader struct{ listening *listening }

// awaitProxyHeader makes c wait for its PROXY header and then continue with admit.
func (c *Conn) awaitProxyHeader(l *listening) {
	p := &proxyHeader{l}
	c.handler = p
	if !p.trusted(c.RemoteAddr()) {
		p.fail(c, ErrUntrusted)
		return
	}
	timeout := l.Proxy.Timeout
	if timeout <= 0 {
		timeout = proxyTimeout
	}
	c.SetTimeout(timeout)
}

// trusted reports whether a peer at a may send a PROXY header.
func (p *proxyHeader) trusted(a net.Addr) bool {
	address, ok := clientIP(a)
	if !ok {
		return true
	}
	for _, n := range p.listening.Proxy.Trusted {
		if n.Contains(address) {
			return true
		}
	}
	return false
}

// Data looks for the end of the header.
func (p *proxyHeader) Data(c *Conn) {
	n, err := proxyHeaderEnd(c.Input())
	switch {
	case err != nil:
		p.fail(c, err)
	case n > 0:
		p.complete(c, n)
	case !c.InputEnded():
	case len(c.Input()) == 0: // a health check or a port scan
		c.end(nil)
	default:
		p.fail(c, ErrProxyHeader)
	}
}

// complete parses the header, which has n bytes, and admits the connection.
func (p *proxyHeader) complete(c *Conn, n int) {
	source, err := proxySource(c.Input()[:n])
	if err != nil {
		p.fail(c, err)
		return
	}
	if s, ok := c.transport.(*socket); ok && source != nil {
		s.remote = source
		c.label.Remote = source.String()
	}
	c.SetTimeout(0)
	c.Consume(n)
	c.admit(p.listening)
	if c.state == connOpen && (len(c.Input()) > 0 || c.inputEnded) {
		c.handler.Data(c)
	}
}

// Timeout implements Handler.
func (p *proxyHeader) Timeout(c *Conn) { p.fail(c, ErrProxyTimeout) }

// Closed implements Handler.
func (p *proxyHeader) Closed(*Conn, error) {}

// fail closes a connection without a valid header and reports it.
func (p *proxyHeader) fail(c *Conn, err error) {
	c.r.stats.Refused++
	if f := p.listening.Proxy.Failed; f != nil {
		f(c.r.loop, c.Remote(), err)
	}
	c.end(nil)
}

// proxyHeaderEnd returns the length of the header at the start of b, or 0 if it is
// not complete.
func proxyHeaderEnd(b []byte) (int, error) {
	switch {
	case hasPrefix(b, proxySignature):
		if len(b) < 16 {
			return 0, nil
		}
		length := int(binary.BigEndian.Uint16(b[14:16]))
		switch {
		case length > proxyPayloadMax:
			return 0, ErrProxyHeader
		case len(b) < 16+length:
			return 0, nil
		}
		return 16 + length, nil
	case hasPrefix(b, []byte("PROXY ")):
		end := bytes.IndexByte(b[:min(len(b), proxyLineMax)], '\n')
		if end < 0 && len(b) >= proxyLineMax {
			return 0, ErrProxyHeader
		}
		return end + 1, nil
	}
	return 0, ErrProxyHeader
}

// hasPrefix reports whether b begins with prefix, or is a part of its beginning.
func hasPrefix(b, prefix []byte) bool {
	n := min(len(b), len(prefix))
	return bytes.Equal(b[:n], prefix[:n])
}

// proxySource parses a header and returns the client's address. It returns nil if
// the header names none, as in health checks of the balancer.
func proxySource(header []byte) (net.Addr, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return nil, errors.Join(ErrProxyHeader, err)
	}
	if source, ok := h.SourceAddr.(*net.TCPAddr); ok && h.Command.IsProxy() {
		return source, nil
	}
	return nil, nil
}
