// Package report presents samples: medians and spread, tables, plots, one HTML page. It leaves no sample out.
package report

import (
	"slices"

	"tafe/bench/run"
)

// Group is the samples of one peer in one case, and their medians.
type Group struct {
	Scenario, Case, Peer string
	Samples              []run.Sample
}

// Groups sorts samples by scenario, case and peer, each in the order of first appearance.
func Groups(samples []run.Sample) []Group {
	var groups []Group
	for _, s := range samples {
		i := slices.IndexFunc(groups, func(g Group) bool {
			return g.Scenario == s.Scenario && g.Case == s.Case && g.Peer == s.Peer
		})
		if i < 0 {
			groups = append(groups, Group{Scenario: s.Scenario, Case: s.Case, Peer: s.Peer})
			i = len(groups) - 1
		}
		groups[i].Samples = append(groups[i].Samples, s)
	}
	return groups
}

// Spread is the median of a figure over the rounds, with the least and the greatest.
type Spread struct{ Median, Min, Max float64 }

// Of takes a figure from each sample.
func (g Group) Of(figure func(run.Sample) float64) Spread {
	values := make([]float64, 0, len(g.Samples))
	for _, s := range g.Samples {
		values = append(values, figure(s))
	}
	return SpreadOf(values)
}

// SpreadOf returns the median of some values, with the least and the greatest; zeros of none.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

// Class returns the figure of one kind of request; the first class is the case's own.
func Class(index int, figure func(run.Class) float64) func(run.Sample) float64 {
	return func(s run.Sample) float64 {
		if index >= len(s.Classes) {
			return 0
		}
		return figure(s.Classes[index])
	}
}

// ErrorCount adds up the errors of all rounds.
func (g Group) ErrorCount() (n int64) {
	for _, s := range g.Samples {
		for _, c := range s.Errors {
			n += c
		}
	}
	return n
}

// LoadBound reports that in most rounds the generator was the bottleneck.
func (g Group) LoadBound() bool {
	n := 0
	for _, s := range g.Samples {
		if s.LoadBound() {
			n++
		}
	}
	return 2*n > len(g.Samples)
}

// Disturbed reports that in most rounds other programs took part of the two cores.
func (g Group) Disturbed() bool {
	n := 0
	for _, s := range g.Samples {
		if s.Disturbed() {
			n++
		}
	}
	return 2*n > len(g.Samples)
}

// Weighed reports that the case weighs open connections instead of answering requests.
func (g Group) Weighed() bool { return len(g.Samples) > 0 && len(g.Samples[0].Classes) == 0 }
