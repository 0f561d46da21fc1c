package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"tafe/bench/run"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// view is what the page shows.
type view struct {
	*Results
	Seed   *sectionView
	Others []sectionView
	Losses []string
	Notes  []string
}

// sectionView is one scenario with its plots and tables.
type sectionView struct {
	Section
	Cases []caseView
}

type caseView struct {
	Name   string
	Plots  []template.HTML
	Rows   []row
	Behind []string
}

// row is one peer's line in a table, ready to print.
type row struct {
	Peer, CPU, Range, Rate, P50, P90, P99, P999, Max, RSS, Errors, Mark string
	Mine                                                                bool
}

// HTML writes the report as one page that needs no other file.
func (r *Results) HTML(w io.Writer) error {
	v := view{Results: r}
	for _, section := range r.Sections {
		s := sectionView{Section: section, Cases: r.cases(section.Name)}
		if len(s.Cases) == 0 {
			continue
		}
		for _, c := range s.Cases {
			for _, b := range c.Behind {
				v.Losses = append(v.Losses, fmt.Sprintf("%s, %s: %s", section.Title, c.Name, b))
			}
		}
		if section.Name == "seed" {
			v.Seed = &s
			continue
		}
		v.Others = append(v.Others, s)
	}
	v.Notes = r.notes()
	return page.Execute(w, v)
}

// cases sorts the samples of a scenario into its cases, in the order in which they were played.
func (r *Results) cases(scenario string) (cases []caseView) {
	var order []string
	byCase := map[string][]Group{}
	for _, g := range Groups(r.Samples) {
		if g.Scenario != scenario {
			continue
		}
		if byCase[g.Case] == nil {
			order = append(order, g.Case)
		}
		byCase[g.Case] = append(byCase[g.Case], g)
	}
	for _, name := range order {
		groups := byCase[name]
		c := caseView{Name: name, Behind: behind(groups)}
		switch {
		case groups[0].Samples[0].Rate > 0:
			c.Plots = append(c.Plots, curves("Latency, "+name, groups, 0))
		case groups[0].Weighed():
			c.Plots = append(c.Plots, bars("Resident memory for each, "+name, " KB", groups, func(s run.Sample) float64 { return s.PerConn / 1024 }))
		default:
			c.Plots = append(c.Plots, bars("Server CPU per request, "+name, " µs", groups, func(s run.Sample) float64 { return s.CPUMicros }))
			if scenario == "seed" {
				c.Plots = append(c.Plots, bars("Capacity, "+name, " /s", groups, func(s run.Sample) float64 { return s.PerSecond }))
			}
		}
		for _, g := range groups {
			if !g.Weighed() {
				c.Rows = append(c.Rows, newRow(g))
			}
		}
		cases = append(cases, c)
	}
	return cases
}

func newRow(g Group) row {
	cpu := g.Of(func(s run.Sample) float64 { return s.CPUMicros })
	class := func(f func(run.Class) float64) string { return duration(g.Of(Class(0, f)).Median) }
	r := row{
		Peer: g.Peer, Mine: strings.HasPrefix(g.Peer, "tafe"), CPU: trim(cpu.Median), Range: trim(cpu.Min) + " to " + trim(cpu.Max),
		Rate: fmt.Sprintf("%.0f", g.Of(func(s run.Sample) float64 { return s.PerSecond }).Median),
		P50:  class(func(c run.Class) float64 { return c.P50 }), P90: class(func(c run.Class) float64 { return c.P90 }),
		P99: class(func(c run.Class) float64 { return c.P99 }), P999: class(func(c run.Class) float64 { return c.P999 }),
		Max:    class(func(c run.Class) float64 { return c.Max }),
		RSS:    trim(g.Of(func(s run.Sample) float64 { return float64(s.RSS) }).Median/(1<<20)) + " MB",
		Errors: fmt.Sprint(g.ErrorCount()),
	}
	if g.LoadBound() {
		r.Mark += "*"
	}
	if g.Disturbed() {
		r.Mark += "†"
	}
	return r
}

// behind names the peers that tafe is behind of in a case: in CPU time in a closed loop, in the 99th percentile on a
// schedule. The C limit and bare gnet are bounds rather than rivals, and named all the same. A difference counts when
// the medians differ by more than 3%.
func behind(groups []Group) (lines []string) {
	var mine *Group
	for i := range groups {
		if groups[i].Peer == "tafe" {
			mine = &groups[i]
		}
	}
	if mine == nil {
		return nil
	}
	what, figure := "CPU per request", func(s run.Sample) float64 { return s.CPUMicros }
	unit := "µs"
	if groups[0].Weighed() {
		what, unit = "memory for each", "KB"
		figure = func(s run.Sample) float64 { return s.PerConn / 1024 }
	}
	if groups[0].Samples[0].Rate > 0 {
		what, unit = "99th percentile", "ms"
		figure = Class(0, func(c run.Class) float64 { return c.P99 / 1000 })
	}
	for _, g := range groups {
		a, b := mine.Of(figure).Median, g.Of(figure).Median
		if g.Peer != "tafe" && b > 0 && a > b*1.03 {
			lines = append(lines, fmt.Sprintf("%s %s %s, %s %s %s (%.2f times)", what, trim(a), unit, g.Peer, trim(b), unit, a/b))
		}
	}
	return lines
}

// FirstLine leaves out what a failed server printed after its first line; results.json has all of it.
func FirstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// notes are what a reader must know before believing the figures.
func (r *Results) notes() (notes []string) {
	bound, disturbed := 0, 0
	for _, g := range Groups(r.Samples) {
		if g.LoadBound() {
			bound++
		}
		if g.Disturbed() {
			disturbed++
		}
	}
	if bound > 0 {
		notes = append(notes, fmt.Sprintf("%d rows marked * had the load generator as the bottleneck: compare CPU per request there, not rate or latency.", bound))
	}
	if disturbed > 0 {
		notes = append(notes, fmt.Sprintf("%d rows marked † were disturbed: other programs took more than a tenth of a core meanwhile; rate and latency are affected.", disturbed))
	}
	for _, a := range r.Absent {
		notes = append(notes, "Left out: "+a)
	}
	var seen []string
	for _, f := range r.Failures {
		if line := FirstLine(f); !slices.Contains(seen, line) {
			seen = append(seen, line)
			notes = append(notes, "Failed: "+line)
		}
	}
	return notes
}
