package loop

// The slice record: what a loop publishes about the task it is running, so
// that another thread can tell, without stopping it, since when and what. The
// loop only stores; whoever watches does the work.

import (
	"sync/atomic"
	"time"
)

// Slice is a loop's record of the slice it is running: one uninterrupted run
// of one task. Written by the loop, readable by any goroutine at any time.
// It has its cache lines for itself, so that a reader that polls it costs the
// loop nothing else.
type Slice struct {
	_ [64]byte
	// since is the loop clock at the slice's start in ns. Two slices never start
	// in the same nanosecond, so it also is a sequence. Negative: the loop has
	// been busy outside tasks since then; 0: it waits for events.
	since atomic.Int64
	task  atomic.Pointer[Task]
	_     [48]byte
}

// Load returns the running slice's start (loop clock, ns) and its task. ok is
// false between slices. The task pointer stays valid; whether it still runs the
// same slice must be asked with Still after using it.
func (s *Slice) Load() (since int64, task *Task, ok bool) {
	since = s.since.Load()
	if since <= 0 {
		return 0, nil, false
	}
	task = s.task.Load()
	if task == nil || s.since.Load() != since {
		return 0, nil, false
	}
	return since, task, true
}

// Still tells whether the slice that Load has reported goes on. All that was read
// before, also of the task's memory, was read while it did: the compare-and-swap is a
// barrier for earlier loads, which a load is not on every processor. since of Outside
// is passed with a minus sign.
func (s *Slice) Still(since int64) bool { return s.since.CompareAndSwap(since, since) }

// Outside returns since when the loop has been busy outside tasks: in a
// callback of a Handler or a Timer, in a posted function, or sending. ok is
// false while it runs a task or waits for events.
func (s *Slice) Outside() (since int64, ok bool) {
	since = s.since.Load()
	return -since, since < 0
}

func (s *Slice) begin(t *Task, now int64) {
	s.task.Store(t)
	s.since.Store(now)
}

// outside: from now on no task, but still busy.
func (s *Slice) outside(now int64) { s.since.Store(-now) }

func (s *Slice) idle() { s.since.Store(0) }

// Observer is told of every slice's end, on the loop's goroutine: it must be
// quick, must not block and must not allocate.
type Observer interface {
	// SliceEnd reports the slice of t from start to end (loop clock, ns). ready is
	// when the task became able to run: start-ready is what it waited for the loop.
	SliceEnd(l *Loop, t *Task, ready, start, end int64)
}

// LateObserver is an Observer that is also told of the slices that begin late.
type LateObserver interface {
	Observer
	// SliceLate comes before a slice of t that starts LateMin or more after ready.
	SliceLate(l *Loop, t *Task, ready, start int64)
}

// LateMin is what a task must have waited for its loop for SliceLate to be
// called, in ns.
const LateMin = int64(500 * time.Microsecond)

// TraceArrivals asks the driver to find out, for each connection it reads, since
// when the bytes have been waiting; tasks that they start or wake are ready since
// then. It costs 1.3 us for each read, so it is meant for the turns that follow a
// long slice. The answer is an estimate (TCP, up to a kernel tick of error). Any
// goroutine.
func (l *Loop) TraceArrivals(on bool) { l.tracing.Store(on) }

// TracesArrivals tells the driver whether to find that out. Any goroutine.
func (l *Loop) TracesArrivals() bool { return l.tracing.Load() }

// ready is since when the event that is being handled has been waiting.
func (l *Loop) ready() int64 {
	switch {
	case l.running != nil: // caused by the slice, not found after it
		return l.driver.Now()
	case l.eventAt != 0:
		return l.eventAt
	}
	return l.now
}

// SetBudget sets what each slice of this task may take, instead of
// Limits.SliceBudget; 0 means that again.
func (t *Task) SetBudget(d time.Duration) { t.label.budget.Store(int64(d)) }

// SetHandoff sets for how long each slice of this task may hold the loop while
// others wait, in place of the loop's own time; 0 means that again, less than 0
// that the loop is never taken from the task.
func (t *Task) SetHandoff(d time.Duration) { t.label.handoff.Store(int64(d)) }

// handoffTime is for how many ns the task's slices may hold the loop while others
// wait; 0: for ever. Any goroutine.
func (t *Task) handoffTime() int64 {
	if d := t.label.handoff.Load(); d != 0 {
		return max(d, 0)
	}
	return t.loop.handoff.Load()
}

// Budget is what one slice of the task may take. Any goroutine.
func (t *Task) Budget() time.Duration {
	if d := t.label.budget.Load(); d > 0 {
		return time.Duration(d)
	}
	return t.loop.limits.SliceBudget
}

// SetBackground says that nobody waits for the task, such as for one that reads an
// answer that came too late: a watchdog does not count it among those that were kept
// waiting. Any goroutine.
func (t *Task) SetBackground() { t.label.background.Store(true) }

// Background tells whether SetBackground was called. Any goroutine.
func (t *Task) Background() bool { return t.label.background.Load() }

// RoutePattern is the route given to Describe, or nil. Any goroutine.
func (t *Task) RoutePattern() *string { return t.label.route.Load() }

// ReadyEstimated tells whether the time since which the task could run this
// slice is an estimate (see Loop.TraceArrivals). On the loop's goroutine.
func (t *Task) ReadyEstimated() bool { return t.estimated }

// Delay is what a task has waited for its loop because of others.
type Delay struct {
	Total   time.Duration
	Overrun uint64        // the id of the overrun it waited for the longest
	Longest time.Duration // of one overrun
}

// Delayed tells how long overruns of other tasks have kept this one waiting so
// far. Zero without a watchdog.
func (t *Task) Delayed() Delay { return t.delay }

