package loop

// A stuck loop: a task holds it, perhaps waiting, by a mutex or a channel, for a
// goroutine that in turn waits for a connection of this loop. Nothing would ever
// move. Here that goroutine reaches the connection past the loop: the loop is
// still held, as a watchdog will say, but not for ever.

import "time"

// Who is no task and waits for a loop looks now and then whether the loop is
// stuck: at first after stuckMin, then at doubling intervals up to stuckMax.
const (
	stuckMin = 5 * time.Millisecond
	stuckMax = 200 * time.Millisecond
)

// beside runs f while the loop stays inside the slice of a task: that task may
// run on, but the loop touches none of its connections until f has returned. f
// must be short. False, and f is not run, between slices. Any goroutine: it is how
// another one reaches a connection of a loop that is stuck, perhaps for want of
// just what arrives there.
func (l *Loop) beside(f func()) bool {
	l.aside.Lock()
	defer l.aside.Unlock()
	l.asiders.Add(1) // before the look at the slice, as awaitBeside looks after its end
	defer l.asiders.Add(-1)
	if _, _, ok := l.slice.Load(); !ok {
		return false
	}
	f()
	return true
}

// awaitBeside lets the loop go on after a slice once nobody works beside it.
func (l *Loop) awaitBeside() {
	if l.asiders.Load() != 0 {
		l.letFinish()
	}
}

func (l *Loop) letFinish() {
	l.aside.Lock()
	defer l.aside.Unlock() // to have waited for it was the purpose
}

// lookUntil is the end of a wait with a deadline by, at which whoever is no task
// looks whether the loop is stuck.
func (n *netConn) lookUntil(t *Task, by int64, look time.Duration) int64 {
	if t != nil {
		return by
	}
	at := n.loop.Clock() + int64(look)
	if by != 0 {
		at = min(at, by)
	}
	return at
}

// readBeside reads from the socket in place of a loop that is held by a task,
// which may be waiting for the caller: then what arrives would never be
// delivered (pgconn's background reader is such a case). mu is held, so nothing
// has been delivered since the caller looked, and beside keeps the loop from it.
func (n *netConn) readBeside(p []byte) (k int, err error) {
	if n.bulk != nil || n.ended != nil || n.closed || n.got < len(n.in) {
		return 0, nil
	}
	n.loop.beside(func() {
		if s, ok := n.conn.transport.(direct); ok {
			n.sendBeside(s)
			k, err = s.Receive(p)
		}
	})
	if err != nil {
		n.ended = err
	}
	return k, err
}

// sendBeside sends what was written, and what was written off the loop and not
// taken there. mu is held: the held task cannot write.
func (n *netConn) sendBeside(s direct) {
	if c := n.conn; len(c.out) > 0 {
		sent := s.Send(c.out, nil)
		if c.out = c.out[:copy(c.out, c.out[sent:])]; len(c.out) > 0 {
			return
		}
	}
	if len(n.out) > 0 {
		n.out = n.out[s.Send(n.out, nil):]
	}
}

// writeBeside is sendBeside for a writer that waits for room. mu is held.
func (n *netConn) writeBeside() {
	if n.bulk != nil || n.ended != nil || n.closed {
		return
	}
	n.loop.beside(func() {
		if s, ok := n.conn.transport.(direct); ok {
			n.sendBeside(s)
		}
	})
}
