package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"tafe/bench/run"
)

// Table prints one table for each case: medians over the rounds, with the spread of the CPU time, which is the figure
// to compare by.
func Table(w io.Writer, r *Results) {
	last := ""
	var t *tabwriter.Writer
	flush := func() {
		if t != nil {
			_ = t.Flush()
		}
	}
	bound, disturbed := false, false
	for _, g := range Groups(r.Samples) {
		if title := g.Scenario + ": " + g.Case; title != last {
			flush()
			last = title
			fmt.Fprintf(w, "\n%s\n", title)
			t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
			if g.Weighed() {
				fmt.Fprintln(t, "server\tRSS KB/connection\t(least-most)\tRSS MB\t")
			} else {
				fmt.Fprintln(t, "server\tCPU us/req\t(least-most)\treq/s\tp50 us\tp99 us\tp99.9 us\tmax us\tserver busy\tload busy\tRSS MB\terrors\t")
			}
		}
		if g.Weighed() {
			each := g.Of(func(s run.Sample) float64 { return s.PerConn / 1024 })
			fmt.Fprintf(t, "%s\t%.2f\t(%.2f-%.2f)\t%.1f\t\n", g.Peer, each.Median, each.Min, each.Max,
				g.Of(func(s run.Sample) float64 { return float64(s.RSS) }).Median/(1<<20))
			continue
		}
		cpu := g.Of(func(s run.Sample) float64 { return s.CPUMicros })
		mark := ""
		if g.LoadBound() {
			mark, bound = "*", true
		}
		if g.Disturbed() {
			mark, disturbed = mark+"!", true
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
		for i := 1; i < len(g.Samples[0].Classes); i++ { // the latencies above are those of the first class
			fmt.Fprintf(t, "its %s\t\t\t\t%.0f\t%.0f\t%.0f\t%.0f\t\t\t\t\t\n", g.Samples[0].Classes[i].Name,
				g.Of(Class(i, func(c run.Class) float64 { return c.P50 })).Median,
				g.Of(Class(i, func(c run.Class) float64 { return c.P99 })).Median,
				g.Of(Class(i, func(c run.Class) float64 { return c.P999 })).Median,
				g.Of(Class(i, func(c run.Class) float64 { return c.Max })).Median)
		}
	}
	flush()
	if bound {
		fmt.Fprintln(w, "\n* the load generator was the bottleneck: compare CPU time per request, not rate or latency")
	}
	if disturbed {
		fmt.Fprintln(w, "\n! other programs took more than a tenth of a core meanwhile: rate and latency are affected")
	}
}

// Ratios prints one line for each case: two peers side by side, and how many times the first's figure the second's is.
func Ratios(w io.Writer, r *Results, one, other string) {
	byCase := map[string]map[string]Group{}
	var order []string
	for _, g := range Groups(r.Samples) {
		name := g.Scenario + ": " + g.Case
		if byCase[name] == nil {
			byCase[name] = map[string]Group{}
			order = append(order, name)
		}
		byCase[name][g.Peer] = g
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\n\tCPU us/req\t\t\tp99 us\t\t\t\n\t%[1]s\t%[2]s\t%[2]s/%[1]s\t%[1]s\t%[2]s\t%[2]s/%[1]s\terrors\t\n", one, other)
	for _, name := range order {
		a, b := byCase[name][one], byCase[name][other]
		if len(a.Samples) == 0 || len(b.Samples) == 0 || a.Weighed() {
			continue
		}
		cpu := func(g Group) float64 { return g.Of(func(s run.Sample) float64 { return s.CPUMicros }).Median }
		p99 := func(g Group) float64 { return g.Of(Class(0, func(c run.Class) float64 { return c.P99 })).Median }
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2fx\t%.0f\t%.0f\t%.2fx\t%d\t\n", name, cpu(a), cpu(b), cpu(b)/cpu(a), p99(a), p99(b), p99(b)/p99(a),
			a.ErrorCount()+b.ErrorCount())
	}
	_ = t.Flush()
	for _, note := range r.notes() {
		fmt.Fprintln(w, note)
	}
}
