package client

// Slow user code does not hold the loop: the loop is handed off.

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// readFunc is a reader of one function.
type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type writeFunc func(p []byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

type tracerFunc func() (end func(int, error))

func (f tracerFunc) Begin(*loop.Task, context.Context, *Request) (string, func(int, error)) {
	return "", f()
}

// User code blocks until another task of the same loop has run.
func TestCallersCodeDoesNotHoldTheLoop(t *testing.T) {
	e := loops(t, 1)
	l := e.Loops()[0]
	var dialer reactor.Dialer
	dialer.Bind(e)
	site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte("got "), body...))
	}))
	site.Config.Protocols = new(http.Protocols)
	site.Config.Protocols.SetHTTP1(true)
	site.Config.Protocols.SetUnencryptedHTTP2(true)
	site.Start()
	t.Cleanup(site.Close)
	for _, tt := range []struct {
		why string
		set func(block func(), o *Options, req *Request, out *io.Writer)
	}{
		{"a body reader", func(block func(), _ *Options, req *Request, _ *io.Writer) {
			body := strings.NewReader("abc")
			req.Method, req.StreamLength = "POST", -1
			req.Stream = readFunc(func(p []byte) (int, error) { block(); return body.Read(p) })
		}},
		{"trailers", func(block func(), _ *Options, req *Request, _ *io.Writer) {
			req.Method, req.StreamLength, req.Stream = "POST", -1, strings.NewReader("abc")
			req.Trailers = func() []httpparse.Header { block(); return fields("X-Sum", "done") }
		}},
		{"a body writer", func(block func(), _ *Options, _ *Request, out *io.Writer) {
			*out = writeFunc(func(p []byte) (int, error) { block(); return len(p), nil })
		}},
		{"an interim callback", func(block func(), _ *Options, req *Request, _ *io.Writer) {
			req.Interim = func(int, []httpparse.Header) { block() }
		}},
		{"the begin of a trace", func(block func(), o *Options, _ *Request, _ *io.Writer) {
			o.Tracer = tracerFunc(func() func(int, error) { block(); return nil })
		}},
		{"the end of a trace", func(block func(), o *Options, _ *Request, _ *io.Writer) {
			o.Tracer = tracerFunc(func() func(int, error) { return func(int, error) { block() } })
		}},
		{"a dial", func(block func(), o *Options, _ *Request, _ *io.Writer) {
			o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				block()
				return dialer.DialContext(ctx, network, addr)
			}
		}},
		{"a dial of a fresh connection", func(block func(), o *Options, req *Request, _ *io.Writer) {
			req.Fresh = true
			o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				block()
				return dialer.DialContext(ctx, network, addr)
			}
		}},
	} {
		for _, protocol := range []Protocol{HTTP1, H2C} {
			t.Run(tt.why+"/"+string(protocol), func(t *testing.T) {
				begun, release := make(chan bool, 100), make(chan bool)
				out := io.Discard
				o, req := Options{Protocol: protocol}, Request{URL: site.URL}
				tt.set(func() { begun <- true; <-release }, &o, &req, &out)
				c := newClient(t, o)
				asking := start(t, l, func(task *loop.Task) {
					var resp Response
					if assert.NoError(t, c.Do(task, nil, &req, &resp)) {
						n, err := resp.WriteTo(out)
						assert.NoError(t, err)
						assert.Positive(t, n)
					}
					resp.Close()
				})
				<-begun
				start(t, l, func(*loop.Task) { close(release) }).wait(t)
				asking.wait(t)
				assert.Equal(t, 1, c.Stats().Open)
				assert.Equal(t, 1, c.Stats().Idle)
			})
		}
	}
}

// A caller that is inside, such as a Runner, keeps its loop.
func TestCallerInsideStaysInside(t *testing.T) {
	e := loops(t, 1)
	p := plain(t, hello)
	c := newClient(t, Options{})
	done := make(chan error, 1)
	l := e.Loops()[0]
	l.Post(func() {
		_, _ = l.Start(insideJob{func(task *loop.Task) {
			var resp Response
			body := strings.NewReader("abc")
			stays := func() { assert.False(t, bool(task.Enter()), "it is inside already") }
			assert.NoError(t, c.Do(task, nil, &Request{URL: p.url("/"), Method: "POST", StreamLength: 3,
				Stream: readFunc(func(p []byte) (int, error) { stays(); return body.Read(p) })}, &resp))
			_, err := resp.WriteTo(writeFunc(func(p []byte) (int, error) { stays(); return len(p), nil }))
			assert.NoError(t, err)
			resp.Close()
		}, done})
	})
	assert.NoError(t, <-done)
}

// insideJob is a task whose code does not leave its loop.
type insideJob struct {
	code func(*loop.Task)
	done chan error
}

func (j insideJob) Run(t *loop.Task)             { j.code(t) }
func (j insideJob) Done(_ *loop.Task, err error) { j.done <- err }

// A panic in user code leaks nothing.
func TestCallersCodePanics(t *testing.T) {
	e := loops(t, 1)
	p := plain(t, hello)
	c := newClient(t, Options{})
	j := start(t, e.Loops()[0], func(task *loop.Task) {
		var resp Response
		_ = c.Do(task, nil, &Request{URL: p.url("/"), Method: "POST", StreamLength: 3,
			Stream: readFunc(func([]byte) (int, error) { panic("boom") })}, &resp)
	})
	assert.ErrorContains(t, <-j.done, "boom")
	eventually(t, "it is closed", func() bool { return c.Stats().Open == 0 })
}
