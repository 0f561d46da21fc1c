// The order in which ready tasks run. First come, first served would put a batch of heavy
// slices before a hundred light ones. Earlier tasks of the same kind tell how long the
// next slice of a task is likely to be. Light slices run at once; heavy ones run one at a
// time, oldest first, with a poll for I/O between two of them. StartOf, which is also the
// body of Start, and the queues of ready tasks are here.

package loop

import "time"

const (
	// heavyMin is the expected length from which a slice is heavy, ns.
	heavyMin = int64(300 * time.Microsecond)
	// passOverMax bounds the time for which light slices run before a heavy one, ns.
	passOverMax = int64(50 * time.Millisecond)
	costSlices  = 8
	costShift   = 3 // an estimate moves by an eighth of the difference
)

// Cost estimates the lengths of the slices of one kind of task, by their position in the
// task. The zero Cost has no estimates, and its slices count as light. It belongs to
// one loop.
type Cost struct {
	ns [costSlices]int64
}

// Estimates returns the expected lengths of the first slice, the second and so on. The
// last one is for all later slices too. 0 means no estimate.
func (c *Cost) Estimates() (all [costSlices]time.Duration) {
	for i, ns := range c.ns {
		all[i] = time.Duration(ns)
	}
	return all
}

// learn adds a slice to the estimate of its position.
func (c *Cost) learn(ordinal int, ns int64) {
	e := &c.ns[min(ordinal, costSlices-1)]
	if *e == 0 {
		*e = ns
		return
	}
	*e += (ns - *e) >> costShift
}

// heavy reports whether the next slice of t is expected to be heavy.
func (t *Task) heavy() bool {
	return t.cost != nil && t.cost.ns[min(t.ordinal, costSlices-1)] >= heavyMin
}

// StartOf is Start for a task whose slices are ordered by the estimates of c, and update
// them. c must not be shared between loops. A nil c is Start.
func (l *Loop) StartOf(r Runner, c *Cost) (*Task, error) {
	return l.start(r, c, l.limits.TaskMax)
}

func (l *Loop) start(r Runner, c *Cost, taskMax int) (*Task, error) {
	caller, entered := l.touch()
	defer caller.Leave(entered)
	t, err := l.newTask(r, taskMax)
	if err != nil {
		return nil, err
	}
	if !l.limits.FIFO {
		t.cost = c
	}
	t.state = taskReady
	t.ready, t.estimated = l.readySince(), l.estimated
	if l.ending && l.chained == nil && !t.heavy() {
		l.chained = t
	} else {
		l.queue(t)
	}
	return t, nil
}

// queue adds a ready task to the queue of light or of heavy slices.
func (l *Loop) queue(t *Task) {
	if t.heavy() {
		l.heavies.push(t)
		return
	}
	l.runq.push(t)
}

// queued returns the number of ready tasks.
func (l *Loop) queued() int { return l.runq.len() + l.yielded.len() + l.heavies.len() }

// overdue reports whether the oldest heavy slice has waited longer than passOverMax.
func (l *Loop) overdue() bool {
	return l.heavies.len() > 0 && l.now-l.heavies.peek().ready > passOverMax
}
