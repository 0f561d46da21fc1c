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
	Sections []sectionView
	Losses   []string
	Judged   bool // there are verdicts
	Notes    []string
}

// sectionView is one scenario: what it claims, and the verdicts, plots and figures from which that follows.
type sectionView struct {
	Section
	Claims   []string
	Peers    []string // that tafe is compared with, the columns of Verdicts
	Verdicts []verdictRow
	Cases    []caseView
}

// verdictRow compares tafe with all others by one figure of a case.
type verdictRow struct {
	Case, Measure, Mine string
	Cells               []Verdict // by peer; without a Word where it takes no part
}

type caseView struct {
	Name  string
	Plots []template.HTML
	Rows  []row
}

// row is one peer's line in a table, ready to print.
type row struct {
	Peer, CPU, Range, Rate, P50, P90, P99, P999, Max, RSS, Errors, Mark string
	Mine                                                                bool
}

// HTML writes the report as one page that needs no other file. The seed experiment comes first.
func (r *Results) HTML(w io.Writer) error {
	v := view{Results: r}
	for _, section := range r.Sections {
		s := sectionView{Section: section}
		for _, groups := range r.cases(section.Name) {
			s.Cases = append(s.Cases, newCase(section.Name, groups))
			s.judge(groups)
		}
		if len(s.Cases) == 0 {
			continue
		}
		s.Claims = claims(s.Peers, s.Verdicts)
		v.Losses = append(v.Losses, s.losses()...)
		v.Judged = v.Judged || s.judged()
		if section.Name == "seed" {
			v.Sections = slices.Insert(v.Sections, 0, s)
			continue
		}
		v.Sections = append(v.Sections, s)
	}
	v.Notes = r.notes()
	return page.Execute(w, v)
}

// cases sorts the samples of a scenario into its cases, in the order in which they were played.
func (r *Results) cases(scenario string) (cases [][]Group) {
	byName := map[string]int{}
	for _, g := range Groups(r.Samples) {
		if g.Scenario != scenario {
			continue
		}
		i, seen := byName[g.Case]
		if !seen {
			i = len(cases)
			byName[g.Case] = i
			cases = append(cases, nil)
		}
		cases[i] = append(cases[i], g)
	}
	return cases
}

func newCase(scenario string, groups []Group) caseView {
	first := groups[0]
	c := caseView{Name: first.Case}
	switch {
	case first.Samples[0].Rate > 0:
		c.Plots = append(c.Plots, curves(first.Case, groups, 0, limits(scenario, first.Case)...))
		for i, class := range first.Samples[0].Classes[1:] {
			c.Plots = append(c.Plots, curves(first.Case+": "+class.Name, groups, i+1))
		}
	default:
		for _, m := range measures(first) {
			c.Plots = append(c.Plots, bars(upper(m.name)+", "+first.Case, " "+m.unit, groups, m.of))
		}
		if scenario == "seed" {
			c.Plots = append(c.Plots, bars("Capacity, "+first.Case, " /s", groups, func(s run.Sample) float64 { return s.PerSecond }))
		}
	}
	for _, g := range groups {
		if !g.Weighed() {
			c.Rows = append(c.Rows, newRow(g))
		}
	}
	return c
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func newRow(g Group) row {
	cpu := g.Of(func(s run.Sample) float64 { return s.CPUMicros })
	class := func(f func(run.Class) float64) string { return duration(g.Of(Class(0, f)).Median) }
	r := row{
		Peer: g.Peer, Mine: strings.HasPrefix(g.Peer, ours), CPU: trim(cpu.Median), Range: trim(cpu.Min) + " to " + trim(cpu.Max),
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

// judge adds the verdicts of a case.
func (s *sectionView) judge(groups []Group) {
	mine := own(groups)
	if mine == nil {
		return
	}
	for _, g := range groups {
		if g.Peer != ours && !slices.Contains(s.Peers, g.Peer) {
			s.Peers = append(s.Peers, g.Peer)
		}
	}
	for _, m := range measures(*mine) {
		v := verdictRow{Case: mine.Case, Measure: m.name, Mine: trim(mine.Of(m.of).Median) + " " + m.unit}
		for _, peer := range s.Peers {
			cell := Verdict{}
			if i := slices.IndexFunc(groups, func(g Group) bool { return g.Peer == peer }); i >= 0 {
				cell = Judge(*mine, groups[i], m.of)
			}
			v.Cells = append(v.Cells, cell)
		}
		s.Verdicts = append(s.Verdicts, v)
	}
}

// judged reports whether there are enough rounds for a verdict.
func (s *sectionView) judged() bool {
	return slices.ContainsFunc(s.Verdicts, func(row verdictRow) bool {
		return slices.ContainsFunc(row.Cells, func(v Verdict) bool { return v.Word != "" && v.Word != Unknown })
	})
}

// losses are the rows in which tafe is behind.
func (s *sectionView) losses() (lines []string) {
	for _, row := range s.Verdicts {
		for i, cell := range row.Cells {
			if cell.Word == Behind {
				lines = append(lines, fmt.Sprintf("%s, %s: %s %s, %s times that of %s (%s to %s)", s.Title, row.Case, row.Measure, row.Mine,
					trim(1/cell.Ratio), s.Peers[i], trim(1/cell.High), trim(1/cell.Low)))
			}
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
