package loop

import (
	"io"
	"log/slog"
	"testing"
	"time"
)

// realTime is a driver on the real clock that does nothing else.
type realTime struct{ base time.Time }

func (r realTime) Now() int64 { return int64(time.Since(r.base)) }
func (realTime) Wake()        {}
func (realTime) WakeAt(int64) {}
func (realTime) Flush()       {}

type nothing struct{}

func (nothing) Run(*Task)         {}
func (nothing) Done(*Task, error) {}

// BenchmarkSlice is one task from start to end in a callback of its driver, the cost of
// every request.
func BenchmarkSlice(b *testing.B) {
	l := New(0, realTime{time.Now().Add(-time.Second)}, Limits{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	b.ReportAllocs()
	for b.Loop() {
		l.Drive().BeginTurn()
		_, _ = l.Start(nothing{})
		l.Drive().EndTurn()
	}
	on(l, func() { l.Drive().Shutdown(); l.Drive().Close() })
}
