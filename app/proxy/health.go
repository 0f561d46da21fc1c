// Availability of servers: passive failure detection, health checks, and the retry budget.

package proxy

import (
	"context"
	"time"

	"tafe/app/client"
)

// clock returns the monotonic time since the group was created, in ns.
func (g *Group) clock() int64 { return int64(time.Since(g.base)) }

// available reports whether s may receive a request.
func (g *Group) available(s *server, now int64) bool {
	most := g.options.RequestsMax
	return !s.down.Load() && s.ejected.Load() <= now && (most == 0 || s.active.Load() < int64(most))
}

// finish ends a request to s. failed reports whether the server caused its failure.
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

// eject excludes s for a time, unless half of the servers are excluded already.
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
	d := min(g.options.EjectTime, g.options.EjectTimeMax)
	for n := s.times.Add(1); n > 1 && d < g.options.EjectTimeMax; n-- {
		d = min(2*d, g.options.EjectTimeMax)
	}
	s.failures.Store(0)
	s.ejected.Store(now + int64(d))
	s.counts.ejections.Add(1)
	g.options.Log.Warn("upstream server ejected", "upstream", g.options.Name, "server", s.Addr, "for", d.String(),
		"failures", g.options.FailuresMax)
}

// runChecks runs the health check of s until the group is closed.
func (g *Group) runChecks(s *server) {
	o, good, bad := g.options.Check, 0, 0
	c := client.New(client.Options{TLS: g.options.TLS, ConnsPerHostMax: 1, IdleTimeout: 2 * o.Interval,
		DialTimeout: o.Timeout, HeadTimeout: o.Timeout, BodyTimeout: o.Timeout})
	defer c.Close()
	// Spread the checks of the servers over the interval.
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
