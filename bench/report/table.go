package report

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"tafe/bench/run"
)

// Table prints one table for each case: medians over the rounds, with the spread of the CPU time, which is the figure
// to compare by, and how tafe compares with each server.
func Table(w io.Writer, r *Results) {
	for _, section := range r.Sections {
		for _, groups := range r.cases(section.Name) {
			fmt.Fprintf(w, "\n%s: %s\n", section.Name, groups[0].Case)
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
			if groups[0].Weighed() {
				weighedRows(t, groups)
			} else {
				rows(t, groups)
			}
			_ = t.Flush()
		}
	}
	bound, disturbed := false, false
	for _, g := range Groups(r.Samples) {
		bound, disturbed = bound || g.LoadBound(), disturbed || g.Disturbed()
	}
	if bound {
		fmt.Fprintln(w, "\n* the load generator was the bottleneck: compare CPU time per request, not rate or latency")
	}
	if disturbed {
		fmt.Fprintln(w, "\n! other programs took more than a tenth of a core meanwhile: rate and latency are affected")
	}
}

// verdictOf is the verdict by the first figure of a case, for the line of g.
func verdictOf(groups []Group, g Group) string {
	mine := own(groups)
	if mine == nil || g.Peer == ours {
		return ""
	}
	return Judge(*mine, g, measures(g)[0].of).String()
}

func weighedRows(t io.Writer, groups []Group) {
	fmt.Fprintln(t, "server\tRSS KB/connection\t(least-most)\tRSS MB\ttafe is\t")
	for _, g := range groups {
		each := g.Of(func(s run.Sample) float64 { return s.PerConn / 1024 })
		fmt.Fprintf(t, "%s\t%.2f\t(%.2f-%.2f)\t%.1f\t%s\t\n", g.Peer, each.Median, each.Min, each.Max,
			g.Of(func(s run.Sample) float64 { return float64(s.RSS) }).Median/(1<<20), verdictOf(groups, g))
	}
}

func rows(t io.Writer, groups []Group) {
	fmt.Fprintf(t, "server\tCPU us/req\t(least-most)\treq/s\tp50 us\tp99 us\tp99.9 us\tmax us\tserver busy\tload busy\tRSS MB\terrors\ttafe is, by %s\t\n",
		measures(groups[0])[0].name)
	for _, g := range groups {
		cpu := g.Of(func(s run.Sample) float64 { return s.CPUMicros })
		mark := ""
		if g.LoadBound() {
			mark = "*"
		}
		if g.Disturbed() {
			mark += "!"
		}
		fmt.Fprintf(t, "%s\t%.2f\t(%.2f-%.2f)\t%.0f%s\t%s%.0f%%\t%.0f%%\t%.1f\t%d\t%s\t\n", g.Peer, cpu.Median, cpu.Min, cpu.Max,
			g.Of(func(s run.Sample) float64 { return s.PerSecond }).Median, mark, latencies(g, 0),
			100*g.Of(func(s run.Sample) float64 { return s.ServerBusy }).Median,
			100*g.Of(func(s run.Sample) float64 { return s.LoadBusy }).Median,
			g.Of(func(s run.Sample) float64 { return float64(s.RSS) }).Median/(1<<20), g.ErrorCount(), verdictOf(groups, g))
		for i := 1; i < len(g.Samples[0].Classes); i++ { // the latencies above are those of the first class
			fmt.Fprintf(t, "its %s\t\t\t\t%s\t\t\t\t\t\n", g.Samples[0].Classes[i].Name, latencies(g, i))
		}
	}
}

// latencies are four cells of a table.
func latencies(g Group, class int) string {
	cells := ""
	for _, f := range []func(run.Class) float64{
		func(c run.Class) float64 { return c.P50 }, func(c run.Class) float64 { return c.P99 },
		func(c run.Class) float64 { return c.P999 }, func(c run.Class) float64 { return c.Max },
	} {
		cells += fmt.Sprintf("%.0f\t", g.Of(Class(class, f)).Median)
	}
	return cells
}

// Verdicts prints a line for each figure of each case: two servers side by side, how many times the first's figure the second's is, with its
// confidence interval, and what follows.
func Verdicts(w io.Writer, r *Results, other string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\n\tfigure\t%s\t%s\tratio\tinterval\ttafe is\terrors\t\n", ours, other)
	count := map[Word]int{}
	for _, section := range r.Sections {
		for _, groups := range r.cases(section.Name) {
			a := own(groups)
			i := slices.IndexFunc(groups, func(g Group) bool { return g.Peer == other })
			if a == nil || i < 0 {
				continue
			}
			b := groups[i]
			for _, m := range measures(*a) {
				v := Judge(*a, b, m.of)
				count[v.Word]++
				fmt.Fprintf(t, "%s: %s\t%s, %s\t%s\t%s\t%.2f\t%.2f-%.2f\t%s\t%d\t\n", section.Name, a.Case, m.name, m.unit,
					trim(a.Of(m.of).Median), trim(b.Of(m.of).Median), v.Ratio, v.Low, v.High, v.Word, a.ErrorCount()+b.ErrorCount())
			}
		}
	}
	_ = t.Flush()
	fmt.Fprintf(w, "\nahead of %s in %d of %d figures, level within noise in %d, behind in %d\n", other, count[Ahead],
		count[Ahead]+count[Level]+count[Behind]+count[Unknown], count[Level], count[Behind])
	for _, note := range r.notes() {
		fmt.Fprintln(w, note)
	}
}
