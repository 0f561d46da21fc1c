// Peer: the test's end of a connection, and the reactor.Transport between the two ends. It
// behaves as two sockets and a network: bytes and the end of a stream arrive later, in
// order, and a reset overtakes them.

package looptest

import (
	"io"
	"net"
	"os"
	"syscall"

	"tafe/loop/reactor"
)

// Peer is the test's end of a connection.
//
//	call        the loop reads                   later writes of the loop
//	CloseWrite  the end of the stream            arrive
//	Close       the end of the stream            are answered with a reset
//	Reset       an error (syscall.ECONNRESET)    fail
//
// A Peer that receives the end of the stream ends its own direction too, as clients do,
// unless KeepOpen is set.
type Peer struct {
	// OnReceive, if set, is called with the bytes that arrive from the loop, which are then
	// not kept for Received. It may Send and Close, as a scripted server.
	OnReceive func(p *Peer, b []byte)
	// KeepOpen keeps the Peer's direction open at the end of the loop's stream.
	KeepOpen bool

	loop   *Loop
	conn   *reactor.Conn
	accept func(*Peer) // called when the dial arrives
	remote net.Addr

	// Towards the loop.
	sending  []byte // in flight
	ending   bool   // the end of the stream follows it
	arrived  []byte // to be read
	reset    bool   // a reset has arrived
	reported bool   // and the connection has got its event
	left     bool   // bytes that arrive at the Peer are answered with a reset

	// From the loop.
	held      []byte // in flight
	fin       bool   // the end of the stream follows it
	received  []byte
	ended     bool // the end of the stream, or a reset, has arrived
	stalled   bool // accepts no bytes
	gone      bool // the loop's side has closed its descriptor
	wantRead  bool
	wantWrite bool
}

// Open makes a connection as if a client had connected, and returns the client's end. open
// is as in reactor.Config.
func (l *Loop) Open(open func(*reactor.Conn) reactor.Handler) *Peer {
	p := l.newPeer()
	l.On(func() {
		p.conn = l.reactor.Open((*stream)(p), nil)
		p.conn.SetHandler(open(p.conn))
	})
	l.Settle()
	return p
}

func (l *Loop) newPeer() *Peer {
	l.port++
	p := &Peer{loop: l, remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: l.port}, wantRead: true}
	l.peers = append(l.peers, p)
	return p
}

// Conn returns the loop's end.
func (p *Peer) Conn() *reactor.Conn { return p.conn }

// Send sends b to the loop and settles. Inside OnReceive it does not settle.
func (p *Peer) Send(b []byte) {
	if !p.ending {
		p.sending = append(p.sending, b...)
	}
	p.loop.Settle()
}

// CloseWrite ends the stream after the bytes sent (a FIN). The Peer still reads.
func (p *Peer) CloseWrite() {
	p.ending = true
	p.loop.Settle()
}

// Close ends the stream after the bytes sent. Later writes of the loop are answered with a
// reset.
func (p *Peer) Close() {
	p.ending, p.left = true, true
	p.loop.Settle()
}

// Reset breaks the connection at once. Bytes in flight are lost.
func (p *Peer) Reset() {
	p.breakConn()
	p.loop.Settle()
}

// breakConn makes a reset arrive at the loop's end.
func (p *Peer) breakConn() {
	p.reset, p.ended = true, true
	p.accept = nil
	p.sending, p.arrived, p.held = nil, nil, nil
}

// Stall makes the Peer accept no bytes until Resume. The loop's output stays unsent.
func (p *Peer) Stall() { p.stalled = true }

// Resume ends Stall.
func (p *Peer) Resume() {
	p.stalled = false
	p.loop.Settle()
}

// Received returns the bytes that have arrived since the last call.
func (p *Peer) Received() []byte {
	b := p.received
	p.received = nil
	return b
}

// Ended reports whether the end of the loop's stream, or a reset, has arrived.
func (p *Peer) Ended() bool { return p.ended }

// Gone reports whether the loop has closed its descriptor. That may be up to two seconds
// after Conn.Close; until then the loop discards input.
func (p *Peer) Gone() bool { return p.gone }

// done reports whether no further step of p is possible.
func (p *Peer) done() bool { return p.gone && p.ended }

// step does one thing: a delivery in either direction, of a size that the seed chooses, or
// an event of the socket.
func (p *Peer) step() bool {
	switch {
	case p.conn == nil:
	case p.accept != nil:
		accept := p.accept
		p.accept = nil
		accept(p)
		return true
	case p.reset && !p.reported && !p.gone:
		p.reported = true
		p.loop.turn(p.reportReset)
		return true
	case p.canReceive() && (!p.canDeliver() || p.loop.coin()):
		p.receive()
		return true
	case p.canDeliver():
		p.deliver()
		return true
	case p.wantWrite && !p.stalled && !p.reset && !p.gone:
		p.loop.turn(p.conn.Writable)
		return true
	}
	return false
}

