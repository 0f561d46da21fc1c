package reactor

// Conn: one byte stream of a loop. This file has its input and its timeouts;
// output.go has what it sends, close.go how it ends.
//
// A Conn ends by one of three verbs:
//
//	Close   sends what was written, then FIN; discards a bounded amount of input
//	        for a moment, so that the peer reads the answer instead of a reset
//	        (RFC 9112 section 9.6); then the descriptor is closed
//	Abort   drops what is unsent and closes the descriptor, with a reset if there
//	        is an error; at the end of the slice or turn
//	end     (inside this package) the descriptor is closed and Handler.Closed called
//
//	state      on Close     on Abort   on CloseWrite          peer's FIN             error, timeout
//	open       flushing     ended      open, output ended     open, input ended      ended
//	flushing   -            ended      -                      flushing               ended
//	lingering  -            ended      -                      ended                  ended
//
// flushing becomes lingering when the last byte and FIN were sent. An open Conn
// whose input and output have both ended stays open until Close or Abort.

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"tafe/loop"
)

// ErrWriteTimeout closes a connection whose peer takes too little of what it is
// sent; see Limits.WriteTimeout.
var ErrWriteTimeout = errors.New("reactor: the peer reads too slowly")

// Transport moves the bytes of a Conn: a socket, TLS over one, or a test's
// memory. None of its methods waits. Loop goroutine only.
type Transport interface {
	// Read fills first and then then, either of which may be empty. n is 0 without
	// an error when nothing is there; the end of the stream is io.EOF.
	Read(first, then []byte) (n int, err error)
	// Write takes of p what can be sent now, perhaps nothing, without an error.
	Write(p []byte) (n int, err error)
	// Unsent returns how many bytes taken by Write are still in this process. Write
	// with an empty p sends more of them.
	Unsent() int
	// Want says which of Conn.Readable and Conn.Writable are to be called; at first
	// it is Readable alone.
	Want(read, write bool)
	// CloseWrite ends this direction of the stream; it is called when nothing is
	// unsent.
	CloseWrite() error
	// Close closes the stream, with a reset if abort. It is called once, last.
	Close(abort bool)
	RemoteAddr() net.Addr
	LocalAddr() net.Addr
	// FD returns the file descriptor, or -1.
	FD() int
}

// Handler gets the events of a Conn. Its methods run on the loop, outside of
// tasks, and must not wait: they start or wake tasks.
type Handler interface {
	// Data: Input has more bytes than before, or has ended (Conn.InputEnded).
	Data(c *Conn)
	// Timeout: the time set with SetTimeout has passed.
	Timeout(c *Conn)
	// Closed: the connection has ended. err is nil after Close, the error given to
	// Abort, ErrWriteTimeout, or that of the stream. It is the last call, and made
	// once.
	Closed(c *Conn, err error)
}

// inputTaker is a Handler with a buffer of its own for the next bytes.
type inputTaker interface {
	// inputBuffer returns where the next bytes go first; it may be empty.
	inputBuffer() []byte
	// inputTaken tells that n bytes were read into it.
	inputTaken(n int)
}

const (
	lingerTime  = 2 * time.Second
	lingerBytes = 8 << 20
	// readMin is the room for which a read is worth a system call.
	readMin = 512
)

type connState uint8

const (
	connOpen connState = iota
	connFlushing
	connLingering
	connEnded
)

// Conn is one connection of a loop, for the loop's goroutine and, after
// Task.Enter, its running task. While nothing is in transit it holds no buffers.
type Conn struct {
	r         *Reactor
	transport Transport
	handler   Handler
	label     loop.ConnLabel

	state      connState
	aborting   bool // ends when dirty connections are flushed
	dirty      bool
	pinned     bool
	inputEnded bool
	outEnding  bool // CloseWrite was called
	outEnded   bool // and everything before it was sent, and FIN
	paused     bool // by Pause
	full       bool // reading is paused until half of the input is consumed
	queued     bool // in Reactor.unread
	wantRead   bool // as the transport was last told
	wantWrite  bool
	noLinger   bool
	class      uint8 // of the next input buffer
	cause      error // of aborting

	in    []byte
	read  int // of in: consumed
	inMax int // bytes of input beyond which the peer is not read, about
	out   []byte
	sent  int // of out: handed to the transport

	timeout   loop.Timer    // the Handler's, and that of lingering
	stallTime loop.Timer    // watches unsent bytes
	stallMax  time.Duration // in place of Limits.WriteTimeout; 0: that
	progress  int           // bytes sent since stalledAt
	stalledAt int64         // loop clock
	swallowed int           // while lingering
	drained   []drainWait
	tls       *tlsStream  // nil: no TLS
	file      *fileSend   // nil: no SendFile is under way
	release   func(*Conn) // gives its place among the connections back
	opening   bool        // accepted, and counted as such: see Engine.Opening
	counted   netip.Addr  // as whose it is counted; see Config.ConnMaxPerIP
}

