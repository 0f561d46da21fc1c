// This file owns who is left out, and how often a request may be sent again: failures that requests have met, health checks,
// and the budget of retries.

package proxy

import (
	"context"
	"time"

	"tafe/app/client"
)

// clock is in ns since the group was made, and only grows.
func (g *Group) clock() int64 { return int64(time.Since(g.base)) }

// can tells whether s may be asked.
func (g *Group) available(s *server, now int64) bool {
	most := g.options.RequestsMax
	return !s.down.Load() && s.ejected.Load() <= now && (most == 0 || s.active.Load() < int64(most))
}

// done ends a request to s: failed tells whether it was the server's fault that there was no answer, or no good one.
func (g *Group) finish(s *server, failed bool) {
	s.active.Add(-1)
	if !failed {
		if s.failures.Load() != 0 {
			s.failures.Store(0)
			s.times.Store(0)
		}
		return
	}
	if n := s.failures.Add(1); g.options.FailuresMax > 0 && int(n) >= g.options.FailuresMax {
		g.eject(s)
	}
}

// eject leaves s out for a while, unless too many are left out already.
func (g *Group) eject(s *server) {
	g.ejecting.Lock()
	defer g.ejecting.Unlock()
	now, out := g.clock(), 1
	if s.ejected.Load() > now {
		return
	}
	for _, o := range g.servers[:g.primaries] {
		if o != s && (o.ejected.Load() > now || o.down.Load()) {
			out++
		}
	}
	if s.Backup || out*2 > g.primaries {
		return
	}
	d := min(g.options.EjectTime<<min(s.times.Add(1)-1, 16), g.options.EjectTimeMax)
	s.failures.Store(0)
	s.ejected.Store(now + int64(d))
	s.counts.ejections.Add(1)
	g.options.Log.Warn("upstream server ejected", "upstream", g.options.Name, "server", s.Addr, "for", d.String(),
		"failures", g.options.FailuresMax)
}

// watch is a server's health check.
func (g *Group) runChecks(s *server) {
	o, good, bad := g.options.Check, 0, 0
	c := client.New(client.Options{TLS: g.options.TLS, ConnsPerHostMax: 1, IdleTimeout: 2 * o.Interval, DialTimeout: o.Timeout, HeadTimeout: o.Timeout, BodyTimeout: o.Timeout})
	defer c.Close()
	// The servers' checks are spread over the interval.
	wait := time.NewTimer(o.Interval * time.Duration(s.index) / time.Duration(len(g.servers)))
	defer wait.Stop()
	for {
		select {
		case <-g.closing:
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
		switch down := s.down.Load(); {
		case down && good >= o.Rise:
			s.down.Store(false)
			s.ejected.Store(0)
			g.options.Log.Info("upstream server is up", "upstream", g.options.Name, "server", s.Addr)
		case !down && bad >= o.Fall:
			s.down.Store(true)
			g.options.Log.Warn("upstream server is down", "upstream", g.options.Name, "server", s.Addr, "error", err.Error())
		}
		wait.Reset(o.Interval)
	}
}

// checkBodyMax is how much of a check's answer is read to keep its connection.
const checkBodyMax = 64 << 10

func (g *Group) checkOnce(c *client.Client, s *server) error {
	o := g.options.Check
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() { // Close does not wait for a server that does not answer
		select {
		case <-g.closing:
			cancel()
		case <-over:
		}
	}()
	var resp client.Response
	defer resp.Close()
	req := client.Request{Addr: s.Addr, TLS: g.options.TLS != nil, Target: []byte(o.Path), Host: g.options.Host}
	req.AddHeader("User-Agent", "tafe-health-check")
	if err := c.Do(nil, ctx, &req, &resp); err != nil {
		return err
	}
	if status := resp.Status; o.Status != 0 && status != o.Status || o.Status == 0 && (status < 200 || status > 399) {
		return statusError(status)
	}
	_, err := resp.ReadAll(checkBodyMax)
	return err
}

// earn adds a request's share to the budget of retries.
func (g *Group) addRetryCredit() {
	share, most := int64(g.options.RetryPercent)*10, int64(g.options.RetryBurst)*1000
	if n := g.budget.Load(); n < most {
		g.budget.CompareAndSwap(n, min(n+share, most)) // who loses the race has earned nothing: the bound is no debt
	}
}

// spend takes one retry from the budget.
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
