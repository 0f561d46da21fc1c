// Certificates for names that only a handshake has named. A server of the operator says which of them are wanted.

package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"tafe/loop"
)

// OnDemand allows certificates for names that are not in Options.Names.
type OnDemand struct {
	// Ask is the URL that is asked about a name, with the query parameter domain. A status of 2xx allows it, one of 4xx refuses it.
	Ask string
	// RefusedFor is how long a refusal is remembered; default 10 min.
	RefusedFor time.Duration
	// OrdersPerHourMax bounds new orders; default 60.
	OrdersPerHourMax int
	// NamesMax bounds the names with a certificate in memory; default 10,000. The one that was not used for the longest time makes room.
	NamesMax int
}

const (
	refusedFor       = 10 * time.Minute
	ordersPerHourMax = 60
	namesMax         = 10_000
	pendingMax       = 256 // names at once that a handshake waits for
	askMax           = 5 * time.Second
	asksAtOnce       = 8
	unanswered       = 10 * time.Second    // until the Ask server is tried again
	limited          = time.Minute         // until a name is tried again after OrdersPerHourMax
	unusedMax        = 30 * 24 * time.Hour // after this, a name is not renewed
)

// demand is the state of OnDemand.
type demand struct {
	m       *Manager
	options OnDemand
	client  *http.Client
	asks    chan struct{} // one element for each question in progress
	running sync.WaitGroup

	mu      sync.Mutex // held for moments: tasks of loops lock it
	closed  bool
	pending map[string]*order
	refused map[string]time.Time // until when
	ordered []time.Time          // within the last hour
}

// order is the work on one name, and the handshakes that wait for it.
type order struct {
	waiting loop.Cond
	ended   bool
	pair    *tls.Certificate // nil: refused
}

func newDemand(m *Manager, o OnDemand) *demand {
	o.RefusedFor = cmp.Or(o.RefusedFor, refusedFor)
	o.OrdersPerHourMax = cmp.Or(o.OrdersPerHourMax, ordersPerHourMax)
	o.NamesMax = cmp.Or(o.NamesMax, namesMax)
	return &demand{
		m: m, options: o, asks: make(chan struct{}, asksAtOnce), pending: map[string]*order{}, refused: map[string]time.Time{},
		client: &http.Client{Timeout: askMax, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

func (d *demand) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.running.Wait()
	d.client.CloseIdleConnections()
}

// await returns the certificate for a name, or nil if it gets none. t is the task of the handshake, nil for another goroutine.
func (d *demand) await(name string, t *loop.Task) (*tls.Certificate, error) {
	if !certifiable(name) {
		return nil, nil
	}
	if t != nil {
		if err := t.MayPark(); err != nil {
			return nil, err
		}
	}
	defer t.Leave(t.Enter())
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.pending[name]
	if o == nil {
		if d.closed || time.Now().Before(d.refused[name]) || len(d.pending) >= pendingMax {
			d.m.counts.refused.Add(1)
			return nil, nil
		}
		o = &order{}
		d.pending[name] = o
		d.running.Go(func() { d.fill(name, o) })
	}
	for !o.ended {
		if err := o.waiting.Wait(t, nil, &d.mu, 0); err != nil {
			return nil, err
		}
	}
	if o.pair == nil {
		d.m.counts.refused.Add(1)
	}
	return o.pair, nil
}

// certifiable reports whether a public authority can certify a name at all.
func certifiable(name string) bool {
	return strings.Contains(name, ".") && !strings.Contains(name, "*") && certmagic.SubjectQualifiesForPublicCert(name) && !certmagic.SubjectIsIP(name)
}

// fill does the work of an order.
func (d *demand) fill(name string, o *order) {
	ctx, cancel := context.WithTimeout(d.m.ctx, attemptMax)
	defer cancel()
	pair, again, err := d.decide(ctx, name)
	if err != nil && ctx.Err() == nil {
		d.m.log.Warn("no certificate on demand", "name", name, "reason", reasonOf(err), "next", time.Now().Add(again).Format(time.RFC3339))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pending, name)
	if pair == nil {
		d.refuse(name, again)
	}
	o.ended, o.pair = true, pair
	o.waiting.Broadcast()
}

// decide returns a certificate; or else for how long the name is refused, and the error, which is nil if the Ask server has refused
// it.
func (d *demand) decide(ctx context.Context, name string) (pair *tls.Certificate, again time.Duration, err error) {
	allowed, err := d.ask(ctx, name)
	if err != nil {
		return nil, unanswered, err
	}
	if !allowed {
		return nil, d.options.RefusedFor, nil
	}
	e := &entry{name: name, onDemand: true}
	e.usedAt.Store(time.Now().Unix())
	d.m.load(ctx, e)
	// One that has expired, such as that of a name that was not used for long, is renewed while the handshake waits, and served if that fails.
	if pair := e.served.Load(); pair == nil || time.Now().After(pair.Leaf.NotAfter) {
		switch {
		case d.mayOrder():
			d.m.work(ctx, e)
		case pair == nil:
			return nil, limited, fmt.Errorf("%d certificates were ordered on demand within an hour", d.options.OrdersPerHourMax)
		}
	}
	if pair = e.served.Load(); pair == nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		return nil, max(d.options.RefusedFor, time.Until(e.state.due)), nil // logged by work
	}
	d.keep(e)
	return pair, 0, nil
}

// ask asks the Ask server about a name.
func (d *demand) ask(ctx context.Context, name string) (allowed bool, err error) {
	select {
	case d.asks <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-d.asks }()
	d.m.counts.asked.Add(1)
	u, err := url.Parse(d.options.Ask)
	if err != nil {
		return false, err
	}
	query := u.Query()
	query.Set("domain", name)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false, err
	}
	w, err := d.client.Do(r)
	if err != nil {
		return false, err
	}
	_ = w.Body.Close()
	switch w.StatusCode / 100 {
	case 2:
		return true, nil
	case 4:
		return false, nil
	}
	return false, fmt.Errorf("%s answers %s", d.options.Ask, w.Status)
}

