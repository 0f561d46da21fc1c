// This file owns an http.Handler under a route: its goroutine, and the task that does for it what only the loop may do.
// Its request is mountrequest.go's, its answer mountwriter.go's.

package app

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"tafe/loop"
)

// errMountOver is what a mounted handler's goroutine gets once its request is over.
var errMountOver = errors.New("app: the request of the mounted handler is over")

// Mount makes any http.Handler a Handler. It runs on a goroutine of its own, at most Options.MountMax at once, so it may block;
// requests and answers are streamed between it and the loop, each crossing some tens of microseconds (BenchmarkMount).
//
// It finds what net/http gives its handlers: a request whose context ends with it, the path parameters as PathValue, and a
// ResponseWriter with Flush, ReadFrom (large files are sent by the kernel), Hijack and EnableFullDuplex, but no read or
// write deadlines, no trailers and no Pusher. The URL's path is that which was routed: without dot segments, and with
// %2F where the client has escaped a slash, so that a mounted file server cannot be led around the routes beside it. Headers that a
// middleware has set are in the ResponseWriter's.
//
// When the request is cancelled, its answer does not wait for the handler, which is told by the request's context and by
// the errors of reading and writing; until it returns it counts towards MountMax, unless it has
// taken the connection by Hijack. A panic answers 500, one with
// http.ErrAbortHandler breaks the connection off.
func Mount(h http.Handler) Handler {
	server := &http.Server{Handler: h} // tells handlers that an abort will be understood
	return func(c *Context) error {
		slots := c.app.mounts
		if err := slots.Acquire(c.task); err != nil {
			if errors.Is(err, loop.ErrQueueFull) {
				return errMountFull
			}
			return err
		}
		m := &mounted{loop: c.state.loop, log: c.app.options.Log, release: sync.OnceFunc(slots.Release)}
		r, err := m.request(c, server)
		if err != nil {
			m.release()
			return err
		}
		w := newMountWriter(m, c, r)
		go m.serve(h, w, r)
		return m.runCalls(c)
	}
}

// ask is what the handler's goroutine wants done by the task: f, or a Read into p.
type taskCall struct {
	f    func(c *Context) error
	last bool // f's error is the handler's

	p []byte
	n int

	err  error
	done chan struct{}
}

// mounted is one request of an http.Handler. Its fields below mu are for both sides, the others for the goroutine.
type mounted struct {
	loop    *loop.Loop
	log     logger
	cancel  context.CancelCauseFunc
	release func() // gives the place below MountMax back, once

	mu     sync.Mutex
	calls  []*taskCall
	waker  loop.Waker // of the task's wait
	parked bool       // waker may be used
	over   error      // not nil: the task is gone
}

type logger interface{ Error(msg string, args ...any) }

// serve is the handler's goroutine.
func (m *mounted) serve(h http.Handler, w *mountWriter, r *http.Request) {
	defer m.release()
	err := loop.ErrGoexit
	defer func() {
		switch p := recover(); {
		case p == http.ErrAbortHandler:
			err = http.ErrAbortHandler
		case p != nil:
			err = &loop.PanicError{Value: p, Stack: debug.Stack()}
		}
		w.end(err)
		m.cancel(context.Canceled)
	}()
	h.ServeHTTP(w, r)
	err = nil
}

// do has f called by the task, and returns its error.
func (m *mounted) call(f func(c *Context) error) error { return m.submit(&taskCall{f: f}) }

// put hands a to the task and waits until it is done. The handler's goroutine, and those that work for it.
func (m *mounted) submit(a *taskCall) error {
	a.done = make(chan struct{})
	m.mu.Lock()
	if m.over != nil {
		defer m.mu.Unlock()
		return m.over
	}
	m.calls = append(m.calls, a)
	waker, parked := m.waker, m.parked
	m.parked = false
	m.mu.Unlock()
	for parked && !waker.Post() && m.serving() {
		time.Sleep(time.Millisecond) // the loop is flooded with posts
	}
	<-a.done
	return a.err
}

func (m *mounted) serving() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.over == nil
}

// attend does what the handler calls for until it has ended or the request is cancelled. For the task.
func (m *mounted) runCalls(c *Context) error {
	defer c.task.Leave(c.task.Enter())
	t := &mountTask{mounted: m, c: c, err: loop.ErrShutdown}
	defer t.end() // also when the task is unwound
	for !t.ended && t.cause == nil {
		t.current, t.cause = m.next(c, t.reading != nil)
		if t.current != nil {
			t.perform()
		}
		if t.reading != nil && t.cause == nil && m.read(c, t.reading) {
			close(t.reading.done)
			t.reading = nil
		}
	}
	if t.cause != nil {
		t.err = t.cause
	}
	return t.err
}

// attendance is the task's side of a mounted.
type mountTask struct {
	*mounted
	c       *Context
	current *taskCall
	reading *taskCall // waits for input
	ended   bool      // the handler has, or has hijacked
	cause   error
	err     error
}

func (t *mountTask) perform() {
	a := t.current
	if a.f == nil {
		t.reading, t.current = a, nil
		return
	}
	t.c.task.Outside(func() { a.err = a.f(t.c) }) // a Coder of the answer may be slow
	if a.last {
		t.ended, t.err = true, a.err
	}
	t.current = nil
	close(a.done)
}

// leave is the task's end: the handler's goroutine is let go.
func (t *mountTask) end() {
	m := t.mounted
	over := errMountOver
	if !t.ended {
		over = t.err
		m.cancel(t.err)
	}
	m.mu.Lock()
	m.over, m.parked = over, false
	calls := m.calls
	m.calls = nil
	m.mu.Unlock()
	for _, a := range append(calls, t.reading, t.current) {
		if a != nil {
			a.err = over
			close(a.done)
		}
	}
}

// next waits for something to ask for, or, if input is waited for, for that too: then it is nil. The error is the
// cause for which the request is cancelled.
func (m *mounted) next(c *Context, input bool) (*taskCall, error) {
	for {
		m.mu.Lock()
		if len(m.calls) > 0 {
			a := m.calls[0]
			m.calls = m.calls[1:]
			m.mu.Unlock()
			return a, nil
		}
		w := c.task.Prepare()
		m.waker, m.parked = w, true
		m.mu.Unlock()
		if input {
			c.expectInput(w)
		}
		err := c.task.Park()
		if input {
			if late := c.inputAwaited(nil); late != nil && err == nil {
				return nil, nil // the read's error
			}
		}
		m.mu.Lock()
		m.parked = false
		woken := len(m.calls) > 0
		m.mu.Unlock()
		if err != nil || input && !woken {
			return nil, err
		}
	}
}

// read does what can be done of a Read now, and tells whether that is all.
func (m *mounted) read(c *Context, a *taskCall) bool {
	n, err, ok := c.tryBody(a.p)
	a.n, a.err = n, err
	return ok
}
