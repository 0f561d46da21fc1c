package watchdog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/testrig"
)

func testReporter(c Config) (*reporter, *reporterLog) {
	log := &reporterLog{}
	c.Log = slog.New(slog.NewTextHandler(&log.Buffer, nil))
	log.reporter = newReporter(c.withDefaults())
	log.reporter.onNewStack = func(uint64) {}
	return log.reporter, log
}

// reporterLog is a log that is complete when it is read.
type reporterLog struct {
	testrig.Buffer
	reporter *reporter
}

func (l *reporterLog) String() string {
	l.reporter.awaitWrites()
	return l.Buffer.String()
}

func overrunAt(id uint64, line int, held time.Duration) Overrun {
	stack := []Frame{{"main.handler", "handler.go", line}}
	return Overrun{ID: id, Final: true, Route: "/h", Verdict: Sleep, Blamed: true, Held: Millis(held), Ran: Millis(held), Budget: Millis(10 * time.Millisecond),
		Stack: stack, Culprit: stack[0], Key: stackKey(Sleep, stack), Victims: Tally{Count: 2, Total: Millis(held)}}
}

func TestTheSameStackIsReportedOnceAndThenSummedUp(t *testing.T) {
	d, log := testReporter(Config{QuietMin: time.Second})
	for id := range uint64(100) {
		d.close(overrunAt(id, 7, 20*time.Millisecond), false)
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "once")
	d.close(overrunAt(200, 8, 20*time.Millisecond), false)
	require.Equal(t, 2, strings.Count(log.String(), "\n"), "another line is another stack")
	d.maintain(time.Now())
	require.Equal(t, 2, strings.Count(log.String(), "\n"), "still quiet")
	d.maintain(time.Now().Add(2 * time.Second))
	require.Contains(t, log.String(), "count=99 held=1.98s ran=1.98s victim_time=1.98s")
	d.maintain(time.Now().Add(3 * time.Second))
	require.Equal(t, 3, strings.Count(log.String(), "\n"), "summed up once")
}

func TestAttributesDoNotEndInALineBreak(t *testing.T) {
	d, log := testReporter(Config{})
	var tree Tree
	for _, leaf := range []string{"a.x", "a.y"} {
		tree.add([]Frame{{leaf, "a.go", 1}, {"main.f", "f.go", 2}})
	}
	o := overrunAt(1, 7, 20*time.Millisecond)
	o.Samples, o.Tree = 2, tree.Children
	d.close(o, false)
	require.Contains(t, log.String(), `samples="2 main.f (f.go:2)\n  1 a.x (a.go:1)\n  1 a.y (a.go:1)"`)
}

func TestQuietTimeDoubles(t *testing.T) {
	d, _ := testReporter(Config{QuietMin: time.Second, QuietMax: 5 * time.Second})
	o := overrunAt(1, 7, time.Millisecond)
	now := time.Now()
	var admitted []int
	for second := range 30 {
		if d.admit(&o, now.Add(time.Duration(second)*time.Second)) != nil {
			admitted = append(admitted, second)
		}
	}
	require.Equal(t, []int{0, 1, 3, 7, 12, 17, 22, 27}, admitted, "1, 2, 4, then 5 seconds")
	require.NotNil(t, d.admit(&o, now.Add(time.Hour)))
	require.NotNil(t, d.admit(&o, now.Add(time.Hour+time.Second)), "after a silence it begins anew")
}

func TestReportsOfAMinuteAreCapped(t *testing.T) {
	d, log := testReporter(Config{ReportsPerMinuteMax: 10})
	d.maintain(time.Now())
	for id := range uint64(50) {
		d.close(overrunAt(id, int(id), time.Millisecond), false)
	}
	require.Equal(t, 10, strings.Count(log.String(), "\n"))
	d.maintain(time.Now().Add(61 * time.Second))
	require.Contains(t, log.String(), "reports_dropped=40")
}

func TestALongOverrunBreaksTheSilence(t *testing.T) {
	d, log := testReporter(Config{})
	d.close(overrunAt(1, 7, 20*time.Millisecond), false)
	o := overrunAt(2, 7, 20*time.Millisecond)
	o.Final = false
	d.open(o)
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "a known stack, and short so far")
	o.Held, o.Ran = Millis(2*time.Second), Millis(2*time.Second)
	d.update(o)
	require.Contains(t, log.String(), "a loop is still held")
	o.Final = true
	d.close(o, true)
	require.Contains(t, log.String(), "held=2s")
}

func TestInnocentOverrunsAreCountedOnly(t *testing.T) {
	var sink bytes.Buffer
	d, log := testReporter(Config{Sink: &sink, SinkLinesPerSecondMax: 2})
	for id := range uint64(3) {
		o := overrunAt(id, 7, time.Second)
		o.Verdict, o.Blamed = GC, false
		d.close(o, false)
	}
	require.Empty(t, log.String())
	require.EqualValues(t, 3, d.counts[GC].Overruns)
	require.Equal(t, 2, strings.Count(sink.String(), "\n"), "SinkLinesPerSecondMax a second")
	require.EqualValues(t, 1, d.losses())
	var o Overrun
	require.NoError(t, json.Unmarshal(bytes.SplitN(sink.Bytes(), []byte("\n"), 2)[0], &o))
	require.Equal(t, Millis(time.Second), o.Held, "as written")
	require.Equal(t, GC, o.Verdict)
}