// Open makes a Conn of a new stream, which reads from now on. h is told what
// happens on it; SetHandler may follow in the same turn.
func (r *Reactor) Open(tr Transport, h Handler) *Conn {
	r.connSeq++
	c := &Conn{r: r, transport: tr, handler: h, class: inputClass, inMax: r.limits.InboundMax}
	c.label.ID = r.connSeq
	if a := tr.RemoteAddr(); a != nil {
		c.label.Remote = a.String()
	}
	c.wantRead = true
	r.conns++
	r.stats.Opened++
	return c
}

// Loop returns the loop of the connection.
func (c *Conn) Loop() *loop.Loop { return c.r.loop }

// ID is unique among the loop's connections.
func (c *Conn) ID() uint64 { return c.label.ID }

// Label names the connection in reports of the watchdog.
func (c *Conn) Label() *loop.ConnLabel { return &c.label }

// Remote returns the peer's address as text; it stays valid.
func (c *Conn) Remote() string { return c.label.Remote }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.transport.RemoteAddr() }

// LocalAddr returns the own address.
func (c *Conn) LocalAddr() net.Addr { return c.transport.LocalAddr() }

// Closed tells whether the connection has ended or is ending: what is written
// from now on is dropped.
func (c *Conn) Closed() bool { return c.state != connOpen || c.aborting }

// InputEnded tells whether the peer has ended its direction of the stream; it may
// still read.
func (c *Conn) InputEnded() bool { return c.inputEnded }

// SetHandler replaces the handler.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// Limits are the bounds of the loop's connections.
func (c *Conn) Limits() *Limits { return &c.r.limits }

// Readable reads what has arrived and tells the Handler. Its driver calls it in a
// turn of the loop.
func (c *Conn) Readable() {
	switch {
	case c.state == connEnded || c.aborting:
	case c.tls != nil && c.tls.state != tlsOpen && c.state == connOpen:
		c.tls.readable()
	case !c.reading():
		// Level-triggered readiness is off: this is an error or a late event.
		c.probe()
	case c.state != connOpen:
		c.swallow()
	default:
		if c.r.loop.Drive().TracesArrivals() {
			c.r.loop.Drive().EventAt(arrivedAt(c.transport.FD(), c.r.loop.Now()), true)
		}
		c.receive()
	}
}

// reading tells whether the peer is read at all.
func (c *Conn) reading() bool {
	return !c.paused && !c.full && !c.inputEnded && c.state != connEnded
}

// receive reads once and tells the Handler. More on the socket is an event of its
// own; for more inside the TLS session there is none.
func (c *Conn) receive() {
	n, err := c.fill()
	c.r.stats.BytesIn += uint64(n)
	if n > 0 || err == io.EOF {
		c.inputEnded = c.inputEnded || err == io.EOF
		c.full = len(c.in)-c.read >= c.inMax
		c.updateWant()
		c.handler.Data(c)
	}
	c.releaseInput()
	if err != nil && err != io.EOF {
		c.end(err)
		return
	}
	c.readMore()
}

// readMore reads again soon if there may be bytes for which no event comes.
func (c *Conn) readMore() {
	if c.tls != nil && c.tls.more && c.state == connOpen && c.reading() {
		c.r.readAgain(c)
	}
}

// fill reads into the handler's buffer or the connection's own, and what goes
// beyond it through the buffer that all connections of the loop share.
func (c *Conn) fill() (n int, err error) {
	r := c.r
	if taker, ok := c.handler.(inputTaker); ok && len(c.in) == c.read {
		if own := taker.inputBuffer(); len(own) > 0 {
			n, err = c.transport.Read(own, r.spillOf(c))
			if k := min(n, len(own)); k > 0 {
				taker.inputTaken(k)
			}
			if n > len(own) {
				c.append(r.spill[:n-len(own)])
			}
			return n, err
		}
	}
	if c.in == nil {
		c.in = r.bufs.getClass(int(c.class))
	} else if cap(c.in)-len(c.in) < readMin && c.read > 0 && !c.pinned {
		c.in = c.in[:copy(c.in, c.in[c.read:])]
		c.read = 0
	}
	room := c.in[len(c.in):cap(c.in)]
	if most := c.inMax - (len(c.in) - c.read); len(room) > most {
		room = room[:max(most, 1)]
	}
	n, err = c.transport.Read(room, r.spillOf(c))
	k := min(n, len(room))
	c.in = c.in[:len(c.in)+k]
	if n > k {
		c.append(r.spill[:n-k])
	}
	c.adapt(n)
	return n, err
}

// spillOf returns the shared buffer, as much of it as c may still hold.
func (r *Reactor) spillOf(c *Conn) []byte {
	most := c.inMax - cap(c.in) + c.read
	return r.spill[:min(max(most, 0), len(r.spill))]
}

