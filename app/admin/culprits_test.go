// Tests of the ranking of culprits.

package admin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/watchdog"
)

func ms(n int) watchdog.Millis { return watchdog.Millis(time.Duration(n) * time.Millisecond) }

func stackOf(key string, overruns uint64, cost int) watchdog.StackTotals {
	return watchdog.StackTotals{Key: key, Culprit: watchdog.Frame{Func: "main." + key, File: "main.go", Line: 7},
		OverrunTotals: watchdog.OverrunTotals{Overruns: overruns, Cost: ms(cost)}}
}

func TestCulprits(t *testing.T) {
	stacks := []watchdog.StackTotals{stackOf("mean", 3, 400), stackOf("short", 1, 100), stackOf("long", 1, 0)}
	keys := func(all []Culprit) (keys []string) {
		for _, c := range all {
			keys = append(keys, c.Key)
		}
		return keys
	}
	require.Equal(t, []string{"mean", "short", "long"}, keys(culprits(10, stacks, nil)), "as the watchdog ranks them")
	require.Len(t, culprits(2, stacks, nil), 2)

	going := watchdog.Overrun{ID: 9, Key: "endless", Held: ms(2), Ran: ms(60_000), Released: true}
	again := watchdog.Overrun{ID: 8, Key: "short", Held: ms(10), Ran: ms(10)}
	over := watchdog.Overrun{ID: 7, Final: true, Key: "long"}
	top := culprits(3, stacks, []watchdog.Overrun{going, again, over})
	require.Equal(t, []string{"endless", "short", "mean"}, keys(top), "current overruns come first")
	require.Equal(t, ms(60_000), top[0].LiveFor)
	require.EqualValues(t, 2, top[1].Overruns, "with the totals of the place")
	require.Equal(t, "main.short (main.go:7)", top[1].Place)
	require.False(t, top[2].Live)
	require.EqualValues(t, 1, stacks[1].Overruns, "showing is not counting")

	again.Victims = watchdog.Tally{Count: 3, Total: ms(24)}
	more := watchdog.Overrun{ID: 6, Key: "short", Ran: ms(40), Advice: "do less", Victims: watchdog.Tally{Count: 1, Total: ms(1)}}
	top = culprits(2, stacks, []watchdog.Overrun{going, again, more})
	require.Equal(t, []string{"short", "endless"}, keys(top), "those that cost others the most now come first, however long they are")
	require.Equal(t, ms(25), top[0].LiveCost, "of all that are going on there")
	require.Equal(t, ms(40), top[0].LiveFor, "the longest")
	require.Equal(t, "do less", top[0].Advice)
	require.Len(t, culprits(1, stacks, []watchdog.Overrun{going, again}), 1)
}
