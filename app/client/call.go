// One request from the pool to the end of its response: its tries and its connection. send.go writes the request and
// receive.go reads the response.

package client

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"tafe/httpparse"
	"tafe/loop"
)

const (
	headBufferBytes = 4 << 10  // for a response head and a small body
	windowBytes     = 32 << 10 // for larger bodies
	inlineBodyMax   = 32 << 10 // a request body up to this size is sent with its head, in one write
	keepBufferMax   = 64 << 10 // larger buffers are not kept for reuse
	spareMax        = 256      // calls kept for reuse, per pool
)

// call is one request and its response. It belongs to the task or goroutine that called Do, except for the fields
// guarded by mu. It is reused.
type call struct {
	pool *pool
	host *host
	task *loop.Task // nil outside tasks
	conn *conn      // HTTP/1: nil before it is attached and after it is detached

	exchange exchange // the protocol

	// The request.
	out         []byte // head and small body, kept for another try
	headBytes   int    // HTTP/2: bytes of out that are the field section
	scratch     []byte // buffer for a target or a chunk
	method      string // "HEAD", or "GET" for any other method: determines the framing
	rest        []byte // a body that is too large for out
	stream      io.Reader
	streamLeft  int64
	streamed    bool   // bytes were read from stream
	upgrade     string // the protocols that a 101 may select
	closing     bool   // "Connection: close" was sent
	replayable  bool   // idempotent, and the body can be sent again
	timeout     time.Duration
	bodyTimeout time.Duration // between two reads of the response body
	retries     int
	onInterim   func(status int, fields []httpparse.Header)
	fresh       bool
	preface     []byte
	tries       int
	hedged      bool
	entered     loop.Crossing // state of the task in the current method, see usercode.go

	trailerFields func() []httpparse.Header // Request.Trailers, or nil

	// The try.
	deadline time.Time // zero means none
	begun    time.Time
	reused   bool // its connection had carried an earlier request
	partial  bool // the request was not written completely
	head     httpparse.Response
	in       []byte // received bytes: the head, and possibly a part of the body
	resume   int    // where the search for the end of the head resumes
	interim  int    // size of the interim heads so far
	gotHead  bool
	gotBytes bool

	// The body; see receive.go.
	body        httpparse.Body
	record      []byte // buffer for one TLS record
	undelivered []byte // the part of record that was not returned yet
	buf         []byte // in or window
	window      []byte
	r, d, w     int   // offsets in buf: decoded and unread from r, raw from d, free from w
	end         error // io.EOF or an error, returned after the bytes in buf

	// Set by the pool while x is in a wait queue.
	queued      bool
	granted     *conn
	slotGranted bool
	failed      error // of the dial for x

	mu            sync.Mutex
	gen           atomic.Uint64 // incremented when x is reused; events for an earlier use are ignored. Written under mu
	cause         error         // why x was interrupted
	cancelDial    func()
	interruptible *conn
	kept          bool // an interruption leaves the connection open
	broken        bool // an interruption has closed the connection
	waker         loop.Waker
	signal        chan struct{} // capacity 1: wakes a goroutine that is not a task
	unwatch       func() bool
	ctx           context.Context
}

func (x *call) options() *Options { return &x.pool.client.options }

func (p *pool) newCall(t *loop.Task) *call {
	p.lock()
	var x *call
	if n := len(p.spare); n > 0 {
		x = p.spare[n-1]
		p.spare[n-1] = nil
		p.spare = p.spare[:n-1]
	}
	p.unlock()
	if x == nil {
		x = &call{pool: p, in: make([]byte, headBufferBytes)}
		if p.loop == nil {
			x.signal = make(chan struct{}, 1)
		}
		x.exchange = x.newExchange()
	}
	x.task = t
	return x
}

