// The exchange of HTTP/2, in a task: one stream of a connection that other calls use, too. http2send.go sends the request, and http2head.go
// has the heads. Events of the stream come on the loop, outside of the task; they store what has arrived, and wake it.

package client

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"tafe/app/internal/http2"
	"tafe/httpparse"
)

const (
	unprocessedMax = 6 // how often a request is sent again at once that a server has not processed
	fruitlessMax   = 6 // host.fruitless at which the server is taken to accept connections and no requests
)

// http2Exchange is the stream of a call, and its http2.StreamHandler.
type http2Exchange struct {
	x      *call
	conn   *conn // nil: none is used
	stream *http2.Stream
	opened int64 // when it was, on the loop clock

	// The request.
	source     Source
	sourceBuf  []byte
	sending    bool  // the body is not complete
	progressAt int64 // when a part of it was sent last, on the pool's clock
	sendErr    error // of the body's reader

	// The response.
	gotHead  bool
	length   int64 // of the body that is still to be read; -1: unknown
	interims []interimHead
	fields   []httpparse.Header // trailers
	broken   error              // the stream has ended early
	waiting  bool               // the task waits for an event
}

// interimHead is a 1xx response for Request.Interim.
type interimHead struct {
	status int
	fields []httpparse.Header
}

func (h *http2Exchange) copyRequest(exchange) {}

func (h *http2Exchange) start(bool) error {
	x := h.x
	again := 0
	for {
		c, err := x.connectMux()
		if err != nil {
			return err
		}
		if h.stream, err = c.mux.conn.Open(h); err == http2.ErrStreamsMax { // the server allows fewer since c was granted
			x.pool.releaseMux(c)
			continue
		}
		x.reused = c.served()
		if x.reused {
			x.pool.count.reuses.Add(1)
		}
		h.conn = c
		if err == nil {
			err = h.once()
		} else {
			err = h.failure(StageWrite, http2.ErrNotProcessed)
		}
		var f *Error
		if err == nil || again >= unprocessedMax || !errors.As(err, &f) || !f.Unprocessed {
			return err
		}
		again++
		h.release()
		x.restart(x.deadline)
	}
}

// once sends the request on the new stream and receives the head of the response.
func (h *http2Exchange) once() error {
	x := h.x
	h.gotHead, h.length, h.broken, h.sendErr, h.fields = false, -1, nil, nil, nil
	h.source, _ = x.stream.(Source)
	h.opened = x.pool.now()
	h.sendHead()
	if x.stream != nil && h.source == nil {
		if err := h.sendStream(); err != nil {
			x.partial = true
			return err
		}
	}
	if err := h.receiveHead(); err != nil {
		return err
	}
	x.host.fruitless = 0
	x.recordLatency()
	h.keepRest()
	if x.head.Upgrade {
		x.end = io.EOF
		return nil
	}
	h.settle()
	return nil
}

// receiveHead waits for the head of the final response.
func (h *http2Exchange) receiveHead() error {
	x := h.x
	for {
		for len(h.interims) > 0 {
			i := h.interims[0]
			h.interims = h.interims[1:]
			x.callInterim(i.status, i.fields)
		}
		switch {
		case h.gotHead:
			return nil
		case h.sendErr != nil:
			return h.failure(StageWrite, h.sendErr)
		case h.broken != nil:
			return h.failure(StageHead, h.broken)
		}
		// While the body is being sent, the server may wait for the rest of it.
		if err := h.await(StageHead, x.options().HeadTimeout, &h.progressAt); err != nil {
			return err
		}
	}
}

// await waits for an event of the stream, until timeout after *since on the pool's clock.
func (h *http2Exchange) await(stage Stage, timeout time.Duration, since *int64) error {
	x := h.x
	until := *since + int64(timeout)
	if !x.deadline.IsZero() {
		until = min(until, x.pool.clock()+int64(time.Until(x.deadline)))
	}
	h.waiting = true
	late, err := x.sleep(until)
	h.waiting = false
	switch {
	case err != nil:
		return x.callError(stage, err)
	case late && (x.deadline.IsZero() || time.Now().Before(x.deadline)) && *since+int64(timeout) > x.pool.clock():
		return nil // there was progress meanwhile
	case late:
		return &Error{Kind: KindTimeout, Stage: stage, Addr: x.host.addr, Reused: x.reused, Answered: x.gotBytes, Err: context.DeadlineExceeded}
	}
	return nil
}

// wake wakes the task if it waits for an event.
func (h *http2Exchange) wake() {
	if h.waiting {
		h.x.wake(true)
	}
}

