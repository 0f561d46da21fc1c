package client

// This file owns hedging: when the response to a request is later than most
// are, the same request is sent on a second connection, and the first answer
// wins. A budget keeps a slow host from getting twice the load. It refuses to
// know how a request is sent.

import (
	"context"
	"sync"
	"time"

	"tafe/loop"
)

// Hedge says when a request that allows it is sent a second time. Zero fields
// take the defaults.
type Hedge struct {
	// Quantile of the host's latest latencies (to the response head, per loop)
	// after which the second request starts; default 0.95.
	Quantile float64
	// BudgetPercent bounds second requests to this share of those that allow
	// hedging, per loop, with bursts of ten; default 5.
	BudgetPercent float64
	DelayMin      time.Duration // never start earlier than this; default 1 ms
	SamplesMin    int           // latencies to be known before the first hedge; default 50
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

// race is a request that may be sent twice. It outlives the caller when the
// second try is still on its way: nothing in it is the caller's.
type race struct {
	pool   *pool
	timer  loop.Timer
	shared *time.Timer // instead, where there is no loop

	mu     sync.Mutex
	first  *exchange
	gen    uint64 // of first
	second *exchange
	ended  bool // second failed, or was not needed
	won    bool // second has a response
	over   bool // the caller has gone on
}

// credit books a request that allows hedging; it returns after which time to
// hedge it, ok false if that is not known yet.
func (p *pool) credit(h *host) (delay time.Duration, ok bool) {
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

// observe records how long a try took to its response head, where anybody
// wants to know.
func (x *exchange) observe() {
	h := x.host
	x.pool.lock()
	defer x.pool.unlock()
	if h.latency != nil {
		h.latency.add(time.Since(x.begun))
	}
}

// runHedged is run with a second exchange in reserve; it returns the one that
// has the response.
func (x *exchange) runHedged() (*exchange, error) {
	delay, ok := x.pool.credit(x.host)
	if !ok || x.rest != nil || x.upgrade != "" {
		return x, x.run()
	}
	r := &race{pool: x.pool, first: x, gen: x.gen.Load()}
	if l := x.pool.loop; l != nil {
		r.timer.Owner = r
		l.AfterFunc(&r.timer, delay, func(t *loop.Timer) { t.Owner.(*race).start() })
	} else {
		r.shared = time.AfterFunc(delay, r.start)
	}
	defer func() { // the task is unwound
		if r.leave() {
			r.second.discard()
		}
	}()
	err := x.run()
	r.disarm()
	if err != nil && r.await() || r.leave() {
		x.observe() // it would have taken longer than this
		return r.second, nil
	}
	return x, err
}

func (r *race) disarm() {
	if r.shared != nil {
		r.shared.Stop()
	} else {
		r.pool.loop.StopTimer(&r.timer)
	}
}

// start sends the second request, if it is still wanted and within the budget.
func (r *race) start() {
	second := r.enter()
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

func (r *race) enter() *exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pool
	if r.over || !p.allowHedge(r.first) {
		return nil
	}
	p.count.hedges.Add(1)
	x := p.newExchange(nil)
	x.copyRequest(r.first)
	r.second = x
	return x
}

// allowHedge spends from the budget. A request that waits for a connection is
// not hedged: that would only lengthen the queue.
func (p *pool) allowHedge(x *exchange) bool {
	p.lock()
	defer p.unlock()
	if x.queued || p.hedgeTokens < 1 || p.client.closed.Load() {
		return false
	}
	p.hedgeTokens--
	x.host.users++
	return true
}

// copyRequest makes x send what from sends, from bytes of its own.
func (x *exchange) copyRequest(from *exchange) {
	x.host = from.host
	x.out = append(x.out[:0], from.out...)
	x.method, x.timeout, x.closing = from.method, from.timeout, from.closing
	x.replayable, x.upgrade, x.fresh, x.retries = true, "", false, 0
	x.hedged = true
}

// hedgeName is what a watchdog calls the task of a second request.
var hedgeName = "client: hedged request"

// Run is the second request's task.
func (r *race) Run(t *loop.Task) {
	t.Observe().Describe(&hedgeName, nil, nil, nil, nil, nil)
	r.second.task, r.second.entered = t, true
	err := r.second.run()
	r.second.task = nil
	r.finish(err)
}

// Done ends what Run could not.
func (r *race) Done(_ *loop.Task, err error) {
	if err != nil {
		r.finish(err)
	}
}

// finish tells the caller how the second request went, or cleans up if it has
// gone on.
func (r *race) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended || r.won:
	case r.over || err != nil:
		r.ended = true
		r.second.discard()
		if !r.over {
			r.first.wake(true)
		}
	default:
		r.won = true
		r.pool.count.hedgeWins.Add(1)
		r.first.interrupt(r.gen, errOutrun)
	}
}

// await waits for the second request after the first has failed; true: it has
// won.
func (r *race) await() bool {
	for {
		r.mu.Lock()
		settled := r.second == nil || r.ended || r.won
		won := r.won
		r.over = r.over || won
		r.mu.Unlock()
		if settled {
			return won
		}
		// The second has time bounds of its own; this one only bounds a sleep.
		if _, err := r.first.sleep(r.pool.clock() + int64(time.Minute)); err != nil {
			return false
		}
	}
}

// leave ends the race for the caller. true: the second has won before that, and
// is the caller's. A second that is late or not needed cleans up after itself.
func (r *race) leave() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	r.over = true
	r.disarm()
	switch {
	case r.second == nil || r.ended:
	case r.won:
		return true
	default:
		r.second.interrupt(r.second.gen.Load(), errOutrun)
	}
	return false
}

// handOver makes answer the caller's instead of x.
func (x *exchange) handOver(answer *exchange) {
	answer.task = x.task
	answer.tries += x.tries
	if ctx := x.ctx; ctx != nil && answer.follow(ctx) != nil {
		answer.interrupt(answer.gen.Load(), context.Cause(ctx))
	}
}
