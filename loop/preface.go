package loop

// The PROXY protocol: a header before the first byte of a connection, by which a
// balancer in front says whose it is (HAProxy, doc/proxy-protocol.txt, versions 1
// and 2). It finds where the header ends; github.com/pires/go-proxyproto reads
// it. What comes behind is the connection's.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/panjf2000/gnet/v2"
	"github.com/pires/go-proxyproto"
)

// ProxyProtocol is how a Listener is told who its clients are.
type ProxyProtocol struct {
	// Trusted are the networks of the balancers. Connections of others are closed,
	// because anybody can write such a header; unix sockets are trusted.
	Trusted []netip.Prefix
	// Timeout is from the accepted connection to the end of its header; default 5 s.
	Timeout time.Duration
	// Failed, if not nil, is told on the loop of each connection that was closed
	// for want of a good header.
	Failed func(l *Loop, remote string, err error)
}

// Why a connection has no good PROXY header.
var (
	ErrUntrusted    = errors.New("loop: a PROXY header is expected, and this address is not trusted to write one")
	ErrProxyHeader  = errors.New("loop: no PROXY header of version 1 or 2")
	ErrProxyTimeout = errors.New("loop: the PROXY header took too long")
)

const (
	prefaceTimeout  = 5 * time.Second
	proxyLineMax    = 107      // of version 1
	proxyPayloadMax = 4 << 10  // of version 2, with what its makers add to it
	prefaceBytesMax = 16 << 10 // with what comes behind in the same read
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// preface is a connection whose header has not come yet.
type preface struct {
	reactor *reactor
	gc      gnet.Conn
	listens *listening
	under   *socket
	in      []byte
	timer   Timer
	over    bool
}

// await begins a connection that has to say first whose it is.
func (e *events) await(r *reactor, gc gnet.Conn, l *listening, s *socket) gnet.Action {
	p := &preface{reactor: r, gc: gc, listens: l, under: s}
	gc.SetContext(p)
	r.loop.enter()
	defer r.loop.leave()
	if !p.trusted() {
		p.tell(ErrUntrusted)
		return gnet.Close
	}
	timeout := l.Proxy.Timeout
	if timeout <= 0 {
		timeout = prefaceTimeout
	}
	p.timer.Owner = p
	r.loop.AfterFunc(&p.timer, timeout, func(t *Timer) { t.Owner.(*preface).fail(ErrProxyTimeout) })
	return gnet.None
}

func (p *preface) trusted() bool {
	tcp, ok := p.gc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return true
	}
	address := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, n := range p.listens.Proxy.Trusted {
		if n.Contains(address) {
			return true
		}
	}
	return false
}

// Deliver takes what came, and goes on with the connection behind its header.
func (p *preface) Deliver(b []byte) {
	l := p.reactor.loop
	l.enter()
	defer l.leave()
	if p.over {
		return
	}
	p.in = append(p.in, b...)
	n, err := proxyHeaderEnd(p.in)
	switch {
	case err == nil && n == 0 && len(p.in) <= prefaceBytesMax:
		return
	case err == nil && n == 0:
		err = ErrProxyHeader
	}
	var source net.Addr
	if err == nil {
		source, err = proxySource(p.in[:n])
	}
	if err != nil {
		p.fail(err)
		return
	}
	p.end()
	if source != nil {
		p.under.remote = source
	}
	p.reactor.engine.accept(p.reactor, p.gc, p.listens, p.under)
	if rest := p.in[n:]; len(rest) > 0 {
		deliver(p.gc, rest)
	}
}

func (p *preface) fail(err error) {
	if p.over {
		return
	}
	p.tell(err)
	p.end()
	_ = p.under.Close()
}

func (p *preface) tell(err error) {
	p.reactor.loop.stats.Refused++
	if f := p.listens.Proxy.Failed; f != nil {
		f(p.reactor.loop, p.gc.RemoteAddr().String(), err)
	}
}

// end is the end of the waiting.
func (p *preface) end() {
	p.over = true
	p.reactor.loop.StopTimer(&p.timer)
}

// proxyHeaderEnd is the length of the header that b begins with; 0 if there is
// not enough of it yet.
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

// proxySource reads a whole header: nil where it names no client, as for the
// balancer's own health checks.
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
