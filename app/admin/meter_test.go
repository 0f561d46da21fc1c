// The meter is tested for what it counts and for handing on what it was told.

package admin

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// still is a driver of a loop that nobody turns.
type still struct{}

func (still) Now() int64      { return 1 }
func (still) Wake()           {}
func (still) WakeAfter(int64) {}

// ears count what they are told.
type ears struct{ ends, lates int }

func (e *ears) SliceEnd(*loop.Loop, *loop.Task, int64, int64, int64) { e.ends++ }

type lateEars struct{ ears }

func (e *lateEars) SliceLate(*loop.Loop, *loop.Task, int64, int64) { e.lates++ }

func TestMeter(t *testing.T) {
	l := loop.New(0, still{}, loop.Limits{}, slog.Default())
	plain, late := &ears{}, &lateEars{}
	for _, c := range []struct {
		next     func(*loop.Loop) loop.Observer
		wantLate bool
		why      string
	}{
		{nil, false, "nobody behind"},
		{func(*loop.Loop) loop.Observer { return plain }, false, "somebody who asks for slice ends: the loop need not tell more"},
		{func(*loop.Loop) loop.Observer { return late }, true, "somebody who asks for late starts"},
	} {
		m := &Meter{}
		o := m.Observe(c.next)(l)
		o.SliceEnd(l, nil, 1_000_000, 3_000_000, 8_000_000)
		observer, isLate := o.(loop.LateObserver)
		require.Equal(t, c.wantLate, isLate, c.why)
		if isLate {
			observer.SliceLate(l, nil, 0, 0)
		}
		require.Equal(t, 5*time.Millisecond, m.of(l).slices.Sum, c.why)
		require.Equal(t, 2*time.Millisecond, m.of(l).lags.Sum, c.why)
	}
	require.Equal(t, ears{ends: 1}, *plain)
	require.Equal(t, ears{ends: 1, lates: 1}, late.ears)
	var none *Meter
	require.Nil(t, none.of(l), "a server without a meter")
	o := (&Meter{}).Observe(nil)(l)
	require.Zero(t, testing.AllocsPerRun(100, func() { o.SliceEnd(l, nil, 1, 2, 3) }))
}

func BenchmarkMeter(b *testing.B) {
	l := loop.New(0, still{}, loop.Limits{}, slog.Default())
	o := (&Meter{}).Observe(nil)(l)
	for n := int64(0); b.Loop(); n++ {
		o.SliceEnd(l, nil, 0, n&1023, n&65535)
	}
}
