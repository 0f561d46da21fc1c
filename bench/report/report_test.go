package report

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/bench/load"
	"tafe/bench/run"
)

// sample makes one round with the same latency, in microseconds, for all of its requests.
func sample(scenario, name, peer string, rate, cpu float64, latency int64) run.Sample {
	return run.Sample{Scenario: scenario, Case: name, Peer: peer, Rate: rate, CPUMicros: cpu, PerSecond: 1000, Answered: 1000, RSS: 5 << 20,
		Classes: []run.Class{{Name: "a", Count: 1000, P50: float64(latency), P90: float64(latency), P99: float64(latency), P999: float64(latency),
			Max: float64(latency), Histogram: run.Counts{at(latency, 1000)}}}}
}

// at is some latencies of about as many microseconds.
func at(micros, n int64) run.Count {
	return run.Count{Step: int(math.Round(math.Log(float64(micros)) / math.Log(1.02))), N: n}
}

func results() *Results {
	r := &Results{
		Machine: run.Machine{CPU: "<fast>", Cores: 2}, Setup: Setup{Rounds: 5, WindowSeconds: 1, LoadCore: 1},
		Peers:    []PeerInfo{{Name: "tafe", Version: "v1 & more", About: "one loop"}, {Name: "nethttp"}},
		Sections: []Section{{Name: "seed", Number: 5, Title: "The seed experiment"}, {Name: "plaintext", Number: 1, Title: "Plaintext", Method: "all connections ask", Command: "go run it"}, {Name: "unplayed", Title: "Unplayed"}},
		Absent:   []string{"apache: not installed; apt-get install apache2"},
	}
	for i := range 5 {
		noise := float64(i)
		round := []run.Sample{
			sample("plaintext", "short", "tafe", 0, 10+noise, 500), sample("plaintext", "short", "nethttp", 0, 20+noise, 900),
			sample("plaintext", "long", "tafe", 0, 30+noise, 500), sample("plaintext", "long", "nethttp", 0, 20+noise, 900),
			sample("seed", "64 concurrent, at 60% of capacity", "tafe", 500, 1100, 18_000), sample("seed", "64 concurrent, at 60% of capacity", "nethttp", 400, 1200, 17_000),
		}
		for _, s := range round {
			s.Round = i
			r.Samples = append(r.Samples, s)
		}
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
		{Classes: []run.Class{{Histogram: run.Counts{at(1000, 900)}}}},
		{Classes: []run.Class{{Histogram: run.Counts{at(1000, 90), at(50_000, 10)}}}},
	}}
	over := map[string]float64{}
	for _, p := range g.percentiles(0) {
		over[fmt.Sprintf("%.2f", p[0])] = p[1]
	}
	require.InEpsilon(t, 1000, over["1.00"], 0.01, "90%: fast")
	require.InEpsilon(t, 1000, over["2.00"], 0.01, "99%: 990 of 1000 are fast")
	require.InEpsilon(t, 50_000, over["2.05"], 0.01, "beyond: slow")
	require.Nil(t, g.percentiles(1), "no such class")
	few := Group{Samples: []run.Sample{{Classes: []run.Class{{Histogram: run.Counts{at(1, 10)}}}}}}
	require.InDelta(t, 1, few.percentiles(0)[len(few.percentiles(0))-1][0], 0.06, "ten samples say nothing beyond 90%")
}