// append copies p behind the input.
func (c *Conn) append(p []byte) {
	if c.in == nil {
		c.in = c.r.bufs.get(len(p))
	}
	if cap(c.in)-len(c.in) < len(p) && c.read > 0 && !c.pinned {
		c.in = c.in[:copy(c.in, c.in[c.read:])]
		c.read = 0
	}
	c.in = append(c.r.bufs.grow(c.in, len(p), c.pinned), p...)
}

// adapt has the next input buffer fit what a read brings.
func (c *Conn) adapt(n int) {
	if class, _ := classOf(n); class > int(c.class) {
		c.class = uint8(min(class, inputClassMax))
	} else if class+1 < int(c.class) && n > 0 {
		c.class--
	}
}

// Pause stops reading until Resume: the peer is held back by its window. By itself
// a connection stops reading when Limits.InboundMax bytes are unread, and goes on
// when half of them are consumed.
func (c *Conn) Pause() {
	if c.state == connOpen {
		c.paused = true
		c.updateWant()
	}
}

// Resume ends Pause.
func (c *Conn) Resume() {
	c.paused = false
	c.readOn()
}

// readOn goes on reading where nothing forbids it any more.
func (c *Conn) readOn() {
	c.updateWant()
	c.readMore()
}

// probe looks for an error of a connection that is not read.
func (c *Conn) probe() {
	if fd := c.transport.FD(); fd >= 0 {
		if err := socketError(fd); err != nil {
			c.fail(err)
		}
	}
}

// fail ends a connection that cannot be written to, or has an error. What the peer sent before, such as the answer to a
// request that it did not read to its end, is still in the socket, and is read first where the handler keeps it.
func (c *Conn) fail(err error) {
	if _, keeps := c.handler.(inputTaker); keeps && c.state == connOpen && !c.inputEnded && (c.tls == nil || c.tls.state == tlsOpen) {
		for total := 0; total < c.inMax; {
			n, readErr := c.fill()
			if n == 0 || readErr != nil {
				break
			}
			total += n
		}
	}
	c.end(err)
}

// updateWant tells the transport which events are needed now.
func (c *Conn) updateWant() {
	if c.state == connEnded {
		return
	}
	read := c.reading()
	write := len(c.out)-c.sent > 0 && !c.dirty || c.transport.Unsent() > 0 || c.file != nil && c.file.blocked
	if read != c.wantRead || write != c.wantWrite {
		c.wantRead, c.wantWrite = read, write
		c.transport.Want(read, write)
	}
}

// Input returns what was received and not consumed. The view is valid until the
// next event of the connection, or, from Pin, until Unpin.
func (c *Conn) Input() []byte { return c.in[c.read:] }

// Consume marks the first n bytes of Input as done with.
func (c *Conn) Consume(n int) {
	c.read = min(c.read+n, len(c.in)) // the connection may have ended, and its input with it
	c.roomForInput()
	c.releaseInput()
}

// roomForInput ends the pause of a full input once half of it is free.
func (c *Conn) roomForInput() {
	if c.full && len(c.in)-c.read <= c.inMax/2 && c.state == connOpen {
		c.full = false
		c.readOn()
	}
}

// takeInput consumes Input and gives its buffer away: what is unread begins at
// b[from]. The caller may put it back into the reactor's pool.
func (c *Conn) takeInput() (b []byte, from int) {
	if c.pinned { // views into the buffer live on
		b, c.pinned = append([]byte(nil), c.Input()...), false
	} else {
		b, from = c.in, c.read
	}
	c.in, c.read = nil, 0
	c.roomForInput()
	return b, from
}

// Pin keeps views into Input valid while more arrives and when they are consumed;
// Unpin ends that.
func (c *Conn) Pin() { c.pinned = true }

// Unpin lets the input buffer move and be recycled again.
func (c *Conn) Unpin() {
	c.pinned = false
	c.releaseInput()
}

// releaseInput gives the input buffer back once nothing in it is needed.
func (c *Conn) releaseInput() {
	if c.in != nil && c.read == len(c.in) && !c.pinned {
		c.r.bufs.put(c.in)
		c.in, c.read = nil, 0
	}
}

// SetTimeout calls the Handler's Timeout once after d, in place of any earlier set
// time; d <= 0 means never.
func (c *Conn) SetTimeout(d time.Duration) {
	if c.state != connOpen {
		return // Close has its own
	}
	if d <= 0 {
		c.r.loop.StopTimer(&c.timeout)
		return
	}
	c.timeout.Owner = c
	c.r.loop.AfterFunc(&c.timeout, d, connTimeout)
}

func connTimeout(t *loop.Timer) {
	c := t.Owner.(*Conn)
	if c.state == connLingering {
		c.end(nil)
		return
	}
	c.handler.Timeout(c)
}
