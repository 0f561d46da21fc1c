package report

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/bench/run"
)

// sample makes one round with the same latency, in microseconds, for all of its requests.
func sample(scenario, name, peer string, rate, cpu float64, latency int64) run.Sample {
	return run.Sample{Scenario: scenario, Case: name, Peer: peer, Rate: rate, CPUMicros: cpu, PerSecond: 1000, Answered: 1000, RSS: 5 << 20,
		Classes: []run.Class{{Name: "a", Count: 1000, P50: float64(latency), P90: float64(latency), P99: float64(latency), P999: float64(latency),
			Max: float64(latency), Histogram: [][2]int64{{latency * 1000, 1000}}}}}
}

func results() *Results {
	r := &Results{
		Machine: run.Machine{CPU: "<fast>", Cores: 2}, Setup: Setup{Rounds: 3, WindowSeconds: 1, LoadCore: 1},
		Peers:    []PeerInfo{{Name: "tafe", Version: "v1 & more", About: "one loop"}, {Name: "nethttp"}},
		Sections: []Section{{Name: "seed", Number: 5, Title: "The seed experiment"}, {Name: "plaintext", Number: 1, Title: "Plaintext"}, {Name: "unplayed", Title: "Unplayed"}},
		Absent:   []string{"apache: not installed; apt-get install apache2"},
	}
	for i := range 3 {
		noise := float64(i)
		r.Samples = append(r.Samples,
			sample("plaintext", "short", "tafe", 0, 10+noise, 500), sample("plaintext", "short", "nethttp", 0, 20+noise, 900),
			sample("plaintext", "long", "tafe", 0, 30+noise, 500), sample("plaintext", "long", "nethttp", 0, 20+noise, 900),
			sample("seed", "64 concurrent, at 60% of capacity", "tafe", 500, 1100, 18_000), sample("seed", "64 concurrent, at 60% of capacity", "nethttp", 400, 1200, 17_000))
	}
	return r
}

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		why    string
		values []float64
		want   Spread
	}{
		{"nothing measured", nil, Spread{}},
		{"one round", []float64{3}, Spread{3, 3, 3}},
		{"the middle one of an odd number", []float64{9, 1, 2}, Spread{2, 1, 9}},
		{"between the middle two of an even number", []float64{4, 1, 2, 100}, Spread{3, 1, 100}},
	} {
		require.Equal(t, tc.want, SpreadOf(tc.values), tc.why)
	}
}

func TestPercentilesMergeAllRounds(t *testing.T) {
	g := Group{Samples: []run.Sample{
		{Classes: []run.Class{{Histogram: [][2]int64{{1_000_000, 900}}}}},
		{Classes: []run.Class{{Histogram: [][2]int64{{1_000_000, 90}, {50_000_000, 10}}}}},
	}}
	at := map[string]float64{}
	for _, p := range g.percentiles(0) {
		at[fmt.Sprintf("%.2f", p[0])] = p[1]
	}
	require.Equal(t, 1000.0, at["1.00"], "90%: fast")
	require.Equal(t, 1000.0, at["2.00"], "99%: 990 of 1000 are fast")
	require.Equal(t, 50_000.0, at["2.05"], "beyond: slow")
	require.Nil(t, g.percentiles(1), "no such class")
	few := Group{Samples: []run.Sample{{Classes: []run.Class{{Histogram: [][2]int64{{1000, 10}}}}}}}
	require.InDelta(t, 1, few.percentiles(0)[len(few.percentiles(0))-1][0], 0.06, "ten samples say nothing beyond 90%")
}

func TestBehindTellsEveryLoss(t *testing.T) {
	cases := results().cases("plaintext")
	require.Empty(t, cases[0].Behind)
	require.Equal(t, []string{"CPU per request 31 µs, nethttp 21 µs (1.48 times)"}, cases[1].Behind)
	require.Equal(t, []string{"99th percentile 18 ms, nethttp 17 ms (1.06 times)"}, results().cases("seed")[0].Behind)
}

func TestMarks(t *testing.T) {
	s := sample("plaintext", "short", "tafe", 0, 1, 1)
	s.LoadBusy, s.ServerBusy, s.OtherBusy = 0.99, 0.5, 0.3
	require.Equal(t, "*†", newRow(Group{Samples: []run.Sample{s}}).Mark)
	s.Rate = 100
	require.False(t, s.LoadBound(), "on a schedule a busy generator shows in its lateness, not here")
	s.Rate, s.ServerBusy = 0, 1
	require.False(t, s.LoadBound(), "both are at their limit: the server is too")
}

func TestPageStandsAlone(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, results().HTML(&b))
	page := b.String()
	for _, outside := range []string{"src=", "href=", "@import", "url("} {
		require.NotContains(t, page, outside, "the page needs no other file")
	}
	for _, want := range []string{
		"&lt;fast&gt;", "v1 &amp; more", "<polyline", "<rect", "nethttp, 400/s", "Plaintext, long: CPU per request",
		"apt-get install apache2", "The seed experiment",
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "Unplayed")
	require.Less(t, strings.Index(page, "The seed experiment"), strings.Index(page, ">Plaintext<"), "the seed experiment comes first")
	require.Equal(t, strings.Count(page, "<svg"), strings.Count(page, "</svg>"))
	require.NotContains(t, html.UnescapeString(page), "NaN")
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir() + "/a/b"
	require.NoError(t, results().Save(dir))
	again, err := Load(dir + "/results.json")
	require.NoError(t, err)
	require.Equal(t, results(), again)
}

func TestTables(t *testing.T) {
	var b bytes.Buffer
	Table(&b, results())
	require.Contains(t, b.String(), "plaintext: short")
	require.Regexp(t, `tafe +11\.00 +\(10\.00-12\.00\) +1000 `, b.String())
	b.Reset()
	Ratios(&b, results(), "tafe", "nethttp")
	require.Regexp(t, `plaintext: short +11\.00 +21\.00 +1\.91x +500 +900 +1\.80x`, b.String())
}

func TestApart(t *testing.T) {
	ys := []float64{10, 11, 12, 99}
	apart(ys, 10, 100)
	require.Equal(t, []float64{10, 20, 30, 99}, ys)
	ys = []float64{98, 99, 100}
	apart(ys, 10, 100)
	require.Equal(t, []float64{80, 90, 100}, ys)
}

func TestDurationTakesTheUnitThatFits(t *testing.T) {
	for micros, want := range map[float64]string{0.75: "0.75 µs", 10: "10 µs", 1500: "1.5 ms", 123456: "123 ms", 2.5e6: "2.5 s"} {
		require.Equal(t, want, duration(micros))
	}
}

func TestDifference(t *testing.T) {
	var base, same, more [][]float64
	for start := range 20 {
		drift := 1 + float64(start%7)/10 // of the machine: it reaches both
		noise := 1 + float64(start%3-1)/100
		base = append(base, []float64{10 * drift, 11 * drift, 12 * drift})
		same = append(same, []float64{10 * drift * noise, 11 * drift * noise, 12 * drift * noise})
		more = append(more, []float64{10.5 * drift, 11.55 * drift, 50 * drift})
	}
	require.Equal(t, Difference{}, DifferenceOf(base, base))
	d := DifferenceOf(base, same)
	require.InDelta(t, 0, d.Share, 2*d.Error)
	require.InDelta(t, 0.002, d.Error, 0.001)
	require.InDelta(t, 0.05, DifferenceOf(base, more).Share, 1e-9, "one turn that was disturbed does not count")
	require.Zero(t, DifferenceOf(base[:1], more[:1]).Error, "nothing can be said of one start")
}
