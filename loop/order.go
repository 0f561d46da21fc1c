package loop

// The order in which ready tasks run. A loop that takes them first come, first
// served lets one batch of heavy slices stand before a hundred light ones. What the
// next slice of a task will take is known from earlier tasks of its kind: light
// slices run at once, heavy ones one at a time, oldest first, each after the I/O
// that was ready before.

import "time"

const (
	// heavyMin is from where a slice is heavy, ns.
	heavyMin = int64(300 * time.Microsecond)
	// passOverMax is for how long light slices may be preferred to a heavy one, ns.
	passOverMax = int64(50 * time.Millisecond)
	costSlices  = 8
	costShift   = 3 // an estimate moves by an eighth of the difference
)

// Cost estimates what the slices of a kind of task take, by its place among
// the slices of the task. The zero Cost knows nothing: all is light. It belongs to one loop.
type Cost struct {
	ns [costSlices]int64
}

// Estimates are the expected lengths of the first slice, the second and so on; the
// last one is that of all later slices, too. 0: not known.
func (c *Cost) Estimates() (all [costSlices]time.Duration) {
	for i, ns := range c.ns {
		all[i] = time.Duration(ns)
	}
	return all
}

// learn enters a slice.
func (c *Cost) learn(ordinal int, ns int64) {
	e := &c.ns[min(ordinal, costSlices-1)]
	if *e == 0 {
		*e = ns
		return
	}
	*e += (ns - *e) >> costShift
}

// heavy tells whether the next slice of t is likely to be a heavy one.
func (t *Task) heavy() bool {
	return t.cost != nil && t.cost.ns[min(t.ordinal, costSlices-1)] >= heavyMin
}

// StartOf is Start for a task whose slices are ordered by c, which learns from
// them. c must be of the loop alone; nil is Start.
func (l *Loop) StartOf(r Runner, c *Cost) (*Task, error) {
	caller, entered := l.touch()
	defer caller.Leave(entered)
	t, err := l.take(r)
	if err != nil {
		return nil, err
	}
	if !l.limits.FIFO {
		t.cost = c
	}
	t.state = taskReady
	t.ready, t.estimated = l.ready(), l.estimated
	if l.ending && l.chained == nil && !t.heavy() {
		l.chained = t
	} else {
		l.queue(t)
	}
	return t, nil
}

// queue queues a task that can run.
func (l *Loop) queue(t *Task) {
	if t.heavy() {
		l.heavies.push(t)
		return
	}
	l.runq.push(t)
}

// queued is how many tasks can run.
func (l *Loop) queued() int { return l.runq.len() + l.yielded.len() + l.heavies.len() }

// overdue tells whether the oldest heavy slice was passed over for too long.
func (l *Loop) overdue() bool {
	return l.heavies.len() > 0 && l.now-l.heavies.peek().ready > passOverMax
}
