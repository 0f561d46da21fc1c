// Requests of tasks on a loop that exists for one request only, under net/http and httptest. Such a loop has no
// poller, and a pool of its own would not be reused, so its requests use the shared pool.

package client

import (
	"context"

	"tafe/loop"
)

// doBriefly is Do for the task t of a loop that exists for the request with the context brief. Another goroutine runs
// the call while the task waits, unless the call runs code of the caller, which belongs in the task. ctx applies
// until the head of the response has been received.
func (c *Client) doBriefly(t *loop.Task, brief, ctx context.Context, req *Request, resp *Response, traceparent string) error {
	if err := t.Err(); err != nil {
		return &Error{Kind: KindCancelled, Stage: StagePrepare, Addr: req.Addr, Err: err}
	}
	both, cancel := context.WithCancelCause(brief) // also applies while the response body is read
	interrupt := func() { cancel(context.Cause(ctx)) }
	if ctx != nil {
		defer context.AfterFunc(ctx, interrupt)()
	}
	if req.Stream != nil || req.Interim != nil || c.options.Dial != nil {
		return c.do(nil, both, req, resp, traceparent)
	}
	defer t.Leave(t.Enter())
	done := make(chan error, 1)
	w := t.Prepare()
	go func() {
		done <- c.do(nil, both, req, resp, traceparent)
		w.Post()
	}()
	if err := t.Park(); err != nil {
		cancel(err) // the goroutine then returns soon
	}
	return <-done
}