// reportReset calls the connection for a reset. A paused connection gets the event too.
func (p *Peer) reportReset() {
	if p.wantRead {
		p.conn.Readable()
		return
	}
	p.conn.Abort(errReset)
}

// canReceive reports whether bytes, or the end of the stream, can arrive at the Peer.
func (p *Peer) canReceive() bool {
	return !p.stalled && !p.ended && (len(p.held) > 0 || p.fin)
}

// receive makes some of the loop's bytes, or the end of its stream, arrive at the Peer.
func (p *Peer) receive() {
	if len(p.held) == 0 {
		p.ended = true
		p.ending = p.ending || !p.KeepOpen
		return
	}
	if p.left {
		p.breakConn()
		return
	}
	n := p.loop.part(len(p.held))
	b := append([]byte(nil), p.held[:n]...)
	p.held = p.held[n:]
	if p.OnReceive != nil {
		p.OnReceive(p, b)
		return
	}
	p.received = append(p.received, b...)
}

// canDeliver reports whether bytes, or the end of the stream, can arrive at the loop. A
// loop that does not read holds them back, as a full TCP window does.
func (p *Peer) canDeliver() bool {
	return p.wantRead && !p.gone && !p.reset && (len(p.arrived) > 0 || len(p.sending) > 0 || p.ending)
}

// deliver makes some of the Peer's bytes, or the end of its stream, arrive at the loop.
func (p *Peer) deliver() {
	if len(p.sending) > 0 {
		n := p.loop.part(len(p.sending))
		p.arrived = append(p.arrived, p.sending[:n]...)
		p.sending = p.sending[n:]
	}
	p.loop.turn(p.conn.Readable)
}

// stream is a Peer as the reactor.Transport of its connection.
type stream Peer

var (
	errReset = os.NewSyscallError("read", syscall.ECONNRESET)
	errPipe  = os.NewSyscallError("write", syscall.EPIPE)
)

func (s *stream) Read(first, then []byte) (n int, err error) {
	switch {
	case s.gone:
		return 0, net.ErrClosed
	case s.reset:
		s.reported = true
		return 0, errReset
	case len(s.arrived) == 0 && len(s.sending) == 0 && s.ending:
		return 0, io.EOF
	}
	n = copy(first, s.arrived)
	n += copy(then, s.arrived[n:])
	s.arrived = s.arrived[n:]
	return n, nil
}

func (s *stream) Write(b []byte) (int, error) {
	p := (*Peer)(s)
	switch {
	case s.gone || s.fin:
		return 0, net.ErrClosed
	case s.reset:
		return 0, errPipe
	case len(b) == 0 || s.stalled || s.loop.rnd != nil && s.loop.rnd.IntN(4) == 0:
		return 0, nil
	}
	n := s.loop.part(len(b))
	s.held = append(s.held, b[:n]...)
	if s.loop.rnd == nil && s.OnReceive == nil && s.accept == nil && !s.left {
		p.receive()
	}
	return n, nil
}

func (s *stream) Unsent() int { return 0 }

func (s *stream) Want(read, write bool) { s.wantRead, s.wantWrite = read, write }

func (s *stream) CloseWrite() error {
	if s.reset {
		return os.NewSyscallError("shutdown", syscall.ENOTCONN)
	}
	s.fin = true
	return nil
}

// Close sends a reset if abort is set or if unread input is left. A reset may overtake
// bytes in flight.
func (s *stream) Close(abort bool) {
	if (abort || len(s.arrived) > 0) && s.loop.rnd != nil && s.loop.coin() {
		s.held = nil
	}
	s.gone, s.fin = true, true
	s.sending, s.arrived = nil, nil
}

func (s *stream) RemoteAddr() net.Addr { return s.remote }
func (s *stream) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 254), Port: 80}
}
func (s *stream) FD() int { return -1 }

// coin returns a random bool, true without a seed.
func (l *Loop) coin() bool { return l.rnd == nil || l.rnd.IntN(2) == 0 }

// part returns how many of n bytes move in one step, at least 1 of them.
func (l *Loop) part(n int) int {
	if l.rnd == nil || l.rnd.IntN(4) == 0 {
		return n
	}
	if l.rnd.IntN(2) == 0 {
		return 1
	}
	return 1 + l.rnd.IntN(n)
}
