package loop_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
)

// BenchmarkParkedTasks reports the bytes of heap and stacks that one of 10,000
// waiting tasks takes over the same loop idle.
func BenchmarkParkedTasks(b *testing.B) {
	const count = 10000
	held := func() uint64 {
		for range 3 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for _, kind := range []struct {
		why  string
		wait func(l *looptest.Loop, t *loop.Task)
	}{
		{"asleep", func(_ *looptest.Loop, t *loop.Task) { _ = t.Sleep(time.Hour) }},
		{"asleep behind 4 KiB of stack", func(_ *looptest.Loop, t *loop.Task) { deep(t) }},
		{"in a Read of a connection of their own", func(l *looptest.Loop, t *loop.Task) {
			c, err := l.DialContext(b.Context(), "tcp", "backend:1")
			if err == nil {
				_, _ = c.Read(make([]byte, 1))
			}
		}},
	} {
		b.Run(kind.why, func(b *testing.B) {
			total := 0.0
			for b.Loop() {
				l := looptest.New(b, looptest.Options{})
				l.Listen("backend:1", func(*looptest.Peer) {})
				before := held()
				l.On(func() {
					for range count {
						_, err := l.Loop.Start(&task{func(t *loop.Task) { kind.wait(l, t) }, make(chan error, 1)})
						require.NoError(b, err)
					}
				})
				l.Settle()
				total += float64(held()-before) / count
				l.Close()
			}
			b.ReportMetric(total/float64(b.N), "B/task")
		})
	}
}

//go:noinline
func deep(t *loop.Task) byte {
	var frame [4 << 10]byte
	frame[t.ID()%4096] = 1
	_ = t.Sleep(time.Hour)
	return frame[7]
}
