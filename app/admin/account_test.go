// The account is tested with records as the watchdog keeps them: newest first, with those that are going on before the others.

package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/watchdog"
)

func ms(n int) watchdog.Millis { return watchdog.Millis(time.Duration(n) * time.Millisecond) }

func record(id uint64, key string, held, cost int) watchdog.Overrun {
	o := watchdog.Overrun{ID: id, Final: true, Key: key, Route: "/" + key, Verdict: watchdog.Spin, Blamed: true, Held: ms(held)}
	if cost > 0 {
		o.Victims = watchdog.Toll{Count: 1, Total: ms(cost), Worst: []watchdog.Victim{{Route: "/victim", Delay: ms(cost)}}}
	}
	return o
}

func TestAccountCountsEachOverrunOnce(t *testing.T) {
	a := newAccount()
	one, two, three := record(1, "a", 20, 5), record(2, "b", 30, 50), record(3, "a", 40, 0)
	going := record(4, "c", 100, 0)
	going.Final = false
	a.take([]watchdog.Overrun{one})
	a.take([]watchdog.Overrun{going, three, two, one})
	a.take([]watchdog.Overrun{going, three, two}) // the ring has forgotten the first
	require.Equal(t, 1, a.live)
	require.Equal(t, toll{Overruns: 3, Held: ms(90), Victims: 2, Cost: ms(55)}, *a.verdicts[watchdog.Spin])
	require.Equal(t, toll{Overruns: 2, Held: ms(60), Victims: 1, Cost: ms(5)}, *a.routes["/a"])
	require.Nil(t, a.routes["/c"], "what goes on is not added up")

	a.take([]watchdog.Overrun{record(4, "c", 200, 0), three, two})
	require.Zero(t, a.live)
	require.Equal(t, ms(200), a.routes["/c"].Held)
}

func TestAccountRanksByWhatOthersWaited(t *testing.T) {
	a := newAccount()
	a.take([]watchdog.Overrun{record(1, "long", 5000, 0), record(2, "short", 20, 100), record(3, "mean", 30, 400), record(4, "longer", 6000, 0)})
	var keys []string
	for _, c := range a.top(10, nil) {
		keys = append(keys, c.Key)
	}
	require.Equal(t, []string{"mean", "short", "longer", "long"}, keys, "who held an idle loop hurt nobody, whatever time it took")
	require.Len(t, a.top(2, nil), 2)

	going, again := record(9, "endless", 60_000, 0), record(8, "short", 10, 0)
	going.Final, again.Final = false, false
	top := a.top(3, []watchdog.Overrun{going, again, record(3, "mean", 30, 400)})
	require.Equal(t, []string{"endless", "short", "mean"}, []string{top[0].Key, top[1].Key, top[2].Key}, "what goes on comes first")
	require.Equal(t, ms(60_000), top[0].LiveFor)
	require.EqualValues(t, 2, top[1].Overruns, "with what is known of the place")
	require.False(t, top[2].Live)
	require.EqualValues(t, 1, a.culprits["short"].Overruns, "showing is not counting")
}

func TestAccountIsBounded(t *testing.T) {
	a := newAccount()
	for i := range 2 * culpritsMax {
		a.take([]watchdog.Overrun{record(uint64(i+1), fmt.Sprint("k", i), 20, i)})
	}
	require.Len(t, a.culprits, culpritsMax)
	require.Contains(t, a.culprits, fmt.Sprint("k", 2*culpritsMax-1), "the worst is kept")
	require.Len(t, a.routes, routesMax+1)
	require.EqualValues(t, 2*culpritsMax-routesMax, a.routes[otherRoute].Overruns)
	for i := range 2 * worstMax {
		a.take([]watchdog.Overrun{record(uint64(10_000+i), "worst", 20, 10_000+i)})
	}
	worst := a.culprits["worst"].Worst
	require.Len(t, worst, worstMax)
	require.Equal(t, ms(10_000+2*worstMax-1), worst[0].Delay)
}

func TestAccountBlamesNobodyForTheMachine(t *testing.T) {
	a := newAccount()
	o := record(1, "innocent", 500, 10)
	o.Verdict, o.Blamed = watchdog.GC, false
	a.take([]watchdog.Overrun{o})
	require.EqualValues(t, 1, a.verdicts[watchdog.GC].Overruns)
	require.Empty(t, a.routes)
	require.Empty(t, a.top(10, nil))
}
