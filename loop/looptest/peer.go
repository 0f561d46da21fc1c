package looptest

// Peer: the test's end of a connection, and the reactor.Transport between the two.
// It behaves as two sockets and the network between them do: bytes and the end of
// a stream take their time, in order; a reset overtakes them.

import (
	"io"
	"net"
	"os"
	"syscall"

	"tafe/loop/reactor"
)

// Peer is the other end of a loop's connection.
//
//	call        the loop's side sees             what the loop's side sends afterwards
//	CloseWrite  the end of the stream            arrives
//	Close       the end of the stream            is answered with a reset
//	Reset       an error (syscall.ECONNRESET)    is an error
//
// A Peer that receives the end of the stream ends its own direction too, as
// clients do, unless KeepOpen is set.
type Peer struct {
	// OnReceive, if set, is called when bytes of the loop's side arrive, instead of
	// keeping them for Received: a scripted server. It may Send and Close.
	OnReceive func(p *Peer, b []byte)
	// KeepOpen: the end of the loop's stream does not end the Peer's.
	KeepOpen bool

	loop   *Loop
	conn   *reactor.Conn
	accept func(*Peer) // to be called when the dial arrives
	remote net.Addr

	// Towards the loop.
	sending []byte // on its way
	ending  bool   // the end of the stream is behind it
	arrived []byte // to be read
	reset   bool   // a reset has arrived
	told    bool   // and the connection was told
	left    bool   // what arrives at the Peer is answered with a reset

	// From the loop.
	held      []byte // on its way
	fin       bool   // the end of the stream is behind it
	received  []byte
	ended     bool // that has arrived, or a reset
	stalled   bool // takes nothing
	gone      bool // the loop's side has closed its descriptor
	wantRead  bool
	wantWrite bool
}

// Open makes a connection as if a client had connected, and returns the
// client's end. open is what a reactor.Config's Open is.
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

// Conn is the loop's end.
func (p *Peer) Conn() *reactor.Conn { return p.conn }

// Send sends b to the loop and settles. Inside OnReceive it only sends.
func (p *Peer) Send(b []byte) {
	if !p.ending {
		p.sending = append(p.sending, b...)
	}
	p.loop.Settle()
}

// CloseWrite ends the stream after what was sent (a FIN); the Peer still reads.
func (p *Peer) CloseWrite() {
	p.ending = true
	p.loop.Settle()
}

// Close ends the stream after what was sent, and leaves: what the loop's side
// sends afterwards is answered with a reset.
func (p *Peer) Close() {
	p.ending, p.left = true, true
	p.loop.Settle()
}

// Reset breaks the connection at once, with what is on its way lost.
func (p *Peer) Reset() {
	p.breaks()
	p.loop.Settle()
}

// breaks is the arrival of a reset at the loop's side.
func (p *Peer) breaks() {
	p.reset, p.ended = true, true
	p.accept = nil
	p.sending, p.arrived, p.held = nil, nil, nil
}

// Stall makes the peer take nothing until Resume: what the loop writes stays
// unsent.
func (p *Peer) Stall() { p.stalled = true }

// Resume ends Stall.
func (p *Peer) Resume() {
	p.stalled = false
	p.loop.Settle()
}

// Received returns what has arrived since the last call.
func (p *Peer) Received() []byte {
	b := p.received
	p.received = nil
	return b
}

// Ended tells whether the stream of the loop's side has ended here, or was reset.
func (p *Peer) Ended() bool { return p.ended }

// Gone tells whether the loop's side has closed the connection for good. That may
// be up to two seconds after Conn.Close: until then it discards what comes.
func (p *Peer) Gone() bool { return p.gone }

// done: nothing will happen on p any more.
func (p *Peer) done() bool { return p.gone && p.ended }

// step does one thing: a delivery in either direction, of a size up to the seed, or
// an event of the socket.
func (p *Peer) step() bool {
	switch {
	case p.conn == nil:
	case p.accept != nil:
		accept := p.accept
		p.accept = nil
		accept(p)
		return true
	case p.reset && !p.told && !p.gone:
		p.told = true
		p.loop.turn(p.tellReset)
		return true
	case p.canTake() && (!p.canDeliver() || p.loop.coin()):
		p.take()
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

// tellReset is the event of a reset. A socket that is not read from has it too.
func (p *Peer) tellReset() {
	if p.wantRead {
		p.conn.Readable()
		return
	}
	p.conn.Abort(errReset)
}

func (p *Peer) canTake() bool {
	return !p.stalled && !p.ended && (len(p.held) > 0 || p.fin)
}

// take has some of what the loop's side sent arrive.
func (p *Peer) take() {
	if len(p.held) == 0 {
		p.ended = true
		p.ending = p.ending || !p.KeepOpen
		return
	}
	if p.left {
		p.breaks()
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

// canDeliver: the loop's side reads, and there is something. One that does not
// read holds the Peer back by its window.
func (p *Peer) canDeliver() bool {
	return p.wantRead && !p.gone && !p.reset && (len(p.arrived) > 0 || len(p.sending) > 0 || p.ending)
}

// deliver has some of what was sent arrive at the loop's side, or the end of it.
func (p *Peer) deliver() {
	if len(p.sending) > 0 {
		n := p.loop.part(len(p.sending))
		p.arrived = append(p.arrived, p.sending[:n]...)
		p.sending = p.sending[n:]
	}
	p.loop.turn(p.conn.Readable)
}

// stream is the Peer as its connection's reactor.Transport.
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
		s.told = true
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
		p.take()
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

// Close sends a reset if asked to, and where input is left that nobody has read.
// A reset may overtake what was written.
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
