// This file has Conn, one byte stream of a loop: its input and its timeouts.
// output.go has its output, close.go closes it.
//
// There are three ways to end a Conn:
//
//	Close   sends the queued output, then FIN, and discards input for a limited time
//	        and up to a limited amount, so that the peer reads the response instead of
//	        a reset (RFC 9112 section 9.6); then it closes the descriptor
//	Abort   drops the output and closes the descriptor, with a reset if there is an
//	        error, at the end of the slice or turn
//	end     (internal) closes the descriptor and calls Handler.Closed at once
//
//	state      Close        Abort      CloseWrite             FIN of the peer        error, write timeout
//	open       flushing     ended      open, output ended     open, input ended      ended
//	flushing   -            ended      -                      flushing               ended
//	lingering  -            ended      -                      ended                  ended
//
// A flushing Conn becomes lingering when the last byte and FIN are sent. The timeout of
// SetTimeout only calls Handler.Timeout. An open Conn whose input and output have both ended stays open until Close or Abort.

package reactor

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"tafe/loop"
)

// ErrWriteTimeout ends a connection whose peer reads too slowly; see
// Limits.WriteTimeout.
var ErrWriteTimeout = errors.New("reactor: write timeout: the peer reads too slowly")

// Transport moves the bytes of a Conn: a socket, TLS over a socket, or memory in
// tests. Its methods are called on the loop and must not wait.
type Transport interface {
	// Read fills first and then then; either may be empty. n is 0 without an error
	// when no bytes have arrived. The end of the stream is io.EOF.
	Read(first, then []byte) (n int, err error)
	// Write accepts the part of p that can be sent now. n may be 0 without an
	// error.
	Write(p []byte) (n int, err error)
	// Unsent returns how many bytes that Write accepted are still in this process.
	// Write with an empty p sends more of them.
	Unsent() int
	// Want selects which of Conn.Readable and Conn.Writable are called. A new
	// Transport calls Readable only.
	Want(read, write bool)
	// CloseWrite ends this direction of the stream. It is called when Unsent is 0.
	CloseWrite() error
	// Close closes the stream, with a reset if abort. It is the last call, made
	// once.
	Close(abort bool)
	RemoteAddr() net.Addr
	LocalAddr() net.Addr
	// FD returns the file descriptor, or -1.
	FD() int
}

// Handler receives the events of a Conn. Its methods run on the loop, outside of
// tasks, and must not wait: they start or wake tasks.
type Handler interface {
	// Data is called when Input has grown or the input has ended (Conn.InputEnded).
	// See also InputReceiver.
	Data(c *Conn)
	// Timeout is called when the time given to SetTimeout has passed.
	Timeout(c *Conn)
	// Closed is called when the connection has ended. err is nil after Close, the
	// error given to Abort, ErrWriteTimeout, or the error of the stream. It is the
	// last call, made once.
	Closed(c *Conn, err error)
}

// InputReceiver is a Handler that provides a buffer for the next bytes, which are read
// into it without a copy. Its methods are called on the loop while Input is empty.
type InputReceiver interface {
	Handler
	// InputBuffer returns the buffer that is filled first; it may be empty.
	InputBuffer() []byte
	// InputTaken reports that n bytes were read into the buffer. They are not part of
	// Input, which has the bytes that follow. Data is called next.
	InputTaken(n int)
}

const (
	lingerTime  = 2 * time.Second // how long a closed connection waits for the peer's FIN
	lingerBytes = 8 << 20         // input that is discarded after Close
	// readMin is the smallest buffer space that is worth a read.
	readMin = 512
)

type connState uint8

const (
	connOpen connState = iota
	connFlushing
	connLingering
	connEnded
)

