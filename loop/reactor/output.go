// This file has the output of a Conn: it is collected while a slice runs, sent when
// the slice and those chained to it have ended (see also Batch), and watched by the
// write timeout until the peer has taken it.

package reactor

import (
	"time"

	"tafe/loop"
)

// writeStep is how many bytes a peer must take within a write timeout.
const writeStep = 16 << 10

// sendMax is how much one connection sends in one turn, approximately.
const sendMax = 1 << 20

// Output of Batch waits for at most batchMax, in ns, and until there are batchBytes.
const (
	batchMax   = int64(100_000)
	batchBytes = 32 << 10
)

// drainWait is a wait until at most below bytes are unsent.
type drainWait struct {
	below int
	wake  func()
}

// Write appends a copy of p to the output, which is sent when the running slice
// ends.
func (c *Conn) Write(p []byte) {
	c.SetOutput(append(c.Output(len(p)), p...))
}

// WriteThrough writes a large buffer without copying: after the queued output it
// sends from p directly, and queues a copy of the remainder.
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

// Output returns the output buffer with room for n more bytes. The caller appends
// to it and returns it with SetOutput.
func (c *Conn) Output(n int) []byte {
	switch {
	case c.out == nil:
		c.out = c.r.bufs.getBuffer(max(n, outputMin))
	case cap(c.out)-len(c.out) >= n:
	case c.sent > 0 && c.sent >= len(c.out)/4:
		c.out = c.out[:copy(c.out, c.out[c.sent:])]
		c.sent = 0
		fallthrough
	default:
		c.out = c.r.bufs.growBuffer(c.out, n, false)
	}
	return c.out
}

// SetOutput replaces the output buffer with b, which is the result of Output with
// bytes appended.
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
		return // drop what was appended
	}
	c.out = b
	if len(b) > c.sent && !c.wantWrite {
		c.markDirty()
	}
}

// Unsent returns how many written bytes have not left this process.
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

// markDirty makes the next Flush send the output, or end the connection after
// Abort.
func (c *Conn) markDirty() {
	if !c.dirty {
		c.dirty = true
		c.r.dirty = append(c.r.dirty, c)
		if c.batched {
			c.dirtyAt = c.r.loop.Now()
		}
	}
}

// dropOutput recycles the output buffer.
func (c *Conn) dropOutput() {
	if c.out != nil {
		c.r.bufs.putBuffer(c.out)
		c.out, c.sent = nil, 0
	}
}

// Flush sends what was written since the last call, but for the output of Batch while
// other tasks are ready. The loop calls it. It implements loop.Driver.
func (r *Reactor) Flush() {
	more, now, kept := r.loop.Drive().More(), r.loop.Now(), 0
	for i := 0; i < len(r.dirty); i++ {
		c := r.dirty[i]
		if more && c.batched && now-c.dirtyAt < batchMax && !c.aborting && c.Unsent() < batchBytes {
			r.dirty[kept] = c
			kept++
			continue
		}
		c.dirty = false
		c.flush()
	}
	clear(r.dirty[kept:])
	r.dirty = r.dirty[:kept]
}

// flush is Flush for one connection.
func (c *Conn) flush() {
	switch {
	case c.state == connEnded:
	case c.aborting:
		c.end(c.cause)
	default:
		c.send()
	}
}

// Writable sends more of the output. The poller, or the test's driver, calls it in
// a turn of the loop, after Transport.Want asked for it.
func (c *Conn) Writable() {
	switch {
	case c.state == connEnded:
	case c.file != nil:
		c.file.wake()
	default:
		c.send()
	}
}

// send gives the output to the transport, up to about sendMax so that other
// connections get their turn.
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
	c.watchStall(unsent, max(before-unsent, 0)) // a TLS transport accepts more than it has sent
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
	case c.state == connLingering && c.inputEnded: // the last bytes after CloseWrite are sent
		c.end(nil)
	}
}

// endOutput sends FIN after the last byte.
func (c *Conn) endOutput() {
	c.outEnded = true
	if err := c.transport.CloseWrite(); err != nil {
		c.end(err)
	}
}

// rearm requests write events again. It is needed where they are edge-triggered and
// the socket has accepted everything since the last event.
func (c *Conn) rearm() {
	if !c.wantRead && c.wantWrite {
		c.transport.Want(false, true)
	}
}

// watchStall runs the write timeout: it starts when bytes are unsent and restarts
// each time the peer has taken writeStep bytes. Writing more does not extend it.
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

// writeTimeout returns the connection's write timeout.
func (c *Conn) writeTimeout() time.Duration {
	if c.stallMax > 0 {
		return c.stallMax
	}
	return c.r.limits.WriteTimeout
}

// checkStall ends the connection when its write timeout has passed.
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

// wakeDrainWaits wakes the waits whose limit is reached. A wait that begins meanwhile is
// kept.
func (c *Conn) wakeDrainWaits(unsent int) {
	all, kept := len(c.drainWaits), 0
	for i := range all {
		d := c.drainWaits[i]
		if unsent > d.below {
			c.drainWaits[kept] = d
			kept++
			continue
		}
		d.wake()
	}
	kept += copy(c.drainWaits[kept:], c.drainWaits[all:])
	clear(c.drainWaits[kept:])
	c.drainWaits = c.drainWaits[:kept]
}

// WhenDrained calls wake on the loop, once, when at most below bytes are unsent or
// the connection has ended. wake must not wait. If the connection has ended
// already, WhenDrained calls it at once.
func (c *Conn) WhenDrained(below int, wake func()) {
	if c.state == connEnded {
		wake()
		return
	}
	c.drainWaits = append(c.drainWaits, drainWait{below, wake})
	c.markDirty()
}

// Drain makes a streaming task wait for its reader. It returns at once while fewer
// than Limits.OutboundMax bytes are unsent; otherwise it waits until half of that
// is left. t is the calling task, of the loop of c. The error is loop.ErrClosed or
// the cause of the task's cancellation.
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
		c.WhenDrained(most/2, t.Prepare().Wake)
		if err := t.Park(); err != nil {
			return err
		}
	}
}
