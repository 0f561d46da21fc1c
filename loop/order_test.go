package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// kind is a kind of task whose slice takes a given time on the manual clock.
type kind struct {
	m    *manual
	cost Cost
	took time.Duration
	name string
	log  *[]string
}

func (k *kind) Run(*Task) {
	k.m.now += int64(k.took)
	*k.log = append(*k.log, k.name)
}
func (k *kind) Done(*Task, error) {}

func TestLightSlicesRunFirst(t *testing.T) {
	for _, c := range []struct {
		why    string
		limits Limits
		want   [][]string // what runs in each turn
	}{
		{"light ones at once, heavy ones one in each turn", Limits{},
			[][]string{{"light", "light", "heavy"}, {"heavy"}, {"heavy"}}},
		{"first come, first served", Limits{FIFO: true},
			[][]string{{"heavy", "heavy", "light", "heavy", "light"}}},
	} {
		t.Run(c.why, func(t *testing.T) {
			l, m := newManual(t, c.limits)
			var log []string
			light := &kind{m: m, took: 50 * time.Microsecond, name: "light", log: &log}
			heavy := &kind{m: m, took: 3 * time.Millisecond, name: "heavy", log: &log}
			begin := func(kinds ...*kind) {
				for _, k := range kinds {
					_, err := l.StartOf(k, &k.cost)
					require.NoError(t, err)
				}
			}
			on(l, func() { begin(light, heavy) }) // to learn from
			m.settle(l)
			log = nil
			require.True(t, l.Post(func() { begin(heavy, heavy, light, heavy, light) }))
			for _, want := range c.want {
				require.True(t, m.woken, "the loop asks for a turn")
				m.woken = false
				l.Drive().Turn()
				require.Equal(t, want, log)
				log = nil
			}
			require.False(t, m.woken, "nothing is left")
		})
	}
}

// TestHeavySlicesAreNotPassedOverForEver: turns without posted functions run the oldest
// heavy slice once it has waited for passOverMax.
func TestHeavySlicesAreNotPassedOverForEver(t *testing.T) {
	l, m := newManual(t, Limits{})
	var log []string
	light := &kind{m: m, took: time.Millisecond / 10, name: "light", log: &log}
	heavy := &kind{m: m, took: 3 * time.Millisecond, name: "heavy", log: &log}
	on(l, func() { _, _ = l.StartOf(heavy, &heavy.cost) })
	m.settle(l)
	log = nil
	on(l, func() { _, _ = l.StartOf(heavy, &heavy.cost) })
	turns := 0
	for len(log) == 0 || log[len(log)-1] != "heavy" {
		on(l, func() { _, _ = l.StartOf(light, &light.cost) }) // an event each time; the bell is never heard
		turns++
		require.Less(t, turns, 1000)
	}
	require.InDelta(t, float64(passOverMax)/1e5, turns, 10, "turns of 0.1 ms")
}

func TestCostLearns(t *testing.T) {
	var c Cost
	require.Zero(t, c.Estimates())
	c.learn(0, 1000)
	require.Equal(t, time.Microsecond, c.Estimates()[0], "the first slice is believed")
	for range 64 {
		c.learn(0, 5000)
	}
	require.InDelta(t, 5000, c.ns[0], 10)
	c.learn(100, 7000)
	require.Equal(t, int64(7000), c.ns[costSlices-1], "later ones share an estimate")
}