// prepare validates the request and serializes it.
func (x *call) prepare(req *Request, traceparent string) error {
	x.pool.count.requests.Add(1)
	refuse := func(err error) error {
		addr := req.Addr
		if x.host != nil {
			addr = x.host.addr
		}
		return &Error{Kind: KindRequest, Stage: StagePrepare, Addr: addr, Err: err}
	}
	d, scratch, ok := req.destination(x.scratch)
	x.scratch = scratch
	if !ok {
		return refuse(ErrURL)
	}
	if req.Method == "CONNECT" {
		return refuse(ErrMethod)
	}
	if req.Stream != nil && len(req.Body) > 0 {
		return refuse(ErrBody)
	}
	length := req.bodyLength()
	err := x.exchange.prepare(req, d, length, traceparent)
	if err != nil {
		return refuse(err)
	}
	if x.host, err = x.pool.hostFor(d.key); err != nil {
		return refuse(err)
	}
	if len(req.Body) <= inlineBodyMax {
		x.out = append(x.out, req.Body...)
	} else {
		x.rest = req.Body
	}
	x.stream, x.streamLeft = req.Stream, length
	x.method = "GET"
	if req.Method == "HEAD" {
		x.method = "HEAD"
	}
	x.replayable = req.Stream == nil && (req.Idempotent || req.Method == "" || IdempotentMethod(req.Method))
	x.preface, x.upgrade, x.closing = req.Preface, req.Upgrade, req.Close || len(req.Preface) > 0
	x.timeout, x.retries, x.fresh, x.onInterim = req.Timeout, req.Retries, req.Fresh || len(req.Preface) > 0, req.Interim
	x.bodyTimeout = x.options().BodyTimeout
	return nil
}

// run sends the request until there is a response or no further try is allowed.
func (x *call) run() error {
	fresh := x.fresh
	for {
		x.tries++
		err := x.try(fresh)
		if err == nil {
			return nil
		}
		kind := kindOf(err)
		stale := kind == KindLost && x.reused
		x.exchange.abandon(err)
		switch {
		case !x.replayable || x.gotBytes:
			return err
		case stale && !fresh:
			x.pool.count.stale.Add(1)
			fresh = true // other idle connections are probably stale as well
		case x.retries > 0 && (kind == KindLost || kind == KindDial || kind == KindTimeout):
			x.retries--
			x.pool.count.retries.Add(1)
		default:
			return err
		}
	}
}

// try sends the request once and receives the response head.
func (x *call) try(fresh bool) error {
	now := time.Now()
	x.begun = now
	deadline := time.Time{}
	if x.timeout > 0 {
		deadline = now.Add(x.timeout)
	}
	x.restart(deadline)
	return x.exchange.start(fresh)
}

// restart resets the state of a try.
func (x *call) restart(deadline time.Time) {
	x.reused, x.partial, x.gotHead, x.gotBytes, x.interim, x.resume = false, false, false, false, 0, 0
	x.buf, x.r, x.d, x.w, x.end, x.undelivered = x.in, 0, 0, 0, nil, nil
	x.deadline = deadline
}

// earlier returns the earlier of t and the deadline of the try.
func (x *call) earlier(t time.Time) time.Time {
	if !x.deadline.IsZero() && x.deadline.Before(t) {
		return x.deadline
	}
	return t
}

// connect attaches a connection to x: an idle one without unexpected data, or a new one.
func (x *call) connect(fresh bool) (dialled bool, err error) {
	p := x.pool
	for {
		c, slot, err := p.acquire(x, fresh)
		if err != nil {
			kind := KindBusy
			if err == ErrClosed {
				kind = KindCancelled
			}
			return false, &Error{Kind: kind, Stage: StagePool, Addr: x.host.addr, Err: err}
		}
		for c == nil {
			if slot {
				if fresh || p.loop == nil {
					return true, x.dialInSlot()
				}
				if err := p.dialFor(x); err != nil {
					return false, err
				}
			}
			if c, slot, err = x.awaitConn(slot); err != nil {
				return true, err
			}
		}
		switch {
		case fresh:
			_ = c.Close()
			return true, x.dialInSlot()
		case c.hasStrayData():
			p.count.poisoned.Add(1)
			p.retire(c)
		case !x.attach(c):
			p.putIdle(c)
			return true, x.callError(StagePool, ErrClosed)
		default:
			if !c.pristine {
				p.count.reuses.Add(1)
			}
			x.reused, c.pristine = !c.pristine || c.wasIdle, false
			return true, nil
		}
	}
}

func (x *call) dialInSlot() error {
	done := false
	defer func() { // also when the task is unwound
		x.onInterrupt(nil)
		if !done && x.conn == nil {
			x.pool.freeSlot(x.host)
		}
	}()
	err := x.dial()
	done = err == nil
	return err
}

