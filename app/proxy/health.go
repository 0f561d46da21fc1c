// Availability of servers: passive failure detection, health checks, and the retry budget.

package proxy

import (
	"context"
	"time"

	"tafe/app/client"
)

// clock returns the monotonic time since the group was created, in ns.
func (g *Group) clock() int64 { return int64(time.Since(g.base)) }

// usable reports whether s gets requests, as long as it is below RequestsMax.
func (s *server) usable(now int64) bool { return s.out.Load() == 0 && s.ejected.Load() <= now }

// available reports whether s may receive a request.
func (g *Group) available(s *server, now int64) bool {
	most := g.options.RequestsMax
	return s.usable(now) && (most == 0 || s.active.Load() < int64(most))
}

// finish ends a request to s. failed reports whether the server caused its failure.
func (g *Group) finish(s *server, failed bool) {
	s.active.Add(-1)
	switch {
	case failed:
		if n := s.failures.Add(1); g.options.FailuresMax > 0 && int(n) >= g.options.FailuresMax {
			g.eject(s)
		}
	case s.failures.Load() != 0:
		s.failures.Store(0)
		s.times.Store(0)
	}
	if g.queue.length.Load() > 0 {
		g.serveQueue(s)
	}
}

// eject excludes s for a time, unless half of the servers are excluded already.
func (g *Group) eject(s *server) {
	g.ejecting.Lock()
	defer g.ejecting.Unlock()
	now, out, r := g.clock(), 1, g.roster.Load()
	if s.ejected.Load() > now {
		return
	}
	for _, o := range r.servers[:r.primaries] {
		if o != s && !o.usable(now) {
			out++
		}
	}
	if s.Backup || out*2 > r.primaries {
		return
	}
	d := min(g.options.EjectTime, g.options.EjectTimeMax)
	for n := s.times.Add(1); n > 1 && d < g.options.EjectTimeMax; n-- {
		d = min(2*d, g.options.EjectTimeMax)
	}
	s.failures.Store(0)
	s.ejected.Store(now + int64(d))
	g.beginWarming(s, now+int64(d))
	s.counts.ejections.Add(1)
	g.options.Log.Warn("upstream server ejected", "upstream", g.options.Name, "server", s.Addr, "for", d.String(),
		"failures", g.options.FailuresMax)
}

// startChecks starts the health check of s. g.mu is held.
func (g *Group) startChecks(s *server) {
	if g.options.Check != nil && g.started.Load() && !g.closed {
		gone := s.gone
		g.background.Go(func() { g.runChecks(s, gone) })
	}
}

// runChecks runs the health check of s until gone or the group is closed.
func (g *Group) runChecks(s *server, gone <-chan struct{}) {
	o, good, bad := g.options.Check, 0, 0
	c := client.New(client.Options{TLS: g.options.TLS, Protocol: g.options.Protocol, ConnsPerHostMax: 1, IdleTimeout: 2 * o.Interval,
		DialTimeout: o.Timeout, HeadTimeout: o.Timeout, BodyTimeout: o.Timeout})
	defer c.Close()
	// Spread the checks of the servers over the interval.
	wait := time.NewTimer(o.Interval * time.Duration(s.index%checkSpread) / checkSpread)
	defer wait.Stop()
	for {
		select {
		case <-g.closing:
			return
		case <-gone:
			return
		case <-wait.C:
		}
		err := g.checkOnce(c, s)
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
			s.counts.checkFailures.Add(1)
		}
		switch down := s.has(isDown); {
		case down && good >= o.Rise:
			s.ejected.Store(0)
			g.beginWarming(s, g.clock())
			g.setDown(s, false)
			g.options.Log.Info("upstream server is up", "upstream", g.options.Name, "server", s.Addr)
		case !down && bad >= o.Fall:
			g.setDown(s, true)
			g.options.Log.Warn("upstream server is down", "upstream", g.options.Name, "server", s.Addr, "error", err.Error())
		}
		wait.Reset(o.Interval)
	}
}

// setDown records the result of the health check of s.
func (g *Group) setDown(s *server, down bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if down {
		s.set(isDown)
	} else {
		s.clear(isDown)
	}
	g.rebuild()
}

// checkSpread is the number of steps into which an interval is divided to spread the checks.
const checkSpread = 16

// checkBodyMax is the size of a health check's response up to which it is read, so that its connection is reused.
const checkBodyMax = 64 << 10

func (g *Group) checkOnce(c *client.Client, s *server) error {
	o := g.options.Check
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() { // so that Close does not wait for a slow server
		select {
		case <-g.closing:
			cancel()
		case <-over:
		}
	}()
	var resp client.Response
	defer resp.Close()
	req := client.Request{Addr: s.Addr, TLS: g.options.TLS != nil, ServerName: s.host, Target: []byte(o.Path), Host: g.options.Host}
	if req.Host == "" {
		req.Host = s.field
	}
	req.Preface = prefaceLocal(g.options.ProxyProtocol)
	req.AddHeader("User-Agent", "tafe-health-check")
	if o.GRPC {
		return checkGRPC(ctx, c, &req, &resp, o.Service)
	}
	if err := c.Do(nil, ctx, &req, &resp); err != nil {
		return err
	}
	if status := resp.Status; o.Status != 0 && status != o.Status || o.Status == 0 && (status < 200 || status > 399) {
		return statusError(status)
	}
	_, err := resp.ReadAll(checkBodyMax)
	return err
}

// addRetryCredit adds the share of one request to the retry budget.
func (g *Group) addRetryCredit() {
	share, most := int64(g.options.RetryPercent)*10, int64(g.options.RetryBurst)*1000
	if n := g.budget.Load(); n < most {
		g.budget.CompareAndSwap(n, min(n+share, most)) // a lost race adds nothing, which only lowers the budget
	}
}

// takeRetry takes one retry from the budget.
func (g *Group) takeRetry() bool {
	for {
		n := g.budget.Load()
		if n < 1000 {
			return false
		}
		if g.budget.CompareAndSwap(n, n-1000) {
			return true
		}
	}
}
