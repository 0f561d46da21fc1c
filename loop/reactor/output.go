package reactor

// A Conn's output: gathered while a slice runs, sent when it ends, and watched
// until the peer has taken it.

import (
	"time"

	"tafe/loop"
)

// writeStep is the progress, in bytes, for which a peer gets another WriteTimeout.
const writeStep = 16 << 10

// sendMax bounds, about, what one connection sends in one go.
const sendMax = 1 << 20

// drainWait is a wait for the unsent bytes to fall to a bound.
type drainWait struct {
	below int
	wake  func()
}

// Write appends p to the output; it is sent when the running slice ends.
func (c *Conn) Write(p []byte) {
	c.SetOutput(append(c.Output(len(p)), p...))
}

// WriteThrough writes a large buffer without copying what the socket takes at
// once: after the output that is unsent, p is sent from where it is, and the rest
// is copied.
func (c *Conn) WriteThrough(p []byte) {
	if s, ok := c.transport.(*socket); ok && !c.Closed() && !c.outEnding && !c.wantWrite {
		n := s.writeBoth(c.out[c.sent:], p)
		c.r.stats.BytesOut += uint64(n)
		before := min(n, len(c.out)-c.sent)
		if c.sent += before; c.sent == len(c.out) {
			c.dropOutput()
		}
		p = p[n-before:]
	}
	if len(p) > 0 {
		c.Write(p)
	}
}

// Output returns the unsent output with room for n more bytes: append to it, and
// give it back with SetOutput.
func (c *Conn) Output(n int) []byte {
	switch {
	case c.out == nil:
		c.out = c.r.bufs.getBuffer(max(n, outputMin))
	case cap(c.out)-len(c.out) >= n:
	case c.sent > 0 && c.sent >= len(c.out)/2:
		c.out = c.out[:copy(c.out, c.out[c.sent:])]
		c.sent = 0
		fallthrough
	default:
		c.out = c.r.bufs.growBuffer(c.out, n, false)
	}
	return c.out
}

// SetOutput takes back what Output returned, appended to.
func (c *Conn) SetOutput(b []byte) {
	if c.outEnding { // drop what was appended
		b = b[:len(c.out)]
	}
	switch {
	case c.state == connEnded || c.aborting || c.outEnding && len(b) == c.sent:
		c.out = b
		c.dropOutput()
		return
	case c.state != connOpen:
		return // c.out ends where it did before
	}
	c.out = b
	if len(b) > c.sent && !c.wantWrite {
		c.markDirty()
	}
}

// Unsent returns how many bytes were written and have not left this process.
func (c *Conn) Unsent() int {
	if c.state == connEnded {
		return 0
	}
	n := len(c.out) - c.sent + c.transport.Unsent()
	if c.file != nil {
		n += c.file.unsent
	}
	return n
}

func (c *Conn) markDirty() {
	if !c.dirty {
		c.dirty = true
		c.r.dirty = append(c.r.dirty, c)
	}
}

// dropOutput gives the output buffer back.
func (c *Conn) dropOutput() {
	if c.out != nil {
		c.r.bufs.putBuffer(c.out)
		c.out, c.sent = nil, 0
	}
}

// Flush sends what was written since the last call. It is for the loop's driver.
func (r *Reactor) Flush() {
	for i := 0; i < len(r.dirty); i++ {
		c := r.dirty[i]
		r.dirty[i] = nil
		c.dirty = false
		c.flush()
	}
	r.dirty = r.dirty[:0]
}

func (c *Conn) flush() {
	switch {
	case c.state == connEnded:
	case c.aborting:
		c.end(c.cause)
	default:
		c.send()
	}
}

// Writable sends more of the output. Its driver calls it in a turn of the loop,
// when the transport was told to want that.
func (c *Conn) Writable() {
	switch {
	case c.state == connEnded:
	case c.file != nil:
		c.file.wake()
	default:
		c.send()
	}
}

