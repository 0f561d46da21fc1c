package report

import (
	"math"
	"slices"
)

// Difference is the relative difference of two figures, over many pairs, and the standard error of that.
type Difference struct{ Share, Error float64 }

// DifferenceOf compares figures that were taken side by side, start by start and turn by turn. Each start counts once, by the median of its turns;
// a tenth of the starts is left out at either end.
func DifferenceOf(base, other [][]float64) Difference {
	var starts []float64
	for i := range base {
		var ratios []float64
		for turn := range base[i] {
			ratios = append(ratios, math.Log(other[i][turn]/base[i][turn]))
		}
		starts = append(starts, SpreadOf(ratios).Median)
	}
	slices.Sort(starts)
	cut := len(starts) / 10
	starts = starts[cut : len(starts)-cut]
	n := float64(len(starts))
	mean, squares := 0.0, 0.0
	for _, v := range starts {
		mean += v / n
	}
	for _, v := range starts {
		squares += (v - mean) * (v - mean)
	}
	d := Difference{Share: math.Exp(mean) - 1}
	if n > 1 {
		d.Error = math.Sqrt(squares / (n - 1) / n)
	}
	return d
}
