// The stream of events: what a user changes reaches the browsers of that user.

package main

import (
	"fmt"
	"sync"
	"time"

	"tafe/app"
	"tafe/loop"
)

const (
	feedQueueMax   = 64               // changes that wait for a slow browser; it misses those beyond
	feedClientsMax = 10_000           // of all users together
	heartbeat      = 15 * time.Second // so that a browser that has left is noticed
)

// change is what happened to a note. The zero change is a heartbeat.
type change struct {
	what string
	id   int64
}

// feed passes changes to the streams of all loops.
type feed struct {
	mu      sync.Mutex
	streams map[*loop.Queue[change]]string // with their users
	closed  chan struct{}
	closing sync.Once
}

func newFeed() *feed {
	return &feed{streams: map[*loop.Queue[change]]string{}, closed: make(chan struct{})}
}

// run sends heartbeats until the feed is closed.
func (f *feed) run() {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-f.closed:
			return
		case <-tick.C:
			f.publish("", change{})
		}
	}
}

// publish passes a change to the streams of a user; "" is all users. It does not wait.
func (f *feed) publish(user string, c change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for q, owner := range f.streams {
		if user == "" || owner == user {
			_ = q.Offer(c) // a full queue is that of a slow browser
		}
	}
}

// join returns a queue with the changes of a user; nil if there are too many, or the feed is closed.
func (f *feed) join(user string) *loop.Queue[change] {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.closed:
		return nil
	default:
	}
	if len(f.streams) >= feedClientsMax {
		return nil
	}
	q := loop.NewQueue[change](feedQueueMax)
	f.streams[q] = user
	return q
}

func (f *feed) leave(q *loop.Queue[change]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.streams, q)
}

// close ends all streams.
func (f *feed) close() {
	f.closing.Do(func() { close(f.closed) })
	f.mu.Lock()
	defer f.mu.Unlock()
	for q := range f.streams {
		q.Close()
	}
}

// events answers GET /events.
func (n *notes) events(c *app.Context) error {
	q := n.feed.join(userOf(c))
	if q == nil {
		return app.Error(503, "too many streams")
	}
	defer n.feed.leave(q)
	c.SetHeader("Cache-Control", "no-store")
	s := c.Stream(200, "text/event-stream")
	if err := s.Begin(); err != nil {
		return err
	}
	for {
		next, err := q.Take(c.Task())
		switch {
		case c.Err() != nil:
			return c.Err() // the browser has left
		case err != nil:
			return nil // the feed is closed: the stream is complete
		case next == change{}:
			_, err = fmt.Fprint(s, ":\n\n")
		default:
			_, err = fmt.Fprintf(s, "event: %s\ndata: {\"id\":%d}\n\n", next.what, next.id)
		}
		if err == nil {
			err = s.Flush()
		}
		if err != nil {
			return err
		}
	}
}
