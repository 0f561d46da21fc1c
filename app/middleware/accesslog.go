// AccessLog: a buffered access log with a goroutine that writes it. accesslogformat.go formats the lines. The caller opens and rotates files.

package middleware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/httpparse"
)

// AccessLogOptions configures an AccessLog. Zero fields take their defaults.
type AccessLogOptions struct {
	Format AccessLogFormat // default AccessLogJSON
	// Line, if not nil, appends the line for a response to b in place of Format, without a line feed, which it must not contain. It is called on
	// the loop and may use Entry.Context.
	Line func(b []byte, e *app.Entry) []byte
	// Sample is the fraction, 0 to 1, of responses with a status below 400 that are logged; others are always logged. 0 is 1: all.
	Sample float64
	// BufferBytes bounds the entries that wait for the writer. Further entries are dropped and counted. Default 4 MiB, about 20,000
	// entries. The log uses up to twice as much memory.
	BufferBytes int
	// FlushEvery is the longest time that an entry is buffered. A buffer that is half full is written earlier. Default 500 ms.
	FlushEvery time.Duration
	// Log receives messages about dropped entries and failed writes. Default slog.Default().
	Log *slog.Logger
}

// AccessLog writes a line for each response. A loop only copies the entry, under a short lock; a goroutine of the log formats and writes it.
// If the writer is too slow, entries are dropped.
//
//	log := middleware.NewAccessLog(file, middleware.AccessLogOptions{})
//	defer log.Close()
//	a := app.New(app.Options{AccessLog: log.Record})
type AccessLog struct {
	options AccessLogOptions
	w       io.Writer
	wake    chan struct{} // half a buffer is full
	closing chan struct{}
	ended   chan struct{}
	err     error // of the last write; for other goroutines after ended
	writes  atomic.Uint64
	spaces  sync.Pool // *[]byte: of Line

	mu      sync.Mutex
	pending []byte // encoded entries
	dropped uint64
	closed  bool
}

