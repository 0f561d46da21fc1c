package looptest

// Peer: the test's end of a connection, and the loop.Transport between the two.
// It owns the bytes on their way; it does not know what they mean.

import (
	"io"
	"net"
	"syscall"

	"tafe/loop"
)

// Peer is the other end of a loop's connection.
type Peer struct {
	// OnReceive, if set, is called when bytes of the loop's side arrive, instead of
	// keeping them for Received: a scripted server. It may Send and Close.
	OnReceive func(p *Peer, b []byte)

	loop     *Loop
	conn     *loop.Conn
	accept   func(*Peer) // to be called when the dial arrives
	sending  []byte      // to the loop, not yet delivered
	eof      bool        // after sending
	held     []byte      // from the loop, not yet taken
	received []byte
	ended    bool // the loop's side has sent its end of stream
	gone     bool // the connection is no more
	stalled  bool // takes nothing
	remote   net.Addr
}

// Open makes a connection as if a client had connected, and returns the
// client's end. open is what a loop.Config's Open is.
func (l *Loop) Open(open func(*loop.Conn) loop.Handler) *Peer {
	p := l.newPeer()
	l.On(func() {
		p.conn = l.Loop.Open((*stream)(p), nil)
		p.conn.SetHandler(open(p.conn))
	})
	l.Settle()
	return p
}

func (l *Loop) newPeer() *Peer {
	l.port++
	p := &Peer{loop: l, remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: l.port}}
	l.peers = append(l.peers, p)
	return p
}

// Conn is the loop's end.
func (p *Peer) Conn() *loop.Conn { return p.conn }

// Send sends b to the loop and settles. Inside OnReceive it only sends.
func (p *Peer) Send(b []byte) {
	p.sending = append(p.sending, b...)
	p.settle()
}

// Close ends the stream after what was sent, as a peer does that leaves.
func (p *Peer) Close() {
	p.eof = true
	p.settle()
}

// Reset breaks the connection at once, with what is on its way lost.
func (p *Peer) Reset() {
	p.hangup(syscall.ECONNRESET)
	p.settle()
}

// Stall makes the peer take nothing until Resume: what the loop writes stays
// unsent.
func (p *Peer) Stall() { p.stalled = true }

// Resume ends Stall.
func (p *Peer) Resume() {
	p.stalled = false
	p.settle()
}

// Received returns what has arrived since the last call.
func (p *Peer) Received() []byte {
	b := p.received
	p.received = nil
	return b
}

// Ended tells whether the loop's side has ended the stream or dropped it.
func (p *Peer) Ended() bool { return p.ended || p.gone }

// Gone tells whether the connection is no more.
func (p *Peer) Gone() bool { return p.gone }

func (p *Peer) settle() {
	if !p.loop.settling {
		p.loop.Settle()
	}
}

// step makes one delivery in either direction, of a size up to the seed.
func (p *Peer) step() bool {
	switch {
	case p.gone || p.conn == nil:
		return false
	case p.accept != nil:
		accept := p.accept
		p.accept = nil
		accept(p)
	case len(p.held) > 0 && !p.stalled && (len(p.sending) == 0 || p.loop.coin()):
		p.take()
	case len(p.sending) > 0:
		n := p.loop.part(len(p.sending))
		b := p.sending[:n:n]
		p.sending = p.sending[n:]
		p.conn.Deliver(b)
	case p.eof:
		p.hangup(io.EOF)
	default:
		return false
	}
	return true
}

// take moves held bytes to the test.
func (p *Peer) take() {
	n := p.loop.part(len(p.held))
	b := append([]byte(nil), p.held[:n]...)
	p.held = p.held[n:]
	if p.OnReceive != nil {
		p.OnReceive(p, b)
		return
	}
	p.received = append(p.received, b...)
}

func (p *Peer) hangup(err error) {
	if p.gone {
		return
	}
	p.gone = true
	p.sending, p.held = nil, nil
	if p.conn != nil {
		p.conn.Hangup(err)
	}
}

// stream is the Peer as its connection's loop.Transport.
type stream Peer

func (s *stream) Write(b []byte) (int, error) {
	if s.gone {
		return 0, net.ErrClosed
	}
	s.held = append(s.held, b...)
	if p := (*Peer)(s); !s.stalled && s.loop.rnd == nil && s.OnReceive == nil && s.accept == nil {
		p.take()
	}
	return len(b), nil
}

func (s *stream) Unsent() int { return len(s.held) }

func (s *stream) CloseWrite() error {
	s.ended = true
	return nil
}

func (s *stream) Close() error {
	// What Write has taken is on its way and arrives: as a socket's close does.
	if p := (*Peer)(s); !p.gone && !p.stalled {
		for len(p.held) > 0 {
			p.take()
		}
		p.hangup(nil)
	} else {
		p.hangup(nil)
	}
	return nil
}

func (s *stream) RemoteAddr() net.Addr { return s.remote }
func (s *stream) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 254), Port: 80}
}
func (s *stream) Fd() int { return -1 }

// coin is heads or tails, heads without a seed.
func (l *Loop) coin() bool { return l.rnd == nil || l.rnd.IntN(2) == 0 }

// part is how much of n bytes moves now.
func (l *Loop) part(n int) int {
	if l.rnd == nil || l.rnd.IntN(4) == 0 {
		return n
	}
	if l.rnd.IntN(2) == 0 {
		return 1
	}
	return 1 + l.rnd.IntN(n)
}
