// The queue of requests that wait for a server: all available ones are at RequestsMax, or the first lookup of a host
// name has not ended.

package proxy

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"tafe/app"
	"tafe/loop"
)

// queue holds the waiting requests of a group, in the order of their arrival.
type queue struct {
	length atomic.Int32 // len(list)
	mu     sync.Mutex
	list   []*queued
}

// queued is a request that waits. The fields are fixed while it is in the list, except for server.
type queued struct {
	waiter loop.Waiter
	key    uint64
	tried  []*server
	own    *server // the only one that it waits for, if not nil

	// Guarded by queue.mu.
	server *server // granted: a place was taken for the request
	failed bool    // no server will become free
}

var (
	errQueueFull = errors.New("too many requests wait for a server of the group")
	errWaited    = errors.New("no server of the group became free in time")
)

// server returns the server for a request of the task t, and waits for it if it must. own, if not nil, is the server of
// the client's sticky cookie. The caller must call finish when the request ends.
func (g *Group) server(t *loop.Task, key uint64, tried []*server, own *server) (*server, error) {
	if own != nil && !slices.Contains(tried, own) && own.usableBySticky(g.clock()) {
		if g.take(own) {
			return own, nil
		}
		s, err := g.await(t, &queued{key: key, own: own})
		if s != nil || err != errWaited && err != errNoServer {
			return s, err
		}
	}
	s, full := g.pick(key, tried)
	switch {
	case s != nil:
		return s, nil
	case !full:
		g.counts.noServer.Add(1)
		return nil, errNoServer
	}
	return g.await(t, &queued{key: key, tried: slices.Clone(tried)})
}

// usableBySticky reports whether s takes requests of clients that it already has: also while it is drained by an
// operator.
func (s *server) usableBySticky(now int64) bool {
	return !s.has(isDown|isRemoved) && s.ejected.Load() <= now
}

// await queues q until a server takes it, for at most WaitTimeout.
func (g *Group) await(t *loop.Task, q *queued) (*server, error) {
	if !g.started.Load() && g.roster.Load().pending {
		g.Start()
	}
	l := t.Loop()
	defer t.Leave(t.Enter())
	q.waiter = loop.WaiterFor(t)
	if s, err := g.enqueue(q); s != nil || err != nil {
		return s, err
	}
	g.counts.waits.Add(1)
	kept := false
	defer func() { // an error, or the task is unwound
		if s, _ := g.dequeue(q); s != nil && !kept {
			g.finish(s, false)
		}
	}()
	if err := q.waiter.Wait(l, l.Clock()+int64(g.options.WaitTimeout)); err != nil {
		return nil, err
	}
	switch s, failed := g.dequeue(q); {
	case s != nil:
		kept = true
		return s, nil
	case failed:
		g.counts.noServer.Add(1)
		return nil, errNoServer
	}
	g.counts.waitedInVain.Add(1)
	return nil, errWaited
}

// enqueue adds q to the queue, unless a server became free meanwhile or the queue is full.
func (g *Group) enqueue(q *queued) (*server, error) {
	n := &g.queue
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) >= g.options.QueueMax {
		g.counts.queueFull.Add(1)
		return nil, errQueueFull
	}
	n.list = append(n.list, q)
	n.length.Store(int32(len(n.list)))
	// A place that was freed before length was set was not offered to q.
	s, full := g.offer(q, nil)
	switch {
	case s != nil:
		n.remove(q)
		return s, nil
	case !full:
		n.remove(q)
		return nil, errNoServer
	}
	return nil, nil
}

// dequeue removes q from the queue and returns the server that it was granted, or that it has failed.
func (g *Group) dequeue(q *queued) (_ *server, failed bool) {
	n := &g.queue
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remove(q)
	return q.server, q.failed
}

func (n *queue) remove(q *queued) {
	if i := slices.Index(n.list, q); i >= 0 {
		n.list = slices.Delete(n.list, i, i+1)
		n.length.Store(int32(len(n.list)))
	}
}

// serveQueue grants free places to waiting requests: those of s, or of all servers if s is nil. Requests for which no
// server is left fail then. Any goroutine.
func (g *Group) serveQueue(s *server) {
	n := &g.queue
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = slices.DeleteFunc(n.list, func(q *queued) bool {
		var full bool
		if q.server, full = g.offer(q, s); q.server == nil && full {
			return false
		}
		q.failed = q.server == nil
		q.waiter.Wake()
		return true
	})
	n.length.Store(int32(len(n.list)))
}

// offer takes a place for q at s, or at any server if s is nil. full means that there is none now but may be later.
func (g *Group) offer(q *queued, s *server) (_ *server, full bool) {
	now := g.clock()
	switch {
	case q.own != nil:
		usable := q.own.usableBySticky(now)
		if usable && (s == nil || s == q.own) && g.take(q.own) {
			return q.own, false
		}
		return nil, usable
	case s == nil:
		return g.pick(q.key, q.tried)
	case s.usable(now) && !slices.Contains(q.tried, s) && (!s.Backup || g.noPrimary(now)) && g.take(s):
		return s, false
	}
	return nil, true
}

// noPrimary reports whether no server but backups is available.
func (g *Group) noPrimary(now int64) bool {
	r := g.roster.Load()
	return !slices.ContainsFunc(r.servers[:r.primaries], func(s *server) bool { return g.available(s, now) })
}

// unavailable returns the error for the client of a request that got no server.
func unavailable(err error) error {
	switch err {
	case errNoServer:
		return &app.HTTPError{Status: http.StatusServiceUnavailable, Message: "no upstream server is available", Reason: "upstream-none", Err: err}
	case errQueueFull, errWaited:
		return &app.HTTPError{Status: http.StatusServiceUnavailable, Message: messages[reasonBusy], Reason: reasonBusy.String(), Err: err}
	}
	return err // the request was cancelled
}
