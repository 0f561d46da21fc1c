package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"tafe/bench/run"
)

// Table prints one table for each case: medians over the rounds, with the spread of the CPU time, which is the figure
// to compare by.
func Table(w io.Writer, samples []run.Sample) {
	last := ""
	var t *tabwriter.Writer
	flush := func() {
		if t != nil {
			_ = t.Flush()
		}
	}
	bound := false
	for _, g := range Groups(samples) {
		if title := g.Scenario + ": " + g.Case; title != last {
			flush()
			last = title
			fmt.Fprintf(w, "\n%s\n", title)
			t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(t, "server\tCPU us/req\t(least-most)\treq/s\tp50 us\tp99 us\tp99.9 us\tmax us\tserver busy\tload busy\tRSS MB\terrors\t")
		}
		cpu := g.Of(func(s run.Sample) float64 { return s.CPUMicros })
		mark := ""
		if g.LoadBound() {
			mark, bound = "*", true
		}
		fmt.Fprintf(t, "%s\t%.2f\t(%.2f-%.2f)\t%.0f%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f%%\t%.0f%%\t%.1f\t%d\t\n", g.Peer, cpu.Median, cpu.Min, cpu.Max,
			g.Of(func(s run.Sample) float64 { return s.PerSecond }).Median, mark,
			g.Of(Class(0, func(c run.Class) float64 { return c.P50 })).Median,
			g.Of(Class(0, func(c run.Class) float64 { return c.P99 })).Median,
			g.Of(Class(0, func(c run.Class) float64 { return c.P999 })).Median,
			g.Of(Class(0, func(c run.Class) float64 { return c.Max })).Median,
			100*g.Of(func(s run.Sample) float64 { return s.ServerBusy }).Median,
			100*g.Of(func(s run.Sample) float64 { return s.LoadBusy }).Median,
			g.Of(func(s run.Sample) float64 { return float64(s.RSS) }).Median/(1<<20), g.ErrorCount())
	}
	flush()
	if bound {
		fmt.Fprintln(w, "\n* the load generator was the bottleneck: compare CPU time per request, not throughput or latency")
	}
}
