package overruns

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/watchdog"
)

// log writes a log of one expensive, one long and one innocent place.
func log(t *testing.T) string {
	var b strings.Builder
	put := func(v any) {
		line, err := json.Marshal(v)
		require.NoError(t, err)
		b.Write(append(line, '\n'))
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	overrun := func(id uint64, key string, v watchdog.Verdict, held time.Duration, victims int) watchdog.Overrun {
		f := watchdog.Frame{Func: "main." + key, File: "main.go", Line: 7}
		o := watchdog.Overrun{ID: id, Final: true, Started: at, Held: watchdog.Millis(held), Verdict: v, Blamed: v.Blames(), Route: "/" + key,
			Key: key, Culprit: f, Stack: []watchdog.Frame{f, {Func: "main.serve", File: "main.go", Line: 9}}, Advice: "do not " + key}
		o.Victims = watchdog.Tally{Count: victims, Total: watchdog.Millis(held) * watchdog.Millis(victims),
			Waited: watchdog.Sparse{60: int64(victims)}, Without: watchdog.Sparse{2: int64(victims)}}
		return o
	}
	put(overrun(1, "long", watchdog.Spin, time.Second, 0))
	put(overrun(2, "dear", watchdog.Sleep, 50*time.Millisecond, 30))
	put(overrun(3, "dear", watchdog.Sleep, 70*time.Millisecond, 20))
	put(overrun(4, "gc", watchdog.GC, time.Second, 9))
	b.WriteString("\nnot json\n{\"level\":\"INFO\"}\n")
	put(watchdog.Summary{From: at, To: at, Waits: watchdog.Sparse{2: 950, 60: 50}})
	return b.String()
}

func TestRanksByWhatOthersWaited(t *testing.T) {
	l, err := Read(strings.NewReader(log(t)))
	require.NoError(t, err)
	require.Equal(t, 4, l.Records)
	require.Equal(t, 2, l.Bad)
	require.Len(t, l.Places, 2)
	require.Equal(t, "/dear", l.Places[0].Route, "short, but others waited")
	require.Equal(t, 50, l.Places[0].Victims)
	require.EqualValues(t, 50*30e6+70*20e6, l.Places[0].Cost)
	require.Greater(t, l.Wait(0.99), watchdog.Millis(10*time.Millisecond))
	require.Less(t, l.WaitWithout(l.Places[0], 0.99), watchdog.Millis(time.Millisecond), "all that waited long waited for it")
	require.Equal(t, l.Wait(0.99), l.WaitWithout(l.Places[1], 0.99), "no slice waited for that one")

	var out strings.Builder
	require.NoError(t, l.Table(&out, 1))
	for _, want := range []string{"4 overruns from 2026-01-02T03:04:05Z", "2 other lines skipped", "main.dear (main.go:7)", "and 1 more", "do not dear",
		"Cause outside of the code: 1 gc."} {
		require.Contains(t, out.String(), want)
	}
	require.NotContains(t, out.String(), "main.long (main.go:7)")
}

func TestFolded(t *testing.T) {
	l, err := Read(strings.NewReader(log(t)))
	require.NoError(t, err)
	var held, waited strings.Builder
	require.NoError(t, l.Folded(&held, Weights["held"]))
	require.Equal(t, "main.serve;main.dear;[sleep] 120000\nmain.serve;main.long;[spin] 1000000\n", held.String())
	require.NoError(t, l.Folded(&waited, Weights["victims"]))
	require.Contains(t, waited.String(), "[sleep] 2900000\n")
}

func TestReadsStrangeLogs(t *testing.T) {
	l, err := Read(strings.NewReader(""))
	require.NoError(t, err, "nothing happened")
	var out strings.Builder
	require.NoError(t, l.Table(&out, 10))
	require.Equal(t, "0 overruns\n", out.String())
	_, err = Read(strings.NewReader("a\nb\n"))
	require.Error(t, err, "another kind of file")
	_, err = Read(strings.NewReader(strings.Repeat("x", lineMax+1)))
	require.Error(t, err)
	l, err = Read(strings.NewReader(`{"id":1,"blamed":true,"victims":{"waited":{"-5":3,"9999":1}}}`))
	require.NoError(t, err, "buckets out of range do no harm")
	require.Len(t, l.Places, 1)
}

func TestInnocentsAreGroupedByWhatIsKnown(t *testing.T) {
	for _, c := range []struct {
		counts map[watchdog.Verdict]int
		want   string
		why    string
	}{
		{nil, "", "every overrun blames code"},
		{map[watchdog.Verdict]int{watchdog.GC: 1, watchdog.WatchdogLate: 2}, "\nCause outside of the code: 1 gc, 2 watchdog-late.\n", "in the order of the verdicts"},
		{map[watchdog.Verdict]int{watchdog.Unknown: 3}, "\nCause not determined: 3 unknown.\n", "the code may be the cause"},
		{map[watchdog.Verdict]int{watchdog.Unknown: 3, watchdog.Starved: 1}, "\nCause outside of the code: 1 cpu-starved.\n\nCause not determined: 3 unknown.\n", "both"},
	} {
		var out strings.Builder
		require.NoError(t, (&Log{Innocent: c.counts}).innocents(&out))
		require.Equal(t, c.want, out.String(), c.why)
	}
}