// Conn is one connection of a loop. Only the loop's goroutine and its running task,
// after Task.Enter, may use it. An idle Conn holds no buffers.
type Conn struct {
	r         *Reactor
	transport Transport
	handler   Handler
	label     loop.ConnLabel

	state       connState
	aborting    bool  // Abort was called; the next flush ends it
	dirty       bool  // in Reactor.dirty
	batched     bool  // see Batch
	dirtyAt     int64 // with batched: since when it is dirty, on the loop clock
	pinned      bool  // by Pin
	inputEnded  bool
	outEnding   bool // CloseWrite was called
	outEnded    bool // the output and FIN were sent
	paused      bool // by Pause
	full        bool // not read until half of the input is consumed
	inReadQueue bool // in Reactor.readQueue
	wantRead    bool // the arguments of the last Transport.Want
	wantWrite   bool
	noLinger    bool  // by NoLinger
	class       uint8 // buffer class of the next input buffer
	cause       error // given to Abort

	in    []byte // input
	read  int    // bytes of in that are consumed
	inMax int    // unread bytes at which reading stops, approximately
	out   []byte // output
	sent  int    // bytes of out that the transport accepted

	timeout    loop.Timer    // set by SetTimeout, then by lingering
	stallTimer loop.Timer    // the write timeout
	stallMax   time.Duration // replaces Limits.WriteTimeout if not 0
	progress   int           // bytes sent since stalledAt
	stalledAt  int64         // loop clock
	discarded  int           // bytes read since Close
	drainWaits []drainWait
	tls        *tlsStream  // nil: no TLS
	file       *fileSend   // nil: no SendFile is in progress
	release    func(*Conn) // called once at the end; corrects the counters
	opening    bool        // counted by Engine.Opening
	taken      bool        // its protocol marks its own end: by NewNetConn and Take
	countedIP  netip.Addr  // address it is counted under; see Config.ConnMaxPerIP
}

// Open makes a Conn of a new stream and starts reading it. Its events go to h;
// SetHandler may replace h in the same turn.
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

// ID returns a number that is unique among the loop's connections.
func (c *Conn) ID() uint64 { return c.label.ID }

// Label returns the connection's name for reports of the watchdog.
func (c *Conn) Label() *loop.ConnLabel { return &c.label }

// Remote returns the peer's address as text. It stays valid after the connection
// has ended.
func (c *Conn) Remote() string { return c.label.Remote }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.transport.RemoteAddr() }

// LocalAddr returns the local address.
func (c *Conn) LocalAddr() net.Addr { return c.transport.LocalAddr() }

// Closed reports whether the connection has ended or is closing. Writes are dropped
// from then on.
func (c *Conn) Closed() bool { return c.state != connOpen || c.aborting }

// InputEnded reports whether the peer has ended its direction of the stream. It may
// still read.
func (c *Conn) InputEnded() bool { return c.inputEnded }

// SetHandler replaces the Handler.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// Limits returns the limits of the loop's connections.
func (c *Conn) Limits() *Limits { return &c.r.limits }

// Readable reads what has arrived and calls the Handler. The poller, or the test's
// driver, calls it in a turn of the loop.
func (c *Conn) Readable() {
	switch {
	case c.state == connEnded || c.aborting:
	case c.tls != nil && c.tls.state != tlsOpen && c.state == connOpen:
		c.tls.readable()
	case !c.reading():
		// Read events are edge-triggered here, so this is an error or a late event.
		c.probe()
	case c.state != connOpen:
		c.discardInput()
	default:
		if c.r.loop.Drive().TracesArrivals() {
			c.r.loop.Drive().EventAt(arrivedAt(c.transport.FD(), c.r.loop.Now()), true)
		}
		c.receive()
	}
}

// reading reports whether the peer is being read.
func (c *Conn) reading() bool {
	return !c.paused && !c.full && !c.inputEnded && c.state != connEnded
}

// receive reads once and calls the Handler. Further bytes on the socket cause
// another event; further bytes inside the TLS session do not.
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

// readMore schedules another read if the TLS session may hold more bytes.
func (c *Conn) readMore() {
	if c.tls != nil && c.tls.more && c.state == connOpen && c.reading() {
		c.r.readAgain(c)
	}
}

// fill reads once: into the Handler's buffer or the connection's own, and what
// exceeds that into the buffer that the connections of the loop share, from where
// it is copied.
func (c *Conn) fill() (n int, err error) {
	r := c.r
	if taker, ok := c.handler.(InputReceiver); ok && len(c.in) == c.read {
		if own := taker.InputBuffer(); len(own) > 0 {
			n, err = c.transport.Read(own, r.sharedBufFor(c))
			if k := min(n, len(own)); k > 0 {
				taker.InputTaken(k)
			}
			if n > len(own) {
				c.appendInput(r.sharedBuf[:n-len(own)])
			}
			return n, err
		}
	}
	if c.in == nil {
		c.in = r.bufs.getBufferClass(int(c.class))
	} else {
		c.compactInput(readMin)
	}
	room := c.in[len(c.in):cap(c.in)]
	if most := c.inMax - (len(c.in) - c.read); len(room) > most {
		room = room[:max(most, 1)]
	}
	n, err = c.transport.Read(room, r.sharedBufFor(c))
	k := min(n, len(room))
	c.in = c.in[:len(c.in)+k]
	if n > k {
		c.appendInput(r.sharedBuf[:n-k])
	}
	c.adaptClass(n)
	return n, err
}