// NewAccessLog starts a log that writes to w. Every Write has whole lines, and is made by the log's goroutine. The log does not close w.
func NewAccessLog(w io.Writer, o AccessLogOptions) *AccessLog {
	if o.BufferBytes <= 0 {
		o.BufferBytes = 4 << 20
	}
	if o.FlushEvery <= 0 {
		o.FlushEvery = 500 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	l := &AccessLog{
		options: o, w: w,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	go l.run()
	return l
}

// Record copies an entry to the buffer. It is meant for app.Options.AccessLog. It never waits for the writer, and may be called by any
// goroutine. After Close it drops the entry.
func (l *AccessLog) Record(e *app.Entry) {
	switch {
	case l.options.Sample > 0 && l.options.Sample < 1 && e.Status < 400 && rand.Float64() >= l.options.Sample:
	case l.options.Line == nil:
		l.queue(encodedBytes(e), func(b []byte) []byte { return appendEntry(b, e) })
	default:
		space, _ := l.spaces.Get().(*[]byte)
		if space == nil {
			space = new([]byte)
		}
		line := append(l.options.Line((*space)[:0], e), '\n')
		l.queue(len(line), func(b []byte) []byte { return append(b, line...) })
		*space = line
		l.spaces.Put(space)
	}
}

// queue appends an entry of at most size bytes to the buffer.
func (l *AccessLog) queue(size int, appendTo func(b []byte) []byte) {
	l.mu.Lock()
	before := len(l.pending)
	if l.closed || before+size > l.options.BufferBytes {
		l.dropped++
		l.mu.Unlock()
		return
	}
	l.pending = appendTo(l.pending)
	after, half := len(l.pending), l.options.BufferBytes/2
	l.mu.Unlock()
	if before < half && after >= half {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Dropped returns the number of entries that were not written, because the buffer was full or a write failed. Any goroutine.
func (l *AccessLog) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

const (
	closeWait = time.Second      // for one write to end
	closeMax  = 10 * time.Second // for all
)

// Close writes the buffered entries and ends the log. It returns the error of the last write, or another one if no write ends for a second
// or all together take 10 s. Any goroutine may call it, more than once.
func (l *AccessLog) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()
	for deadline := time.Now().Add(closeMax); ; {
		writes := l.writes.Load()
		select {
		case <-l.ended:
			return l.err
		case <-time.After(closeWait):
			if l.writes.Load() == writes || time.Now().After(deadline) {
				return errors.New("middleware: the writer of the access log is blocked")
			}
		}
	}
}

// run is the log's goroutine. It swaps two buffers: loops fill one while the other is written.
func (l *AccessLog) run() {
	defer close(l.ended)
	ticker := time.NewTicker(l.options.FlushEvery)
	defer ticker.Stop()
	var batch, lines []byte
	var reported uint64
	for last := false; !last; {
		select {
		case <-l.wake:
		case <-ticker.C:
		case <-l.closing:
			last = true
		}
		l.mu.Lock()
		batch, l.pending = l.pending, batch[:0]
		dropped := l.dropped
		l.mu.Unlock()
		lines = l.write(lines[:0], batch)
		if dropped > reported {
			l.options.Log.Warn("access log entries dropped", "count", dropped-reported)
			reported = dropped
		}
	}
}

// pieceBytes is about the size of one write.
const pieceBytes = 64 << 10

// writeLines writes a batch of lines in pieces.
func (l *AccessLog) writeLines(batch []byte) {
	for len(batch) > 0 {
		end := len(batch)
		if end > pieceBytes {
			end = pieceBytes + bytes.IndexByte(batch[pieceBytes:], '\n') + 1
		}
		l.output(batch[:end], bytes.Count(batch[:end], []byte{'\n'}))
		batch = batch[end:]
	}
}

// write formats a batch and writes it in pieces.
func (l *AccessLog) write(lines, batch []byte) []byte {
	if l.options.Line != nil {
		l.writeLines(batch)
		return lines
	}
	format := l.options.Format.append()
	entries := 0
	var e app.Entry
	for len(batch) > 0 {
		batch = decodeEntry(batch, &e)
		lines = append(format(lines, &e), '\n')
		if entries++; len(lines) >= pieceBytes || len(batch) == 0 {
			l.output(lines, entries)
			lines, entries = lines[:0], 0
		}
	}
	return lines
}

// output writes lines. If that fails, the lines are dropped, and the first of several failures is logged.
func (l *AccessLog) output(lines []byte, entries int) {
	n, err := l.w.Write(lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		l.mu.Lock()
		l.dropped += uint64(entries)
		l.mu.Unlock()
		if l.err == nil {
			l.options.Log.Error("access log cannot be written", "error", err)
		}
	}
	l.err = err
	l.writes.Add(1)
}

// An encoded entry has its numbers, 8 bytes each, and its texts, each after its length.
const (
	entryNumbers = 7
	entryTexts   = 11
)

func textsOf(e *app.Entry) [entryTexts]*string {
	return [...]*string{&e.Remote, &e.ClientIP, &e.Method, &e.Target, &e.Proto, &e.Route, &e.RequestID, &e.UserAgent, &e.Referer, &e.Reason, &e.GRPCStatus}
}

// encodedBytes returns an upper bound on the bytes that appendEntry appends.
func encodedBytes(e *app.Entry) int {
	n := 8 * entryNumbers
	for _, text := range textsOf(e) {
		n += binary.MaxVarintLen32 + len(*text)
	}
	return n
}

func appendEntry(b []byte, e *app.Entry) []byte {
	for _, number := range [entryNumbers]int64{
		e.Time.UnixNano(), int64(e.Timing.Total), int64(e.Timing.Queued), int64(e.Timing.Slices), int64(e.Timing.Backend),
		int64(e.Status), e.Bytes,
	} {
		b = binary.LittleEndian.AppendUint64(b, uint64(number))
	}
	for _, text := range textsOf(e) {
		b = append(binary.AppendUvarint(b, uint64(len(*text))), *text...)
	}
	return b
}

// decodeEntry decodes the first entry of b and returns the rest. The texts of the entry are views into b.
func decodeEntry(b []byte, e *app.Entry) []byte {
	var numbers [entryNumbers]int64
	for i := range numbers {
		numbers[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	e.Time = time.Unix(0, numbers[0])
	e.Timing = app.Timing{
		Total: time.Duration(numbers[1]), Queued: time.Duration(numbers[2]),
		Slices: time.Duration(numbers[3]), Backend: time.Duration(numbers[4]),
	}
	e.Status, e.Bytes = int(numbers[5]), numbers[6]
	b = b[8*entryNumbers:]
	for _, text := range textsOf(e) {
		n, used := binary.Uvarint(b)
		end := used + int(n)
		*text = httpparse.ViewString(b[used:end])
		b = b[end:]
	}
	return b
}
