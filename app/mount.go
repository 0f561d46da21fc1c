// http.Handlers under a route. The handler runs on a goroutine of its own, and calls the task of the request for everything that needs the
// loop. mountrequest.go has its request, mountwriter.go its response.

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

// errMountOver is the error of calls by a mounted handler after its request has ended.
var errMountOver = errors.New("app: the request of the mounted handler is over")

// Mount returns a Handler that runs an http.Handler on a goroutine of its own, so that it may block. At most Options.MountMax run at once.
// Requests and responses are streamed between the goroutine and the loop; each transfer costs tens of microseconds (BenchmarkMount).
//
// The http.Request has the path parameters as PathValue, and a context that ends with the request. Its URL is that of net/http, except that
// URL.Path is Context.Path: without dot segments, and with %2F for escaped slashes, so that a file server cannot be used to bypass other
// routes. URL.EscapedPath then has %252F. A handler that passes escaped slashes on, such as httputil.ReverseProxy, has to take the path
// from RequestURI, which is the request target as received.
//
// The http.ResponseWriter implements Flush, ReadFrom (with sendfile for large files), Hijack and EnableFullDuplex. Its headers include those
// that middlewares have set. Read and write deadlines, trailers and http.Pusher are not supported.
//
// When the request is cancelled, the response does not wait for the handler. The handler's context ends, and its reads and writes fail. It
// counts towards MountMax until it returns or has called Hijack. A panic answers 500; with http.ErrAbortHandler it resets the connection.
func Mount(h http.Handler) Handler {
	server := &http.Server{Handler: h} // for http.ServerContextKey; handlers that panic with ErrAbortHandler look for it
	return func(c *Context) error { return mount(c, h, server, nil) }
}

// mount runs h for the request of c. prepare, if not nil, may change the http.Request.
func mount(c *Context, h http.Handler, server *http.Server, prepare func(*mounted, *http.Request) *http.Request) error {
	slots := c.app.mounts
	if err := slots.Acquire(c.task); err != nil {
		if errors.Is(err, loop.ErrQueueFull) {
			return errMountFull
		}
		return err
	}
	m := &mounted{loop: c.state.loop, log: c.app.options.Log, bodyMax: c.bodyMax, release: sync.OnceFunc(slots.Release)}
	m.task = &mountTask{mounted: m, c: c, err: loop.ErrShutdown}
	r, err := m.request(c, server)
	if err != nil {
		m.release()
		return err
	}
	if prepare != nil {
		r = prepare(m, r)
	}
	w := newMountWriter(m, c, r)
	go m.serve(h, w, r)
	return m.runCalls(c)
}

// taskCall is a call by the handler's goroutine that the task makes: of f, or a read of the body into p.
type taskCall struct {
	f    func(c *Context) error
	last bool // the last call; its error is the result of the handler

	p []byte
	n int

	err  error
	done chan struct{}
}

// mounted is a request of an http.Handler. The goroutine and the task share the fields below mu; the others belong to the goroutine.
type mounted struct {
	loop    *loop.Loop
	log     logger
	cancel  context.CancelCauseFunc
	release func() // releases the slot of MountMax, once
	task    *mountTask
	bodyMax int64 // of the route

	mu     sync.Mutex
	calls  []*taskCall
	waker  loop.Waker // wakes the task
	parked bool       // waker is valid
	over   error      // not nil: the task has ended
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

// call runs f in the task and returns its error.
func (m *mounted) call(f func(c *Context) error) error { return m.submit(&taskCall{f: f}) }

// submit passes a to the task and waits until it is done. For any goroutine except the loop's.
func (m *mounted) submit(a *taskCall) error {
	if err := m.post(a); err != nil {
		return err
	}
	<-a.done
	return a.err
}

// post passes a to the task.
func (m *mounted) post(a *taskCall) error {
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
		time.Sleep(time.Millisecond) // the queue of posts is full
	}
	return nil
}

func (m *mounted) serving() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.over == nil
}

// runCalls makes the calls of the handler until it has ended or the request is cancelled. It runs in the task.
func (m *mounted) runCalls(c *Context) error {
	defer c.task.Leave(c.task.Enter())
	t := m.task
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

// mountTask is the task's side of mounted.
type mountTask struct {
	*mounted
	c       *Context
	current *taskCall
	reading *taskCall // a read that waits for input
	ended   bool      // the handler has ended or hijacked the connection
	cause   error
	err     error
}

// perform makes the current call; a read is left to runCalls.
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

// end completes all calls when the task ends.
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

// next waits for the next call. If input is set it also waits for input of the body, and returns nil when that arrives. The error is the
// cause of the request's cancellation.
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

// read reads from the body without waiting, and reports whether the call is done.
func (m *mounted) read(c *Context, a *taskCall) bool {
	n, err, ok := c.tryBody(a.p)
	a.n, a.err = n, err
	return ok
}
