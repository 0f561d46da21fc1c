// Writes to the log and the sink. A write may block forever, for example on a stderr that is not
// read or on a disk that hangs. The outbox keeps such writes off the sampler and off the callers of
// Watchdog's methods.

package watchdog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	outboxMax = 512             // queued writes; further ones are dropped
	stopWait  = 2 * time.Second // time that Stop gives queued writes
)

// outbox makes queued writes in order on a goroutine of its own, which exists only while the queue
// is not empty. Any goroutine may use it. The zero value is ready for use.
type outbox struct {
	mu    sync.Mutex
	queue []func()
	empty chan struct{} // closed after the last write; nil if none is queued
	lost  uint64        // writes that were dropped or failed
}

// enqueue queues write, or drops and counts it if the queue is full.
func (o *outbox) enqueue(write func()) {
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

// drain makes writes until the queue is empty.
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

// countFailure counts a write that failed.
func (o *outbox) countFailure() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lost++
}

func (o *outbox) losses() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost
}

// flush waits until the queue is empty or ctx is done.
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

// logOutbox is a logger whose records are written by an outbox.
type logOutbox struct {
	outbox
	logger *slog.Logger
}

// write queues a record with the time of the call.
func (j *logOutbox) write(level slog.Level, what string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !j.logger.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, what, 0)
	r.AddAttrs(attrs...)
	j.enqueue(func() {
		if j.logger.Handler().Handle(ctx, r) != nil {
			j.countFailure()
		}
	})
}