// AddDelay charges a wait to an overrun. For the loop's Observer.
func (t *Task) AddDelay(overrun uint64, d time.Duration) {
	t.delay.Total += d
	if d > t.delay.Longest {
		t.delay.Overrun, t.delay.Longest = overrun, d
	}
}

// Usage is what a task has had of its loop.
type Usage struct {
	Held   time.Duration // all its slices together
	Waited time.Duration // could have run, but the loop was busy
	// Handoffs is how often the loop was taken from the task, Taken what those slices
	// held it until then.
	Handoffs uint64
	Taken    time.Duration
}

// Usage tells what the task has had of its loop so far, with the slice that it
// is in. On the loop's goroutine or the task's own.
func (t *Task) Usage() Usage {
	if t.g == getg() {
		defer t.Leave(t.Enter())
	}
	u := t.usage
	if l := t.loop; l.running == t {
		u.Held += time.Duration(l.driver.Now() - l.lastStart)
		u.Waited += time.Duration(max(0, l.lastStart-t.ready))
	}
	return u
}

// Asked is how often the task has called YieldIfDue so far.
func (t *Task) Asked() uint64 { return t.asked.calls }

const labelBytesMax = 256

// label is what a task says about itself to other threads. The bytes are
// copied into the task, so that a reader that comes at a bad moment reads
// nonsense, which it notices by version, but never freed memory.
type label struct {
	version atomic.Uint32 // odd while the rest is written
	route   atomic.Pointer[string]
	method  atomic.Pointer[string]
	budget  atomic.Int64 // ns; 0: the loop's
	handoff atomic.Int64 // ns; 0: the loop's, negative: never
	// background: nobody waits for the task.
	background atomic.Bool
	conn       *ConnLabel
	ends       [3]uint16 // of path, request id, traceparent in text
	text       [labelBytesMax]byte
}

// ConnLabel names a connection in reports.
type ConnLabel struct {
	ID     uint64 // unique among the connections of a loop
	Remote string // the peer's address
}

// Description tells what a task does, for reports.
type Description struct {
	TaskID      uint64
	Route       string // the pattern it was dispatched by
	Method      string
	Path        string // cut to what fits
	RequestID   string
	Traceparent string
	ConnID      uint64
	Remote      string
}

func (l *label) clear() {
	l.route.Store(nil)
	l.method.Store(nil)
	if l.budget.Load() != 0 {
		l.budget.Store(0)
	}
	if l.handoff.Load() != 0 {
		l.handoff.Store(0)
	}
	if l.background.Load() { // a store is a locked instruction
		l.background.Store(false)
	}
	l.version.Add(1)
	l.conn = nil
	l.ends = [3]uint16{}
	l.version.Add(1)
}

// Describe records what the task does; see Description. route and method must
// point to strings that nobody changes. The rest is copied, at most 256 bytes
// in all: path is cut so that the ids fit. conn may be nil. Does not allocate.
func (t *Task) Describe(route, method *string, path, requestID, traceparent []byte, conn *ConnLabel) {
	l := &t.label
	l.version.Add(1)
	l.route.Store(route)
	l.method.Store(method)
	l.conn = conn
	requestID = requestID[:min(len(requestID), 64)]
	traceparent = traceparent[:min(len(traceparent), 64)]
	path = path[:min(len(path), labelBytesMax-len(requestID)-len(traceparent))]
	n := copy(l.text[:], path)
	l.ends[0] = uint16(n)
	n += copy(l.text[n:], requestID)
	l.ends[1] = uint16(n)
	n += copy(l.text[n:], traceparent)
	l.ends[2] = uint16(n)
	l.version.Add(1)
}

// describedTries is how often Description reads while the task writes.
const describedTries = 64

// Description returns what the task last recorded with Describe. On the loop
// it is exact. Any other goroutine may call it too while the task runs the
// slice that the loop's Slice reported, and must ask Slice.Still afterwards: if
// the slice has moved on, it may be of another request. It is never a mixture of two.
func (t *Task) Description() Description {
	version := &t.label.version
	for range describedTries {
		before := version.Load()
		if before%2 != 0 {
			continue
		}
		if d := t.description(); version.CompareAndSwap(before, before) { // a barrier, see Still
			return d
		}
	}
	return Description{} // it writes all the time
}

// description reads what may be written meanwhile.
func (t *Task) description() (d Description) {
	if p := t.label.route.Load(); p != nil {
		d.Route = *p
	}
	if p := t.label.method.Load(); p != nil {
		d.Method = *p
	}
	var raw struct {
		id   uint64
		conn *ConnLabel
		ends [3]uint16
		text [labelBytesMax]byte
	}
	readLabel(t, &raw.id, &raw.conn, &raw.ends, &raw.text)
	d.TaskID = raw.id
	if raw.conn != nil {
		d.ConnID, d.Remote = raw.conn.ID, raw.conn.Remote
	}
	end := [3]int{int(raw.ends[0]), int(raw.ends[1]), int(raw.ends[2])}
	if end[0] <= end[1] && end[1] <= end[2] && end[2] <= labelBytesMax {
		d.Path = string(raw.text[:end[0]])
		d.RequestID = string(raw.text[end[0]:end[1]])
		d.Traceparent = string(raw.text[end[1]:end[2]])
	}
	return d
}

// readLabel copies words that the loop may be writing: that is the bargain of
// Description, and the race detector is told so.
//
//go:norace
func readLabel(t *Task, id *uint64, conn **ConnLabel, ends *[3]uint16, text *[labelBytesMax]byte) {
	*id, *conn, *ends, *text = t.id, t.label.conn, t.label.ends, t.label.text
}