// send hands the output to the transport, as much as that takes, within a bound
// for the sake of other connections.
func (c *Conn) send() {
	before, total := c.Unsent(), 0
	for {
		n, err := c.transport.Write(c.out[c.sent:])
		if err != nil {
			c.fail(err)
			return
		}
		c.sent += n
		total += n
		if n == 0 || c.sent == len(c.out) || total >= sendMax {
			break
		}
	}
	c.r.stats.BytesOut += uint64(total)
	if c.sent == len(c.out) {
		c.dropOutput()
	}
	if c.sent < len(c.out) && total >= sendMax {
		c.rearm()
	}
	unsent := c.Unsent()
	c.watchStall(unsent, max(before-unsent, 0)) // TLS takes more than it has sent
	c.updateWant()
	if len(c.drainWaits) > 0 {
		c.wakeDrainWaits(unsent)
	}
	switch {
	case unsent > 0 || c.dirty:
	case c.state == connFlushing:
		c.startLinger()
	case c.outEnding && !c.outEnded:
		c.endOutput()
	case c.state == connLingering && c.inputEnded: // what CloseWrite had left is sent
		c.end(nil)
	}
}

// endOutput ends the stream's write side after the last byte.
func (c *Conn) endOutput() {
	c.outEnded = true
	if err := c.transport.CloseWrite(); err != nil {
		c.end(err)
	}
}

// rearm asks for write events once more where they are edge-triggered, because the
// transport has not refused anything since the last one.
func (c *Conn) rearm() {
	if !c.wantRead && c.wantWrite {
		c.transport.Want(false, true)
	}
}

// watch keeps the time that the peer has to take more. It counts what the peer
// takes: what is written meanwhile does not postpone it.
func (c *Conn) watchStall(unsent, sent int) {
	l := c.r.loop
	c.progress += sent
	switch {
	case unsent == 0:
		if c.stallTimer.Armed() {
			l.StopTimer(&c.stallTimer)
		}
		c.progress = 0
	case !c.stallTimer.Armed():
		c.progress, c.stalledAt = 0, l.Now()
		c.stallTimer.Owner = c
		l.AfterFunc(&c.stallTimer, c.writeTimeout(), checkStall)
	case c.progress >= writeStep:
		c.progress, c.stalledAt = 0, l.Now()
	}
}

// writeTimeout is how long the peer may take nothing.
func (c *Conn) writeTimeout() time.Duration {
	if c.stallMax > 0 {
		return c.stallMax
	}
	return c.r.limits.WriteTimeout
}

func checkStall(t *loop.Timer) {
	c := t.Owner.(*Conn)
	limit := int64(c.writeTimeout())
	if now := c.r.loop.Now(); now-c.stalledAt < limit {
		c.r.loop.AfterFunc(t, timeUntil(c.stalledAt+limit, now), checkStall)
		return
	}
	c.r.stats.ClosedWrite++
	c.end(ErrWriteTimeout)
}

// wakeDrained wakes the waits whose bound is reached.
func (c *Conn) wakeDrainWaits(unsent int) {
	waiting := c.drainWaits[:0]
	for _, d := range c.drainWaits {
		if unsent > d.below {
			waiting = append(waiting, d)
			continue
		}
		d.wake()
	}
	clear(c.drainWaits[len(waiting):])
	c.drainWaits = waiting
}

// whenDrained calls wake on the loop once at most below bytes are unsent or the
// connection has ended.
func (c *Conn) whenDrained(below int, wake func()) {
	if c.state == connEnded {
		wake()
		return
	}
	c.drainWaits = append(c.drainWaits, drainWait{below, wake})
	c.markDirty()
}

// Drain waits until c can take more output: it returns at once while fewer than
// Limits.OutboundMax bytes are unsent, and otherwise when half of that is left.
// So a task that streams is held back by its reader. t is the calling task, of the
// loop of c. The error is loop.ErrClosed or the task's cause.
func Drain(t *loop.Task, c *Conn) error {
	defer t.Leave(t.Enter())
	for {
		if c.Closed() {
			return loop.ErrClosed
		}
		most := c.r.limits.OutboundMax
		if c.Unsent() < most {
			return t.Err()
		}
		c.whenDrained(most/2, t.Prepare().Wake)
		if err := t.Park(); err != nil {
			return err
		}
	}
}

// SendFile sends n bytes of f from offset on, after what was written before, by
// the kernel's own copying: the task waits while the peer takes them. The caller
// makes sure that they are in the page cache, or else the disk holds the loop;
// each call into the kernel copies at most sendStep bytes. t is the calling task,
// of the loop of c, and nothing else may be written to c meanwhile. sent is less
// than n without an error where the file is shorter. ErrUnsupported: c is not a
// plain socket.
func SendFile(t *loop.Task, c *Conn, f File, offset, n int64) (sent int64, err error) {
	return sendFile(t, c, f, offset, n)
}