// awaitConn waits in the queue to which acquire or dialFor added x. dialling means that a dial for x is in progress; the
// wait then lasts at least as long as the dial may take.
func (x *call) awaitConn(dialling bool) (c *conn, slot bool, err error) {
	p, stage, limit := x.pool, StagePool, x.options().WaitTimeout
	if dialling {
		stage, limit = StageDial, max(limit, x.options().DialTimeout+time.Second) // the dial times out first
	} else {
		p.count.waits.Add(1)
	}
	now := time.Now()
	until := p.clock() + int64(x.earlier(now.Add(limit)).Sub(now))
	settled := false
	defer func() {
		if !settled { // the task is unwound
			x.leaveQueue()
		}
	}()
	for {
		late, err := x.sleep(until)
		p.lock()
		c, slot, failed := x.granted, x.slotGranted, x.failed
		p.unlock()
		switch {
		case err != nil:
			return nil, false, x.callError(stage, err)
		case failed != nil:
			settled = true
			return nil, false, x.callError(stage, failed)
		case c != nil || slot:
			settled = true
			return c, slot, nil
		case late:
			return nil, false, &Error{Kind: KindTimeout, Stage: stage, Addr: x.host.addr, Err: context.DeadlineExceeded}
		}
	}
}

// leaveQueue removes x from the queue, or returns what was granted to it meanwhile.
func (x *call) leaveQueue() {
	p := x.pool
	p.lock()
	if x.queued {
		p.unqueue(x)
	}
	c, slot := x.granted, x.slotGranted
	x.granted, x.slotGranted = nil, false
	p.unlock()
	switch {
	case c != nil:
		p.putIdle(c)
	case slot:
		if p.client.options.Protocol.Multiplexed() {
			x.host.promised--
		}
		p.freeSlot(x.host)
	}
}

// closeConn closes the connection, if there is one.
func (x *call) closeConn() {
	if x.conn != nil {
		c, _ := x.detach()
		x.pool.retire(c)
	}
}

// releaseConn returns the connection to the pool after a complete response. clean
// means that no byte follows the response.
func (x *call) releaseConn(clean bool) {
	c, intact := x.detach()
	if !clean || !intact || len(x.undelivered) > 0 || x.partial || x.closing || !x.head.KeepAlive || !c.inspectable() {
		x.pool.retire(c)
		return
	}
	x.pool.putIdle(c)
}

// recycle ends this use of x and keeps it for the next one.
func (x *call) recycle() {
	if x.unwatch != nil {
		x.unwatch()
	}
	x.exchange.release()
	x.mu.Lock()
	x.gen.Add(1)
	x.cause, x.cancelDial, x.unwatch, x.ctx, x.waker = nil, nil, nil, nil, loop.Waker{}
	x.kept, x.broken = false, false
	x.mu.Unlock()
	p := x.pool
	h := x.host
	x.host, x.task, x.rest, x.stream, x.onInterim, x.tries, x.hedged, x.entered, x.upgrade, x.preface = nil, nil, nil, nil, nil, 0, false, false, "", nil
	x.trailerFields = nil
	x.head.Reset()
	if len(x.in) > keepBufferMax {
		x.in = make([]byte, headBufferBytes)
	}
	if cap(x.out) > keepBufferMax {
		x.out = nil
	}
	x.buf = nil
	p.lock()
	defer p.unlock()
	if h != nil {
		h.users--
	}
	if len(p.spare) < spareMax {
		p.spare = append(p.spare, x)
	}
}

// callError returns an *Error for err in stage.
func (x *call) callError(stage Stage, err error) error {
	if f, ok := err.(*Error); ok {
		return f
	}
	x.mu.Lock()
	cause := x.cause
	x.mu.Unlock()
	if cause == nil && x.task != nil {
		cause = x.task.Err()
	}
	f := &Error{Kind: KindLost, Stage: stage, Addr: x.host.addr, Reused: x.reused, Answered: x.gotBytes, Err: err}
	switch err.(type) {
	case *httpparse.Error:
		f.Kind = KindProtocol
	default:
		if isTimeout(err) {
			f.Kind = KindTimeout
		}
	}
	if cause != nil {
		f.Kind, f.Err = KindCancelled, cause
	}
	return f
}
