// Hedging: a request whose response is late is sent a second time on another connection, and the first response is
// used. A budget bounds the additional load.

package client

import (
	"bytes"
	"context"
	"sync"
	"time"

	"tafe/loop"
)

// Hedge configures when a request is sent a second time. Zero fields mean the defaults.
type Hedge struct {
	// Quantile of the host's recent latencies, per loop, after which the second request is sent. The latency is the
	// time to the response head. The quantile is at most 25% too long. Default 0.95.
	Quantile float64
	// BudgetPercent bounds second requests, per loop, as a share of the requests that allow hedging, with bursts of
	// ten. Default 5.
	BudgetPercent float64
	DelayMin      time.Duration // minimum delay of the second request; default 1 ms
	SamplesMin    int           // latencies required before the first hedge; default 50
}

func (h Hedge) withDefaults() Hedge {
	if h.Quantile <= 0 || h.Quantile >= 1 {
		h.Quantile = 0.95
	}
	if h.BudgetPercent <= 0 {
		h.BudgetPercent = 5
	}
	if h.DelayMin <= 0 {
		h.DelayMin = time.Millisecond
	}
	if h.SamplesMin <= 0 {
		h.SamplesMin = 50
	}
	return h
}

const hedgeBurst = 10

// hedgedCall is a request that may be sent twice. It outlives the caller's method while the second request is in flight, so
// it holds no memory of the caller.
type hedgedCall struct {
	pool   *pool
	timer  loop.Timer
	shared *time.Timer // used instead of timer without a loop

	mu     sync.Mutex
	first  *call
	gen    uint64 // generation of first
	second *call
	ended  bool // second has failed or was not needed
	won    bool // second has a response
	over   bool // the caller has continued
}

// hedgeDelay counts a request that allows hedging, and returns the delay of its second request. ok is false if too
// few latencies are known.
func (p *pool) hedgeDelay(h *host) (delay time.Duration, ok bool) {
	o := &p.client.options.Hedge
	p.lock()
	defer p.unlock()
	p.hedgeTokens = min(p.hedgeTokens+o.BudgetPercent/100, hedgeBurst)
	if h.latency == nil {
		h.latency = new(latency)
	}
	if h.latency.samples < o.SamplesMin {
		return 0, false
	}
	return max(h.latency.quantile(o.Quantile), o.DelayMin), true
}

// recordLatency records the time to the response head if the host's latency is being measured.
func (x *call) recordLatency() {
	h := x.host
	x.pool.lock()
	defer x.pool.unlock()
	if h.latency != nil {
		h.latency.add(time.Since(x.begun))
	}
}

// runHedged is run with hedging. It returns the call that has the response.
func (x *call) runHedged() (*call, error) {
	delay, ok := x.pool.hedgeDelay(x.host)
	if !ok || x.rest != nil || x.upgrade != "" {
		return x, x.run()
	}
	r := &hedgedCall{pool: x.pool, first: x, gen: x.gen.Load()}
	if l := x.pool.loop; l != nil {
		r.timer.Owner = r
		l.AfterFunc(&r.timer, delay, func(t *loop.Timer) { t.Owner.(*hedgedCall).start() })
	} else {
		r.shared = time.AfterFunc(delay, r.start)
	}
	defer func() { // when the task is unwound
		if r.end() {
			r.second.recycle()
		}
	}()
	err := x.run()
	r.stopTimer()
	if err != nil && r.awaitSecond() || r.end() {
		x.recordLatency() // a lower bound of its latency
		return r.second, nil
	}
	return x, err
}

func (r *hedgedCall) stopTimer() {
	if r.shared != nil {
		r.shared.Stop()
	} else {
		r.pool.loop.StopTimer(&r.timer)
	}
}

// start sends the second request if it is still needed and within the budget.
func (r *hedgedCall) start() {
	second := r.newSecond()
	if second == nil {
		return
	}
	if r.pool.loop == nil {
		r.finish(second.run())
		return
	}
	if _, err := r.pool.loop.Start(r); err != nil {
		r.finish(err)
	}
}

func (r *hedgedCall) newSecond() *call {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pool
	if r.over || !p.allowHedge(r.first) {
		return nil
	}
	p.count.hedges.Add(1)
	x := p.newCall(nil)
	x.copyRequest(r.first)
	r.second = x
	return x
}

// allowHedge takes one request from the budget. A request that waits for a connection is not hedged, because that
// would lengthen the queue.
func (p *pool) allowHedge(x *call) bool {
	p.lock()
	defer p.unlock()
	if x.queued || p.hedgeTokens < 1 || p.client.closed.Load() {
		return false
	}
	p.hedgeTokens--
	x.host.users++
	return true
}

// copyRequest makes x send the same request as from. The bytes are copied.
func (x *call) copyRequest(from *call) {
	x.host = from.host
	x.out = append(x.out[:0], from.out...)
	x.method, x.timeout, x.closing = from.method, from.timeout, from.closing
	x.headBytes = from.headBytes
	x.exchange.copyRequest(from.exchange)
	x.preface, x.bodyTimeout = bytes.Clone(from.preface), from.bodyTimeout
	x.replayable, x.upgrade, x.fresh, x.retries = true, "", len(from.preface) > 0, 0
	x.hedged = true
}

// hedgeName is the name of the second request's task in reports of the watchdog.
var hedgeName = "client: hedged request"

// Run implements loop.Runner: it sends the second request.
func (r *hedgedCall) Run(t *loop.Task) {
	t.Describe(&hedgeName, nil, nil, nil, nil, nil)
	r.second.task, r.second.entered = t, true
	err := r.second.run()
	r.second.task = nil
	r.finish(err)
}

// Done implements loop.Runner. It reports a task that could not run.
func (r *hedgedCall) Done(_ *loop.Task, err error) {
	if err != nil {
		r.finish(err)
	}
}

// finish reports the result of the second request to the first, or discards it if the caller has continued.
func (r *hedgedCall) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended || r.won:
	case r.over || err != nil:
		r.ended = true
		r.second.recycle()
		if !r.over {
			r.first.wake(true)
		}
	default:
		r.won = true
		r.pool.count.hedgeWins.Add(1)
		r.first.interrupt(r.gen, errHedgeLost)
	}
}

// awaitSecond waits for the second request after the first has failed. It reports whether the second has a response.
func (r *hedgedCall) awaitSecond() bool {
	for {
		r.mu.Lock()
		settled := r.second == nil || r.ended || r.won
		won := r.won
		r.over = r.over || won
		r.mu.Unlock()
		if settled {
			return won
		}
		// The second request has its own time bounds. This bound is only required by sleep.
		if _, err := r.first.sleep(r.pool.clock() + int64(time.Minute)); err != nil {
			return false
		}
	}
}

// end ends hedging for the caller. It reports whether the second request has a response, which then belongs to the caller.
// Otherwise the second request, if it is in flight, is interrupted and recycles itself.
func (r *hedgedCall) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	r.over = true
	r.stopTimer()
	switch {
	case r.second == nil || r.ended:
	case r.won:
		return true
	default:
		r.second.interrupt(r.second.gen.Load(), errHedgeLost)
	}
	return false
}

// adopt moves answer, the call of the second request, to the task and the context of x.
func (x *call) adopt(answer *call) {
	answer.task = x.task
	answer.tries += x.tries
	if ctx := x.ctx; ctx != nil && answer.watchContext(ctx) != nil {
		answer.interrupt(answer.gen.Load(), context.Cause(ctx))
	}
}
