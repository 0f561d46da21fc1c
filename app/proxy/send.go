// Group.Do: requests of this process to the servers of a group.

package proxy

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"tafe/app/client"
	"tafe/loop"
)

// Do is client.Client.Do for a server of the group: Addr, TLS, ServerName and Preface of req are set, and Host if it is
// empty. The request is tried on other servers, as a forwarded one is, and counts as in flight until Do returns. t is
// the calling task. The error is an *client.Error, or tells that no server is available.
func (g *Group) Do(t *loop.Task, ctx context.Context, req *client.Request, resp *client.Response) error {
	g.addRetryCredit()
	host := req.Host
	var tried []*server
	for {
		s, err := g.server(t, 0, tried, nil)
		if err != nil {
			return err
		}
		req.Addr, req.TLS, req.ServerName, req.Preface = s.Addr, g.options.TLS != nil, s.host, prefaceLocal(g.options.ProxyProtocol)
		req.Host = cmp.Or(host, g.options.Host, s.field)
		again, err := g.send(t, ctx, s, req, resp)
		if err == nil || !again {
			return err
		}
		tried = append(tried, s)
		switch {
		case len(tried) >= g.options.Tries:
			return err
		case !g.takeRetry():
			g.counts.exhausted.Add(1)
			return err
		}
		g.counts.retries.Add(1)
	}
}

// send is one try of Do. again reports whether another server may be tried.
func (g *Group) send(t *loop.Task, ctx context.Context, s *server, req *client.Request, resp *client.Response) (again bool, err error) {
	failed := false
	defer func() { g.finish(s, failed) }() // also when the task is unwound
	s.counts.requests.Add(1)
	began := t.Loop().Clock()
	if err := g.client.Do(t, ctx, req, resp); err != nil {
		var e *client.Error
		if !errors.As(err, &e) {
			return false, err
		}
		why, upstream := reasonOf(e)
		if !upstream {
			return false, err
		}
		s.counts.failures[why].Add(1)
		failed = why.isFailure()
		return why.isUnsent() || e.Unprocessed || !e.Answered && req.Stream == nil && (req.Method == "" || client.IdempotentMethod(req.Method)), err
	}
	s.counts.headNanos.Add(t.Loop().Clock() - began)
	s.counts.byClass[resp.Status/100%len(s.counts.byClass)].Add(1)
	failed = resp.Status >= http.StatusBadGateway && resp.Status <= http.StatusGatewayTimeout
	return false, nil
}
