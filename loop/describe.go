// The description of a task: written by the task, readable by other threads at any time. It
// is copied into the task's own memory. A concurrent read may mix old and new text but never
// touches freed memory. The version counter reveals the mix. The struct also stores the
// settings of budget.go.

package loop

import "sync/atomic"

const labelBytesMax = 256

// label holds the description and the settings of a task.
type label struct {
	version atomic.Uint32 // odd while the plain fields below are written
	budget  atomic.Int64  // ns; 0: the loop's
	handoff atomic.Int64  // ns; 0: the loop's, negative: never

	background atomic.Bool

	// Not atomic: a request stores each pointer twice, and an atomic store is a locked
	// instruction. Functions without the race detector read them on other threads.
	route, method *string
	conn          *ConnLabel
	ends          [3]uint16 // of path, request id, traceparent in text
	text          [labelBytesMax]byte
}

// ConnLabel names a connection in reports.
type ConnLabel struct {
	ID     uint64 // unique among the connections of a loop
	Remote string // the peer's address
}

// Description says what a task does, for reports.
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

// clear resets l for the next task.
func (l *label) clear() {
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
	l.route, l.method, l.conn = nil, nil, nil
	l.ends = [3]uint16{}
	l.version.Add(1)
}

// inherit copies the description, budget and handoff time of a parent task, but not
// background.
func (l *label) inherit(from *label) {
	l.budget.Store(from.budget.Load())
	l.handoff.Store(from.handoff.Load())
	l.version.Add(1)
	l.route, l.method = from.route, from.method
	l.conn, l.ends, l.text = from.conn, from.ends, from.text
	l.version.Add(1)
}

// Describe sets the task's Description, which TaskView.Description returns. It is for the
// task's own code. route and method must point to strings that do not change. The rest is
// copied, at most 256 bytes in all; path is cut so that the ids fit. conn may be nil. It
// does not allocate.
func (t *Task) Describe(route, method *string, path, requestID, traceparent []byte, conn *ConnLabel) {
	l := &t.label
	l.version.Add(1)
	l.route, l.method, l.conn = route, method, conn
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

// descriptionTries bounds how often Description reads while the task writes.
const descriptionTries = 64

// Description returns what the task last recorded with Task.Describe. On the loop it is
// exact. Any other goroutine may call it while the task runs the slice that
// LoopView.Slice reported, and must call Slice.Still afterwards: after the slice has
// ended it may be of another request. It is never a mixture of two.
func (v TaskView) Description() Description {
	version := &v.t.label.version
	for range descriptionTries {
		before := version.Load()
		if before%2 != 0 {
			continue
		}
		if d := v.t.description(); version.CompareAndSwap(before, before) { // a barrier, see Still
			return d
		}
	}
	return Description{}
}

// description reads the description, which may be written meanwhile.
func (t *Task) description() (d Description) {
	var raw struct {
		id            uint64
		route, method *string
		conn          *ConnLabel
		ends          [3]uint16
		text          [labelBytesMax]byte
	}
	readLabel(t, &raw.id, &raw.route, &raw.method, &raw.conn, &raw.ends, &raw.text)
	d.TaskID = raw.id
	if raw.route != nil {
		d.Route = *raw.route
	}
	if raw.method != nil {
		d.Method = *raw.method
	}
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

// readLabel copies words that the loop may be writing. Description checks the version
// afterwards; the race detector cannot know that.
//
//go:norace
func readLabel(t *Task, id *uint64, route, method **string, conn **ConnLabel, ends *[3]uint16, text *[labelBytesMax]byte) {
	l := &t.label
	*id, *route, *method, *conn, *ends, *text = t.id, l.route, l.method, l.conn, l.ends, l.text
}
