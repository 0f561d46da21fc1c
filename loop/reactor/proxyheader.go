package reactor

// The PROXY protocol: a header before the first byte of a connection, by which a
// balancer tells whose connection it is (HAProxy, doc/proxy-protocol.txt, versions
// 1 and 2). This file finds where the header ends; github.com/pires/go-proxyproto
// parses it. What follows it belongs to the connection.

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

// ProxyProtocol is how a Listener is told who its clients are.
type ProxyProtocol struct {
	// Trusted are the networks of the balancers. Connections from elsewhere are
	// closed, because anybody can write such a header; unix sockets are trusted.
	Trusted []netip.Prefix
	// Timeout is from the accepted connection to the end of its header; default 5 s.
	Timeout time.Duration
	// Failed, if not nil, is called on the loop for each connection that was closed
	// because it had no valid header. It must not wait.
	Failed func(l *loop.Loop, remote string, err error)
}

// Why a connection has no valid PROXY header.
var (
	ErrUntrusted    = errors.New("reactor: a PROXY header is expected, and this address is not trusted to write one")
	ErrProxyHeader  = errors.New("reactor: no PROXY header of version 1 or 2")
	ErrProxyTimeout = errors.New("reactor: the PROXY header took too long")
)

const (
	proxyTimeout    = 5 * time.Second
	proxyLineMax    = 107     // of version 1
	proxyPayloadMax = 4 << 10 // of version 2, with the extensions of balancers
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// preface is the Handler of a connection whose header is not complete.
type proxyHeader struct{ listening *listening }

// awaitPreface has c wait for its PROXY header, and then be admitted.
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
	case len(c.Input()) == 0: // a health check of the balancer's, or of a port scan
		c.end(nil)
	default:
		p.fail(c, ErrProxyHeader)
	}
}

// complete takes the header, of n bytes, and goes on with the connection.
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

// fail closes a connection without a header, and reports it.
func (p *proxyHeader) fail(c *Conn, err error) {
	c.r.stats.Refused++
	if f := p.listening.Proxy.Failed; f != nil {
		f(c.r.loop, c.Remote(), err)
	}
	c.end(nil)
}

// proxyHeaderEnd returns the length of the header that b begins with; 0 if there
// is not enough of it yet.
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

// hasPrefix tells whether b begins with prefix, as far as there is any of it.
func hasPrefix(b, prefix []byte) bool {
	n := min(len(b), len(prefix))
	return bytes.Equal(b[:n], prefix[:n])
}

// proxySource parses a whole header. It returns nil where that names no client,
// as for the balancer's own health checks.
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
