package loop

// Group: child tasks that work for one task. It owns when they are cancelled
// and that none is left behind; it knows nothing of their results.

import (
	"context"
	"errors"
	"time"
)

// errEnough cancels the siblings that are not needed any more.
var errEnough = errors.New("loop: the group has what it needs")

// Group runs children of a task on its loop, and joins them: All, First and
// Settle return when every child has ended. They cancel children, which then
// end at their next wait, so what that takes is a slice or two. Children may run
// at the same time, one on the loop and others beside it (see [Task.Enter]): what
// they share needs a lock. For the parent's task; a child may call Go too. Once
// joined, a Group may be used again.
type Group struct {
	parent   *Task
	children []*child
	ok       int // returned nil
	err      error
	panicked *PanicError
	cut      error // what the children were cancelled with
	waker    Waker
	deadline Timer
}

type child struct {
	group *Group
	f     func(*Task) error
	task  *Task
	err   error
}

// Group makes a group of t's children. They carry t's Description and budget.
func (t *Task) Group() *Group {
	g := &Group{parent: t}
	g.deadline.Owner = g
	return g
}

// Go starts f as a child, which runs once the parent waits. The error is
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

// Run is the Runner's.
func (c *child) Run(t *Task) { t.Outside(func() { c.err = c.f(t) }) }

// Done is the Runner's.
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

// SetDeadline cancels the children that have not ended after d with
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

// All waits until every child has returned. The first error cancels the others
// and is All's, unless the parent was cancelled: then it is that cause. A
// child's panic cancels the others and is the parent's.
func (g *Group) All() error {
	_, err := g.join(func() bool { return g.err != nil })
	return err
}

// First waits until n children have returned nil, and cancels the others. When
// so many cannot be any more, it cancels the rest and returns the first error.
func (g *Group) First(n int) error {
	ok, err := g.join(func() bool { return g.ok >= n || g.ok+len(g.children) < n })
	switch {
	case ok >= n && g.parent.Err() == nil:
		return nil
	case err == nil:
		err = errors.New("loop: a group of fewer children than are needed")
	}
	return err
}

// Settle waits until every child has returned, whatever it was, and tells how
// many returned nil. A deadline set with SetDeadline bounds it. The error is the
// parent's cause.
func (g *Group) Settle() (ok int, err error) {
	ok, _ = g.join(func() bool { return false })
	return ok, g.parent.Err()
}

// join waits until no child is left. As soon as enough says so, the rest is
// cancelled.
func (g *Group) join(enough func() bool) (ok int, err error) {
	t := g.parent
	if err := t.MayPark(); err != nil {
		return 0, err
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
	ok, err = g.ok, g.err
	g.ok, g.err, g.panicked, g.cut, g.waker = 0, nil, nil, nil, Waker{}
	if p != nil {
		panic(p)
	}
	if cause := t.Err(); cause != nil {
		err = cause
	}
	return ok, err
}