// failure returns the error of the call for an error of the stream.
func (h *http2Exchange) failure(stage Stage, err error) error {
	x := h.x
	var short *bodyError
	if errors.As(err, &short) {
		return &Error{Kind: KindRequest, Stage: StageWrite, Addr: x.host.addr, Err: short.error}
	}
	f := x.callError(stage, err).(*Error)
	var fault *http2.Error
	switch {
	case f.Kind == KindCancelled:
	case errors.Is(err, http2.ErrNotProcessed):
		f.Unprocessed = !x.streamed
	case errors.As(err, &fault) && fault.Timeout():
		f.Kind = KindTimeout
	case errors.As(err, &fault):
		f.Kind = KindProtocol
	}
	return f
}

// settle ends the body if all of it has arrived and was read.
func (h *http2Exchange) settle() {
	x, s := h.x, h.stream
	if x.end != nil || len(s.Input()) > 0 {
		return
	}
	switch {
	case s.InputEnded():
		x.end = io.EOF
		if !h.sending {
			h.release()
		}
	case h.sendErr != nil:
		h.fail(h.failure(StageWrite, h.sendErr))
	case h.broken != nil:
		h.fail(h.failure(StageBody, h.broken))
	}
}

// fail ends the body with err.
func (h *http2Exchange) fail(err error) {
	h.x.end = err
	h.release()
}

func (h *http2Exchange) direct(n int) bool { return n >= directBytesMin }

// receive waits for input and copies it to p.
func (h *http2Exchange) receive(p []byte) int {
	x := h.x
	now := x.pool.clock()
	for x.end == nil {
		if n := copy(p, h.stream.Input()); n > 0 {
			h.stream.Consume(n)
			if h.length >= 0 {
				h.length -= int64(n)
			}
			h.settle()
			return n
		}
		if h.settle(); x.end != nil || len(h.stream.Input()) > 0 {
			break // p is empty, or the end has been found
		}
		if err := h.await(StageBody, x.bodyTimeout, &now); err != nil {
			h.fail(err)
		}
	}
	return 0
}

func (h *http2Exchange) fill() {
	x := h.x
	if x.window == nil {
		x.window = make([]byte, windowBytes)
	}
	x.buf, x.r = x.window, 0
	x.w = h.receive(x.window)
	x.d = x.w
}

func (h *http2Exchange) left() int64                  { return h.length }
func (h *http2Exchange) trailers() []httpparse.Header { return h.fields }

// abandon implements exchange. A connection on which nothing has arrived since the stream was opened, not even for other calls, may be
// dead.
func (h *http2Exchange) abandon(reason error) {
	x := h.x
	if c := h.conn; c != nil && h.stream != nil && kindOf(reason) == KindTimeout && c.mux.conn.Heard() < h.opened {
		c.mux.conn.Probe(x.options().DialTimeout)
	}
	h.release()
}

func (h *http2Exchange) release() (complete bool) {
	x, s := h.x, h.stream
	complete = h.conn == nil
	if s != nil {
		if h.source != nil {
			h.source.Forget()
		}
		complete = s.InputEnded() && len(s.Input()) == 0 && !h.sending
		if !complete {
			s.Cancel()
		}
		s.Release()
		h.stream = nil
	}
	if c := h.conn; c != nil {
		h.conn = nil
		x.pool.releaseMux(c)
	}
	h.sending, h.interims = false, nil
	return complete
}

// served reports whether c has carried a request, and records that it does.
func (c *conn) served() bool {
	before := !c.pristine
	c.pristine = false
	return before
}

// Section implements http2.StreamHandler: a response head, or trailers.
func (h *http2Exchange) Section(s *http2.Stream, head http2.Section) {
	x := h.x
	x.gotBytes = true
	switch err := h.takeSection(s, head); {
	case err == nil:
	case err == errMalformed:
		h.broken = http2.ErrMalformed
		s.Refuse(http2.ErrMalformed)
	default:
		h.broken = err
		s.Cancel()
	}
	h.wake()
}

// Arrived implements http2.StreamHandler.
func (h *http2Exchange) Arrived(*http2.Stream) { h.wake() }

// Room implements http2.StreamHandler.
func (h *http2Exchange) Room(*http2.Stream) {
	h.pump()
	h.wake()
}

// TimedOut implements http2.StreamHandler. No timeout is set.
func (h *http2Exchange) TimedOut(*http2.Stream) {}

// Broken implements http2.StreamHandler. After a complete response, it only means that the rest of the request is not wanted (RFC 9113
// section 8.1).
func (h *http2Exchange) Broken(_ *http2.Stream, err error) {
	h.broken, h.sending = err, false
	if h.source != nil {
		h.source.Forget()
	}
	h.wake()
}

func (h *http2Exchange) switched() (net.Conn, error) { return nil, ErrNoUpgrade }
