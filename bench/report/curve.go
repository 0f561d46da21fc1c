package report

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"

	"tafe/bench/run"
)

// The curves' x axis stretches towards the tail: each nine takes the same room.
const (
	curveWidth, curveHeight = 510, 320
	curveLeft, curveRight   = 52, 130
	curveTop, curveBottom   = 30, 34
	curveNines              = 3.0 // to 99.9%
)

// series is one curve: nines and microseconds.
type series struct {
	peer   string
	name   string
	points [][2]float64
	limit  bool // computed, not measured
}

// curves draws the latency of each peer over the percentile: all rounds together, microseconds, logarithmic. The limits are drawn beside them.
func curves(title string, groups []Group, class int, limits ...series) template.HTML {
	all := limits
	low, high := math.Inf(1), 0.0
	for _, g := range groups {
		points := g.percentiles(class)
		if len(points) == 0 {
			continue
		}
		name := g.Peer
		if rate := g.Of(func(s run.Sample) float64 { return s.Rate }).Median; rate > 0 {
			name = fmt.Sprintf("%s, %.0f/s", g.Peer, rate)
		}
		all = append(all, series{peer: g.Peer, name: name, points: points})
	}
	for _, s := range all {
		low, high = min(low, s.points[0][1]), max(high, s.points[len(s.points)-1][1])
	}
	d := newDrawing(curveWidth, curveHeight, "Latency, "+title)
	d.text(curveLeft, 18, "start", "title", title)
	if len(all) == 0 {
		d.text(curveWidth/2, curveHeight/2, "middle", "tick", "no samples")
		return d.done()
	}
	low, high = low*0.8, high*1.25
	right, bottom := float64(curveWidth-curveRight), float64(curveHeight-curveBottom)
	x := func(nines float64) float64 { return curveLeft + nines/curveNines*(right-curveLeft) }
	y := func(micros float64) float64 {
		return bottom - math.Log(micros/low)/math.Log(high/low)*(bottom-curveTop)
	}
	for _, t := range logTicks(low, high) {
		d.line(curveLeft, y(t), right, y(t), "grid")
		d.text(curveLeft-6, y(t)+4, "end", "tick", duration(t))
	}
	for _, t := range []struct {
		nines float64
		name  string
	}{{0, "0"}, {-math.Log10(0.5), "50%"}, {1, "90%"}, {2, "99%"}, {3, "99.9%"}} {
		d.line(x(t.nines), bottom, x(t.nines), bottom+4, "axis")
		d.text(x(t.nines), bottom+18, "middle", "tick", t.name)
	}
	d.line(curveLeft, bottom, right, bottom, "axis")
	slices.SortFunc(all, func(a, b series) int {
		return cmp.Compare(b.points[len(b.points)-1][1], a.points[len(a.points)-1][1])
	})
	ends := make([]float64, len(all))
	for i, s := range all {
		ends[i] = y(s.points[len(s.points)-1][1]) + 4
	}
	apart(ends, 13, bottom)
	for i, s := range all {
		screen := make([][2]float64, len(s.points))
		for j, p := range s.points {
			screen[j] = [2]float64{x(p[0]), y(p[1])}
		}
		d.path(screen, colour(s.peer), strokeOf(s), s.name)
		d.label(right+6, ends[i], colour(s.peer), s.name)
	}
	return d.done()
}

func strokeOf(s series) string {
	switch {
	case s.limit:
		return "stroke-width:1.4;stroke-dasharray:5 4"
	case s.peer == ours:
		return "stroke-width:3"
	}
	return "stroke-width:1.6"
}

// percentiles merges the histograms of all rounds and gives latency over nines, up to 99.9%, or as far as there are
// samples to tell.
func (g Group) percentiles(class int) [][2]float64 {
	counts := map[int]int64{}
	for _, s := range g.Samples {
		if class >= len(s.Classes) {
			continue
		}
		for _, c := range s.Classes[class].Histogram {
			counts[c.Step] += c.N
		}
	}
	var merged run.Counts
	for _, step := range slices.Sorted(maps.Keys(counts)) {
		merged = append(merged, run.Count{Step: step, N: counts[step]})
	}
	return overNines(merged)
}

// overNines gives latency over nines.
func overNines(counts run.Counts) [][2]float64 {
	var total, below int64
	for _, c := range counts {
		total += c.N
	}
	if total == 0 {
		return nil
	}
	var points [][2]float64
	i := 0
	last := min(curveNines, math.Log10(float64(total)))
	for nines := 0.0; nines <= last+1e-9; nines += 0.05 {
		rank := min(total, int64(math.Ceil((1-math.Pow(10, -nines))*float64(total))))
		for i < len(counts)-1 && below+counts[i].N < max(rank, 1) {
			below += counts[i].N
			i++
		}
		points = append(points, [2]float64{nines, counts[i].Micros()})
	}
	return points
}