// sharedBufFor returns as much of the shared buffer as c may still hold unread.
func (r *Reactor) sharedBufFor(c *Conn) []byte {
	most := c.inMax - cap(c.in) + c.read
	return r.sharedBuf[:min(max(most, 0), len(r.sharedBuf))]
}

// appendInput copies p to the end of the input.
func (c *Conn) appendInput(p []byte) {
	if c.in == nil {
		c.in = c.r.bufs.getBuffer(len(p))
	}
	c.compactInput(len(p))
	c.in = append(c.r.bufs.growBuffer(c.in, len(p), c.pinned), p...)
}

// compactInput moves the unread input to the start of its buffer if there is less
// room than n behind it and nothing views the buffer.
func (c *Conn) compactInput(n int) {
	if cap(c.in)-len(c.in) < n && c.read > 0 && !c.pinned {
		c.in = c.in[:copy(c.in, c.in[c.read:])]
		c.read = 0
	}
}

// adaptClass adjusts the size of the next input buffer to a read of n bytes.
func (c *Conn) adaptClass(n int) {
	if class, _ := classOf(n); class > int(c.class) {
		c.class = uint8(min(class, inputClassMax))
	} else if class+1 < int(c.class) && n > 0 {
		c.class--
	}
}

// Pause stops reading until Resume, so that TCP flow control stops the peer.
// Without Pause, a connection stops reading when Limits.InboundMax bytes are
// unread, and continues when half of them are consumed.
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

// readOn continues reading unless there is another reason not to.
func (c *Conn) readOn() {
	c.updateWant()
	c.readMore()
}

// probe ends a connection that is not being read if its socket has an error.
func (c *Conn) probe() {
	if fd := c.transport.FD(); fd >= 0 {
		if err := socketError(fd); err != nil {
			c.fail(err)
		}
	}
}

// fail ends a connection after a write error or an error of its socket. Where the
// Handler keeps input, it first reads what the peer sent before, such as the
// response to a request that the peer did not read completely.
func (c *Conn) fail(err error) {
	if _, keeps := c.handler.(interface{ keepInput() }); keeps && c.state == connOpen && !c.inputEnded && (c.tls == nil || c.tls.state == tlsOpen) {
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

// Input returns the bytes that were received and not consumed. The view is valid
// until the next event of the connection, or, after Pin, until Unpin.
func (c *Conn) Input() []byte { return c.in[c.read:] }

// Consume removes the first n bytes of Input.
func (c *Conn) Consume(n int) {
	c.read = min(c.read+n, len(c.in)) // the input of an ended connection is gone
	c.roomForInput()
	c.releaseInput()
}

// roomForInput continues reading after full, once half of the input is consumed.
func (c *Conn) roomForInput() {
	if c.full && len(c.in)-c.read <= c.inMax/2 && c.state == connOpen {
		c.full = false
		c.readOn()
	}
}

// takeInput consumes Input and returns its buffer, which becomes the caller's. The
// unread bytes begin at b[from].
func (c *Conn) takeInput() (b []byte, from int) {
	if c.pinned { // views into the buffer stay valid
		b, c.pinned = append([]byte(nil), c.Input()...), false
	} else {
		b, from = c.in, c.read
	}
	c.in, c.read = nil, 0
	c.roomForInput()
	return b, from
}

// Pin keeps views into Input valid until Unpin, also when more input arrives and
// when they are consumed.
func (c *Conn) Pin() { c.pinned = true }

// Unpin ends Pin.
func (c *Conn) Unpin() {
	c.pinned = false
	c.releaseInput()
}

// releaseInput recycles the input buffer when everything in it is consumed.
func (c *Conn) releaseInput() {
	if c.in != nil && c.read == len(c.in) && !c.pinned {
		c.r.bufs.putBuffer(c.in)
		c.in, c.read = nil, 0
	}
}

// SetTimeout calls Handler.Timeout once after d. It replaces an earlier timeout; d
// <= 0 removes it. It has no effect once Close was called.
func (c *Conn) SetTimeout(d time.Duration) {
	if c.state != connOpen {
		return // the timer is that of lingering
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
