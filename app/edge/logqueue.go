// The queue in front of the server's own log. Loops, the watchdog and the admin listener append to a bounded buffer, and one goroutine writes
// it out, so that a slow reader of the log blocks none of them.

package edge

import (
	"bytes"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	logQueueBytes = 1 << 20     // size of the queue
	logFlushWait  = time.Second // time for a reader at exit
)

// logQueue is a Writer of whole lines that never blocks and never fails. Lines beyond the bound, and lines that the underlying
// writer fails to write, are dropped and counted. Any goroutine may call its methods.
type logQueue struct {
	w        wholeLines
	bytesMax int
	// drained is called on the goroutine of the queue with the number of lines that were dropped before the last written one, and
	// the last error. It may write to the queue. Set it before the first Write.
	drained func(lost uint64, err error)
	wake    chan struct{}
	ended   chan struct{}

	mu      sync.Mutex
	pending []byte
	lost    uint64
	closed  bool
}

func newLogQueue(w io.Writer, bytesMax int) *logQueue {
	q := &logQueue{w: wholeLines{w: w}, bytesMax: bytesMax, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	q.drained = func(uint64, error) {}
	go q.run()
	return q
}

// Write queues a copy of p, which ends with a line feed.
func (q *logQueue) Write(p []byte) (int, error) {
	q.mu.Lock()
	if q.closed || len(q.pending)+len(p) > q.bytesMax {
		q.lost += lines(p)
	} else {
		q.pending = append(q.pending, p...)
	}
	q.mu.Unlock()
	q.ring()
	return len(p), nil
}

func (q *logQueue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// dropped returns the number of dropped lines.
func (q *logQueue) dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// close writes the queue and stops it. It waits for at most wait.
func (q *logQueue) close(wait time.Duration) {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.ring()
	select {
	case <-q.ended:
	case <-time.After(wait):
	}
}

// last stops the queue and writes p after its contents, each for at most logFlushWait.
func (q *logQueue) last(p []byte) {
	q.close(logFlushWait)
	writeBounded(q.w.w, p)
}

// run writes until the queue is closed and empty. Two buffers take turns.
func (q *logQueue) run() {
	defer close(q.ended)
	var batch []byte
	var told uint64
	var failure error
	for range q.wake {
		q.mu.Lock()
		batch, q.pending = q.pending, batch[:0]
		closed := q.closed
		q.mu.Unlock()
		n, err := 0, error(nil)
		if len(batch) > 0 {
			n, err = q.w.Write(batch)
		}
		q.mu.Lock()
		if err != nil {
			q.lost += lines(batch[n:])
			failure = err
		}
		lost := q.lost
		q.mu.Unlock()
		if lost > told && err == nil && len(batch) > 0 {
			q.drained(lost-told, failure)
			told, failure = lost, nil
		}
		if closed {
			return
		}
	}
}

func lines(p []byte) uint64 { return uint64(bytes.Count(p, []byte{'\n'})) }

// wholeLines inserts a line feed after a partial write, as on a full disk, so that the next line stays readable.
type wholeLines struct {
	w    io.Writer
	torn bool
}

func (l *wholeLines) Write(p []byte) (int, error) {
	if l.torn {
		if _, err := l.w.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		l.torn = false
	}
	n, err := l.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	l.torn = err != nil && n > 0 && p[n-1] != '\n'
	return n, err
}

// surviveLogs ignores SIGPIPE and SIGXFSZ, so that a log without a reader, or at the file size limit, fails with an error of
// the write. Child processes keep the default.
func surviveLogs() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGXFSZ)
}

// writeBounded writes p to w, for at most logFlushWait.
func writeBounded(w io.Writer, p []byte) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = w.Write(p)
	}()
	select {
	case <-written:
	case <-time.After(logFlushWait):
	}
}
