package loop

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWheelAgainstModel arms, moves and disarms timers at random over the ranges of all
// levels, and compares the timers that fire with those that are due.
func TestWheelAgainstModel(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var w wheel
		now := rnd.Int64N(1 << 50)
		w.init(now)
		fired := map[*Timer]int64{}
		timers := make([]*Timer, 300)
		for i := range timers {
			timers[i] = &Timer{fire: func(tm *Timer) { fired[tm] = now }}
		}
		due := map[*Timer]int64{}
		for range 2000 {
			tm := timers[rnd.IntN(len(timers))]
			switch rnd.IntN(4) {
			case 0:
				w.remove(tm)
				delete(due, tm)
			default:
				at := now + rnd.Int64N(1<<(10+rnd.IntN(45)))
				w.add(tm, at)
				due[tm] = at
			}
			if rnd.IntN(8) == 0 {
				now += rnd.Int64N(1 << (15 + rnd.IntN(25)))
				w.advance(now)
				for f := range fired {
					at, ok := due[f]
					require.True(t, ok, "seed %d: a disarmed timer fired", seed)
					require.LessOrEqual(t, at, now, "seed %d: early", seed)
					require.False(t, f.Armed())
					delete(due, f)
				}
				clear(fired)
				for tm, at := range due {
					if at <= now-1<<tickShift || !tm.Armed() {
						t.Fatalf("seed %d: more than a tick late", seed)
					}
				}
				checkNext(t, &w, due)
			}
			if len(due) != w.count {
				t.Fatalf("seed %d: %d timers counted, %d armed", seed, w.count, len(due))
			}
		}
	}
}

// checkNext: the wheel must not sleep past the earliest timer.
func checkNext(t *testing.T, w *wheel, due map[*Timer]int64) {
	t.Helper()
	next := w.next()
	if len(due) == 0 && next != never {
		t.Fatal("an empty wheel has no next tick")
	}
	for _, at := range due {
		if next-1<<tickShift > at {
			t.Fatal("next is later than a timer")
		}
	}
}

func TestTimerMayRearmItself(t *testing.T) {
	l, m := newManual(t, Limits{})
	var tm Timer
	n := 0
	var again func(*Timer)
	again = func(*Timer) {
		if n++; n < 5 {
			l.AfterFunc(&tm, time.Millisecond, again)
		}
	}
	on(l, func() { l.AfterFunc(&tm, time.Millisecond, again) })
	m.advance(l, 20*time.Millisecond)
	require.Equal(t, 5, n)
	require.False(t, tm.Armed())
}

func BenchmarkTimer(b *testing.B) {
	var w wheel
	w.init(0)
	timers := make([]Timer, 1024)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.add(&timers[i&1023], int64(i)<<16+int64(i&15)<<22)
	}
}