func TestJudge(t *testing.T) {
	group := func(figures ...float64) (g Group) {
		for i, v := range figures {
			g.Samples = append(g.Samples, run.Sample{Round: i, CPUMicros: v})
		}
		return g
	}
	for _, tc := range []struct {
		why         string
		mine, other Group
		want        Word
	}{
		{"lower in each round", group(10, 11, 12, 10, 11), group(11, 12, 13, 11, 12), Ahead},
		{"higher in each round", group(11, 12, 13, 11, 12), group(10, 11, 12, 10, 11), Behind},
		{"the machine drifts, and the ratio does not", group(10, 15, 20, 10, 15), group(10.5, 15.8, 21, 10.6, 15.9), Ahead},
		{"one round of five says the opposite", group(10, 10, 10, 10, 10), group(11, 11, 11, 11, 9.9), Level},
		{"equal figures", group(10, 10, 10, 10, 10), group(10, 10, 10, 10, 10), Level},
		{"noise", group(10, 12, 11, 10, 12), group(11, 11, 11, 11, 11), Level},
		{"one outlier among ten rounds", group(10, 10, 10, 10, 10, 10, 10, 10, 10, 30), group(11, 11, 11, 11, 11, 11, 11, 11, 11, 11), Ahead},
		{"too few rounds", group(1, 1, 1, 1), group(2, 2, 2, 2), Unknown},
		{"rounds that failed leave too few pairs", group(1, 1, 1, 1, 0), group(2, 2, 2, 2, 2), Unknown},
	} {
		got := Judge(tc.mine, tc.other, func(s run.Sample) float64 { return s.CPUMicros })
		require.Equal(t, tc.want, got.Word, "%s: %v", tc.why, got)
		if tc.want == Unknown {
			require.InDelta(t, 2, got.Ratio, 1e-9, tc.why)
			continue
		}
		require.LessOrEqual(t, got.Low, got.Ratio, tc.why)
		require.LessOrEqual(t, got.Ratio, got.High, tc.why)
	}
	v := Judge(group(10, 10, 10, 10, 10), group(20, 21, 22, 23, 24), func(s run.Sample) float64 { return s.CPUMicros })
	require.InDelta(t, 2.2, v.Ratio, 0.01)
	require.InDelta(t, 2.0, v.Low, 1e-9, "of five rounds the least")
	require.InDelta(t, 2.4, v.High, 1e-9, "and the greatest")
}

// The numbers are those of tables of Wilcoxon's signed ranks, one-sided 5%, where one lower rank sum is one average more.
func TestOutside(t *testing.T) {
	for n, want := range map[int]int{4: 0, 5: 0, 6: 2, 7: 3, 8: 5, 9: 8, 10: 10, 20: 60} {
		require.Equal(t, want, outside(n), "%d rounds", n)
	}
}

// sectionOf judges a scenario of results.
func sectionOf(scenario string) *sectionView {
	s := &sectionView{}
	s.Title = scenario
	for _, groups := range results().cases(scenario) {
		s.judge(groups)
	}
	s.Claims = claims(s.Peers, s.Verdicts)
	return s
}

func TestEveryLossIsNamed(t *testing.T) {
	require.Equal(t, []string{"plaintext, long: CPU per request 32 µs, 1.46 times that of nethttp (1.42 to 1.5)"}, sectionOf("plaintext").losses())
	require.Equal(t, []string{"seed, 64 concurrent, at 60% of capacity: 99th percentile 18 ms, 1.06 times that of nethttp (1.06 to 1.06)"}, sectionOf("seed").losses())
}

func TestClaims(t *testing.T) {
	require.Equal(t, []string{"CPU per request: nethttp: ahead in 1, behind in 1 of 2 cases (its figure is 0.69 to 1.84 times)"}, sectionOf("plaintext").Claims)
	require.Equal(t, []string{"99th percentile: behind nethttp (1.06 times)", "CPU per request: ahead of nethttp (1.09 times)"}, sectionOf("seed").Claims)
	cell := func(w Word, ratio float64) Verdict { return Verdict{Word: w, Ratio: ratio} }
	rows := []verdictRow{
		{Measure: "memory", Cells: []Verdict{cell(Ahead, 2), cell(Level, 1.01), cell(Behind, 0.5), {}, cell(Unknown, 0)}},
		{Measure: "memory", Cells: []Verdict{cell(Ahead, 3), cell(Level, 0.99), {}, {}, {}}},
	}
	require.Equal(t, []string{"Memory: ahead of a (2 to 3 times); level with b; behind c (2 times)"}, claims([]string{"a", "b", "c", "d", "e"}, rows))
	require.Equal(t, []string{"Memory: too few rounds for a verdict"}, claims([]string{"d"}, []verdictRow{{Measure: "memory", Cells: []Verdict{cell(Unknown, 0)}}}))
}

