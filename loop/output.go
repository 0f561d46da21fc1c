package loop

// A Conn's output: gathered while a slice runs, handed to the transport when it
// ends, and watched until the peer has taken it. It does not know who ends a
// connection: that is conn.go's.

import "time"

const (
	writeStep  = 16 << 10 // progress that earns another WriteTimeout
	drainCheck = 500 * time.Microsecond
)

// drainWait is somebody who waits for the unsent bytes to fall to a bound.
type drainWait struct {
	below int
	wake  func()
}

// Write appends p to the output; it is sent when the running slice ends.
func (c *Conn) Write(p []byte) {
	c.SetOutput(append(c.Output(len(p)), p...))
}

// WriteThrough is Write for what is large and in memory that it need not outlive:
// what the socket takes at once is sent at once, after all that was written
// before, and only the rest is copied.
func (c *Conn) WriteThrough(p []byte) {
	if d, ok := c.transport.(direct); ok && !c.closed && !c.closing && !c.detached {
		l := c.loop
		l.aside.Lock()
		n := d.Send(c.out, p)
		l.aside.Unlock()
		l.stats.BytesOut += uint64(n)
		before := min(n, len(c.out))
		if c.out = c.out[:copy(c.out, c.out[before:])]; len(c.out) == 0 {
			l.bufs.put(c.out)
			c.out = nil
		}
		p = p[n-before:]
	}
	if len(p) > 0 {
		c.Write(p)
	}
}

// Output returns the output that is not yet handed to the transport, with room
// for n more bytes: append to it and give it back with SetOutput.
func (c *Conn) Output(n int) []byte {
	if c.out == nil {
		c.out = c.loop.bufs.get(max(n, outputMin))
		return c.out
	}
	c.out = c.loop.bufs.grow(c.out, n, false)
	return c.out
}

// SetOutput takes back what Output returned, appended to.
func (c *Conn) SetOutput(b []byte) {
	c.out = b
	if !c.dirty && len(b) > 0 {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// Unsent is how many bytes were written and have not left this process.
func (c *Conn) Unsent() int {
	if c.closed {
		return 0
	}
	return len(c.out) + c.transport.Unsent()
}

// flushDirty hands every connection's output to its transport, once a turn.
func (l *Loop) flushDirty() {
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		l.dirty[i] = nil
		c.dirty = false
		c.flush()
	}
	l.dirty = l.dirty[:0]
}

func (c *Conn) flush() {
	if c.detached {
		if c.closing {
			c.drop(nil)
		}
		return // what was written waits for Attach
	}
	out := c.out
	if len(out) > 0 {
		c.out = nil
		if !c.closed {
			c.loop.stats.BytesOut += uint64(len(out))
			// An error closes the connection; the driver has called Hangup by then.
			_, _ = c.transport.Write(out)
		}
		c.loop.bufs.put(out)
	}
	if len(c.drained) > 0 && !c.closed {
		c.wakeDrained(c.transport.Unsent())
	}
	switch {
	case c.closed:
	case c.transport.Unsent() > 0:
		c.watchSending()
	case c.closing && c.linger == 0:
		c.shut()
	}
}

// watchSending looks at the unsent bytes again and again: there is no event
// for what the peer has taken.
func (c *Conn) watchSending() {
	if c.sendTime.Armed() {
		return
	}
	c.unsent, c.since = c.transport.Unsent(), c.loop.now
	c.armCheck()
}

func (c *Conn) armCheck() {
	switch {
	case len(c.drained) == 0 && !c.closing:
		c.check = c.loop.limits.WriteTimeout / 4
	case c.check == 0 || c.check > 64*drainCheck:
		c.check = drainCheck
	default:
		c.check = min(2*c.check, 64*drainCheck)
	}
	c.sendTime.Owner = c
	c.loop.AfterFunc(&c.sendTime, c.check, checkSending)
}

func checkSending(t *Timer) {
	c := t.Owner.(*Conn)
	unsent := c.transport.Unsent()
	if unsent == 0 || c.unsent-unsent >= writeStep || unsent > c.unsent {
		c.unsent, c.since = unsent, c.loop.now
	}
	if unsent > 0 && c.loop.now-c.since >= int64(c.loop.limits.WriteTimeout) {
		c.loop.stats.ClosedWrite++
		c.drop(ErrWriteTimeout)
		return
	}
	c.wakeDrained(unsent)
	switch {
	case unsent > 0:
		c.armCheck()
	case c.closing && c.linger == 0:
		c.check = 0
		c.shut()
	default:
		c.check = 0
	}
}

// wakeDrained wakes those whose bound is reached.
func (c *Conn) wakeDrained(unsent int) {
	waiting := c.drained[:0]
	for _, d := range c.drained {
		if unsent > d.below {
			waiting = append(waiting, d)
			continue
		}
		d.wake()
	}
	clear(c.drained[len(waiting):])
	c.drained = waiting
}

// whenDrained calls wake on the loop once at most below bytes are unsent or the
// connection is gone.
func (c *Conn) whenDrained(below int, wake func()) {
	c.drained = append(c.drained, drainWait{below, wake})
	if c.sendTime.Armed() && c.check > 64*drainCheck {
		c.loop.StopTimer(&c.sendTime)
		c.armCheck()
	}
}

// Drain waits until the connection can take more output: at once below
// Limits.OutboundMax unsent bytes, otherwise until half of that is left. It is
// how a task that streams is held back by its reader. The error is ErrClosed or
// the task's cause.
func (t *Task) Drain(c *Conn) error {
	for {
		if c.Closed() {
			return ErrClosed
		}
		if c.Unsent() < c.loop.limits.OutboundMax {
			return t.Err()
		}
		c.whenDrained(c.loop.limits.OutboundMax/2, t.Prepare().Wake)
		if err := t.Park(); err != nil {
			return err
		}
	}
}
