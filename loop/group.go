// Group: child tasks of a task, and their cancellation and join.

package loop

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// errEnough cancels the children that are no longer needed.
var errEnough = errors.New("loop: the group has what it needs")

// Group runs child tasks on the loop of their parent and joins them: All, First and
// Settle return when every child has ended. A cancelled child ends at its next wait, so a
// join after a cancellation takes a slice or two. Children may run at the same time when
// one is handed off, so the state that they share needs a lock. The methods are for the
// parent; a child may call Go too. A Group can be used again after a join.
type Group struct {
	parent   *Task
	children []*child
	ok       int // children that returned nil
	err      error
	panicked *PanicError
	cut      error // the cause with which the children were cancelled
	waker    Waker
	deadline Timer
}

type child struct {
	group *Group
	f     func(*Task) error
	task  *Task
	err   error
}

// Group returns a Group for children of t. They inherit its Description, budget and
// handoff time.
func (t *Task) Group() *Group {
	g := &Group{parent: t}
	g.deadline.Owner = g
	return g
}

// Go starts f as a child, which first runs when the parent waits. The error is
// ErrTooManyTasks or ErrClosed.
func (g *Group) Go(f func(t *Task) error) error {
	caller, entered := g.parent.loop.touch() // a child may be the caller
	defer caller.Leave(entered)
	c := &child{group: g, f: f}
	t, err := g.parent.loop.Start(c)
	if err != nil {
		return err
	}
	c.task = t
	t.label.inherit(&g.parent.label)
	g.children = append(g.children, c)
	if g.cut != nil {
		t.Cancel(g.cut)
	}
	return nil
}

// Run implements Runner.
func (c *child) Run(t *Task) { t.Outside(func() { c.err = c.f(t) }) }

// Done implements Runner.
func (c *child) Done(t *Task, err error) {
	g := c.group
	for i, other := range g.children {
		if other == c {
			last := len(g.children) - 1
			g.children[i], g.children[last] = g.children[last], nil
			g.children = g.children[:last]
			break
		}
	}
	if err == nil {
		err = c.err
	}
	if p, ok := err.(*PanicError); ok && g.panicked == nil {
		g.panicked = p
		g.cancel(p)
	}
	switch {
	case err == nil:
		g.ok++
	case g.err == nil && g.cut == nil:
		g.err = err
	}
	g.waker.Wake()
}

// SetDeadline cancels the children that are still running after d, with
// context.DeadlineExceeded.
func (g *Group) SetDeadline(d time.Duration) {
	g.parent.loop.AfterFunc(&g.deadline, d, groupDeadline)
}

func groupDeadline(tm *Timer) {
	g := tm.Owner.(*Group)
	if g.err == nil && g.cut == nil && len(g.children) > 0 {
		g.err = context.DeadlineExceeded
	}
	g.cancel(context.DeadlineExceeded)
}

func (g *Group) cancel(cause error) {
	if g.cut != nil {
		return
	}
	g.cut = cause
	for _, c := range g.children {
		c.task.Cancel(cause)
	}
}

// All waits until every child has returned. The first error cancels the others, and All
// returns it, or the error of the parent as Settle does. A panic of a child cancels the
// others and goes on in the parent.
func (g *Group) All() error {
	_, first, err := g.join(func() bool { return g.err != nil })
	return cmp.Or(err, first)
}

// First waits until n children have returned nil and cancels the others. If fewer than
// n can still succeed, it cancels the rest and returns the first error.
func (g *Group) First(n int) error {
	ok, first, err := g.join(func() bool { return g.ok >= n || g.ok+len(g.children) < n })
	switch {
	case err != nil:
		return err
	case ok >= n:
		return nil
	case first == nil:
		first = errors.New("loop: the group has fewer children than required")
	}
	return first
}

// Settle waits until every child has returned and returns how many returned nil. Errors
// cancel no child; SetDeadline bounds the wait. The error is the cause of a cancelled
// parent, or that of MayPark if it cannot wait: then children may still run.
func (g *Group) Settle() (ok int, err error) {
	ok, _, err = g.join(func() bool { return false })
	return ok, err
}

// join waits until no child is left. It cancels the rest once enough returns true. first
// is the first error of the children, err that of the parent; see Settle.
func (g *Group) join(enough func() bool) (ok int, first, err error) {
	t := g.parent
	if err := t.MayPark(); err != nil {
		return 0, nil, err
	}
	defer t.Leave(t.Enter())
	for len(g.children) > 0 {
		if enough() {
			g.cancel(errEnough)
		}
		g.waker = t.Prepare()
		t.parkThrough(g.cancel)
	}
	t.loop.StopTimer(&g.deadline)
	p := g.panicked
	ok, first = g.ok, g.err
	g.ok, g.err, g.panicked, g.cut, g.waker = 0, nil, nil, nil, Waker{}
	if p != nil {
		panic(p)
	}
	return ok, first, t.Err()
}