// A scenario that sends messages is compared by the CPU for each and by the time until the last client has it.
func TestMeasures(t *testing.T) {
	names := func(s run.Sample) (names []string) {
		for _, m := range measures(Group{Samples: []run.Sample{s}}) {
			names = append(names, m.name)
		}
		return names
	}
	class := func(name string) run.Class { return run.Class{Name: name} }
	require.Equal(t, []string{"memory for each"}, names(run.Sample{PerConn: 1}))
	require.Equal(t, []string{"CPU per request"}, names(run.Sample{Classes: []run.Class{class("a")}}))
	require.Equal(t, []string{"99th percentile", "CPU per request"}, names(run.Sample{Rate: 1, Classes: []run.Class{class("a")}}))
	require.Equal(t, []string{"99th percentile of a", "99th percentile of b", "CPU per request"},
		names(run.Sample{Rate: 1, Classes: []run.Class{class("a"), class("b")}}))
	require.Equal(t, []string{"CPU per message and client", "time until the last client has it"},
		names(run.Sample{Classes: []run.Class{class("each client"), class(load.LastClient)}}))
}

func TestLimitsStandBesideTheSeed(t *testing.T) {
	require.Nil(t, limits("seed", "64 concurrent"), "the closed loop has no curves")
	require.Nil(t, limits("mixed", "64 concurrent, at 60% of capacity"), "another request")
	both := limits("seed", "64 concurrent, at 60% of capacity")
	require.Len(t, both, 2)
	p99 := func(s series) float64 { return s.points[40][1] }
	require.InDelta(t, 2, both[0].points[40][0], 1e-9)
	require.Greater(t, p99(both[0]), p99(both[1]), "light slices first: a shorter tail")
	require.Greater(t, p99(both[1]), 16_200.0, "the floor")
}

func TestTooFewRoundsSayNothing(t *testing.T) {
	few := results()
	few.Samples = few.Samples[:18] // three rounds
	var page strings.Builder
	require.NoError(t, few.HTML(&page))
	require.Contains(t, page.String(), "There are too few rounds to tell.")
	require.NotContains(t, page.String(), "Nowhere in this run")
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
	for _, outside := range []string{"src=", "href=\"http", "href=\"/", "@import", "url("} {
		require.NotContains(t, page, outside, "the page needs no other file")
	}
	for _, want := range []string{
		"&lt;fast&gt;", "v1 &amp; more", "<polyline", "<rect", "nethttp, 400/s", "Plaintext, long: CPU per request", "stroke-dasharray", "limit: FIFO", `href="#plaintext"`, `id="plaintext"`, "all connections ask", "go run it",
		"apt-get install apache2", "The seed experiment",
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "Unplayed")
	require.Less(t, strings.Index(page, `id="seed"`), strings.Index(page, `id="plaintext"`), "the seed experiment comes first")
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
	require.Regexp(t, `tafe +12\.00 +\(10\.00-14\.00\) +1000 `, b.String())
	require.Regexp(t, `nethttp +22\.00 .* ahead 1\.84x \(1\.71-2\)`, b.String())
	b.Reset()
	Verdicts(&b, results(), "nethttp")
	require.Regexp(t, `plaintext: short +CPU per request, µs +12 +22 +1\.84 +1\.71-2\.00 +ahead +0`, b.String())
	require.Regexp(t, `plaintext: long .* behind `, b.String())
	require.Contains(t, b.String(), "ahead of nethttp in 2 of 4 figures, level within noise in 0, behind in 2")
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
