package watchdog

// outbox: what leaves the watchdog, which is log records and lines of the sink. A
// write may block for ever: stderr that nobody reads, a file on a disk that hangs.
// Neither the sampler nor what other goroutines ask for may wait for that.

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	outboxMax = 512             // writes that wait; beyond it they are dropped
	stopWait  = 2 * time.Second // what Stop gives the writes that wait
)

// outbox makes writes one after the other on a goroutine of its own, which lives
// while there are any. Any goroutine. The zero outbox is ready for use.
type outbox struct {
	mu    sync.Mutex
	queue []func()
	empty chan struct{} // closed once the last write was made; nil: there is none
	lost  uint64        // writes that were dropped, or failed
}

// put has write called soon; where too many wait it is dropped and counted.
func (o *outbox) put(write func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= outboxMax {
		o.lost++
		return
	}
	o.queue = append(o.queue, write)
	if o.empty == nil {
		o.empty = make(chan struct{})
		go o.drain()
	}
}

// drain makes the writes until none is left.
func (o *outbox) drain() {
	for write := o.next(); write != nil; write = o.next() {
		write()
	}
}

func (o *outbox) next() func() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		close(o.empty)
		o.queue, o.empty = nil, nil
		return nil
	}
	write := o.queue[0]
	o.queue[0] = nil
	o.queue = o.queue[1:]
	return write
}

// fail counts a write that was made in vain.
func (o *outbox) fail() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lost++
}

func (o *outbox) losses() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost
}

// flush waits until all writes were made, or until ctx is done.
func (o *outbox) flush(ctx context.Context) {
	o.mu.Lock()
	empty := o.empty
	o.mu.Unlock()
	if empty == nil {
		return
	}
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// journal is a log whose records are written by an outbox.
type journal struct {
	outbox
	log *slog.Logger
}

// say logs, with the time of the call.
func (j *journal) say(level slog.Level, what string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !j.log.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, what, 0)
	r.AddAttrs(attrs...)
	j.put(func() {
		if j.log.Handler().Handle(ctx, r) != nil {
			j.fail()
		}
	})
}
