package client

// This file owns requests of tasks whose loop lives for one request only: under net/http, and in httptest. A pool of
// such a loop would never be used again, and its driver has no poller: connections are those of the shared pool.

import (
	"context"

	"tafe/loop"
)

// doBriefly is Do for the task t of such a loop, whose request has the context brief. Another goroutine does it while the task
// waits, unless it calls code of the caller's, which is the task's. ctx counts until the head of the answer is there.
func (c *Client) doBriefly(t *loop.Task, brief, ctx context.Context, req *Request, resp *Response, traceparent string) error {
	if err := t.Err(); err != nil {
		return &Error{Kind: KindCancelled, Stage: StagePrepare, Addr: req.Addr, Err: err}
	}
	both, cancel := context.WithCancelCause(brief) // the body of the answer is read under it, too
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
		cancel(err) // and then it ends soon
	}
	return <-done
}