// refuse remembers a refusal. The caller holds the lock.
func (d *demand) refuse(name string, again time.Duration) {
	now := time.Now()
	if len(d.refused) >= d.options.NamesMax {
		for old, until := range d.refused {
			if until.Before(now) {
				delete(d.refused, old)
			}
		}
	}
	if len(d.refused) >= d.options.NamesMax {
		clear(d.refused)
	}
	d.refused[name] = now.Add(again)
}

// mayOrder counts an order, unless there were too many.
func (d *demand) mayOrder() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for len(d.ordered) > 0 && now.Sub(d.ordered[0]) > time.Hour {
		d.ordered = d.ordered[1:]
	}
	if len(d.ordered) >= d.options.OrdersPerHourMax {
		return false
	}
	d.ordered = append(d.ordered, now)
	return true
}

// keep adds an entry, in place of the one that was not used for the longest time if there are too many.
func (d *demand) keep(e *entry) {
	var oldest *entry
	n := 0
	for other := range d.m.all {
		if other.onDemand {
			n++
			if oldest == nil || other.usedAt.Load() < oldest.usedAt.Load() {
				oldest = other
			}
		}
	}
	if n >= d.options.NamesMax {
		d.m.entries.CompareAndDelete(oldest.name, oldest)
	}
	d.m.entries.LoadOrStore(e.name, e)
	d.m.wake()
}

// renewable reports whether an entry stays. A name that was not used for long, or that the Ask server refuses when it would be
// renewed, does not.
func (d *demand) renewable(ctx context.Context, e *entry) bool {
	if time.Since(time.Unix(e.usedAt.Load(), 0)) > unusedMax {
		return false
	}
	e.mu.Lock()
	renewal := e.state.renewal
	e.mu.Unlock()
	if renewal.IsZero() || time.Until(renewal) > d.m.options.CheckEvery {
		return true
	}
	allowed, err := d.ask(ctx, e.name)
	return allowed || err != nil // it was allowed before
}