func TestRecentIsBoundedNewestFirst(t *testing.T) {
	d, _ := testReporter(Config{RecentMax: 3})
	for id := range uint64(5) {
		d.close(overrunAt(id, 7, time.Millisecond), false)
	}
	live := overrunAt(9, 8, time.Millisecond)
	live.Final, live.Started = false, time.Now()
	d.open(live)
	var ids []uint64
	for _, o := range d.recent() {
		ids = append(ids, o.ID)
	}
	require.Equal(t, []uint64{9, 4, 3, 2}, ids)
}

func TestStacksAreBounded(t *testing.T) {
	d, _ := testReporter(Config{})
	expensive := overrunAt(1, 1, time.Hour)
	d.close(expensive, false)
	for id := range uint64(2 * stacksMax) {
		d.close(overrunAt(id+2, int(id)+2, time.Millisecond), false)
	}
	require.Len(t, d.stacks, stacksMax)
	require.Contains(t, d.stacks, expensive.Key, "the one that cost the most stays")
}

func TestSnapshotsKeepWithinTheirBytes(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		name := filepath.Join(dir, fmt.Sprintf("%s%d.json.gz", snapshotPrefix, i))
		require.NoError(t, os.WriteFile(name, make([]byte, 1000), 0o600))
		stamp := time.Now().Add(time.Duration(i-20) * time.Minute)
		require.NoError(t, os.Chtimes(name, stamp, stamp))
	}
	foreign := filepath.Join(dir, "else")
	require.NoError(t, os.WriteFile(foreign, make([]byte, 5000), 0o600))
	w := New(Config{SnapshotDir: dir, SnapshotBytesMax: 5000})
	require.NoError(t, w.writeSnapshot(99))
	entries, err := filepath.Glob(filepath.Join(dir, snapshotPrefix+"*"))
	require.NoError(t, err)
	total := int64(0)
	for _, e := range entries {
		info, err := os.Stat(e)
		require.NoError(t, err)
		total += info.Size()
	}
	require.LessOrEqual(t, total, int64(5000))
	require.NoFileExists(t, filepath.Join(dir, snapshotPrefix+"0.json.gz"), "the oldest goes first")
	require.FileExists(t, filepath.Join(dir, snapshotPrefix+"9.json.gz"))
	require.FileExists(t, foreign, "other files are kept")
}

func TestTotals(t *testing.T) {
	w := New(Config{Log: slog.New(slog.DiscardHandler), RecentMax: 4})
	ln := w.Observe(loop.New(0, still{time.Now()}, loop.Limits{}, nil)).(*watchedLoop)
	for id := range uint64(2 * totalRoutesMax) {
		o := overrunAt(id, int(id%3), 20*time.Millisecond)
		o.Route, o.Method = fmt.Sprint("/", id), "GET"
		if id%2 == 0 {
			o.Held, o.Released = Millis(2*time.Millisecond), true
		}
		o.Victims.Worst = []Victim{{Delay: Millis(id)}}
		w.reporter.close(o, false)
	}
	innocent := overrunAt(9999, 1, time.Second)
	innocent.Verdict, innocent.Blamed = GC, false
	w.reporter.close(innocent, false)
	going := overrunAt(10000, 8, time.Second)
	w.reporter.open(going)
	ln.dropped = 3
	totals := w.Totals()
	require.EqualValues(t, 1, totals.Active)
	n := uint64(2 * totalRoutesMax)
	require.Equal(t, OverrunTotals{Overruns: n, Held: Millis(n/2) * Millis(22*time.Millisecond), Ran: Millis(n) * Millis(20*time.Millisecond), Released: n / 2,
		Victims: 2 * n, Cost: Millis(n) * Millis(20*time.Millisecond)}, totals.Verdicts[Sleep], "also those that Recent has forgotten")
	require.EqualValues(t, 1, totals.Verdicts[GC].Overruns)
	require.EqualValues(t, 3, totals.Verdicts[Unknown].Overruns, "those that were too many")
	require.Len(t, totals.Routes, totalRoutesMax+1)
	require.EqualValues(t, totalRoutesMax, totals.Routes[OtherRoutes].Overruns)
	stacks := w.Stacks()
	require.Len(t, stacks, 3, "the one that goes on is not added up")
	require.GreaterOrEqual(t, stacks[0].Cost, stacks[1].Cost)
	require.Len(t, stacks[0].Worst, stackWorstMax)
	require.Greater(t, stacks[0].Worst[0].Delay, stacks[0].Worst[1].Delay)
}

func TestRouteTableSurvivesReloads(t *testing.T) {
	var rt routeTable
	for range 3000 { // each stands for a reload, which creates new patterns
		for _, name := range []string{"/a", "/b"} {
			route := strings.Clone(name)
			rt.observe(&route, time.Millisecond)
			rt.observe(&route, time.Millisecond)
		}
	}
	rt.observe(nil, time.Millisecond)
	counts := map[string]uint64{}
	rt.each(func(s *routeStats) { counts[s.name] += s.slices.Count() })
	require.Equal(t, map[string]uint64{"/a": 6000, "/b": 6000, "": 1}, counts)
	for i := range 2 * routesMax {
		route := fmt.Sprint("/", i)
		rt.observe(&route, time.Millisecond)
	}
	counts = map[string]uint64{}
	rt.each(func(s *routeStats) { counts[s.name] += s.slices.Count() })
	require.Len(t, counts, routesMax+1)
	require.EqualValues(t, routesMax+3, counts[OtherRoutes])
}
