package report

import (
	"fmt"
	"math"
	"time"

	"tafe/bench/simulate"
)

// The names of the simulated curves.
const (
	limitFIFO  = "limit: FIFO"
	limitLight = "limit: light first"
)

// limits are the simulated curves beside a case of the seed experiment; none beside another one, or beside its closed loops.
func limits(scenario, name string) []series {
	var concurrent, percent int
	if _, err := fmt.Sscanf(name, "%d concurrent, at %d%% of capacity", &concurrent, &percent); err != nil || scenario != "seed" {
		return nil
	}
	var all []series
	for _, l := range []struct {
		name  string
		order simulate.Order
	}{{limitFIFO, simulate.FIFO}, {limitLight, simulate.LightFirst}} {
		all = append(all, series{peer: l.name, name: l.name, limit: true, points: sortedOverNines(simulate.Seed(l.order, concurrent, float64(percent)/100))})
	}
	return all
}

// sortedOverNines gives latency over nines, of latencies in ascending order.
func sortedOverNines(sorted []time.Duration) [][2]float64 {
	var points [][2]float64
	for nines := 0.0; nines <= curveNines+1e-9; nines += 0.05 {
		rank := int(math.Ceil((1 - math.Pow(10, -nines)) * float64(len(sorted))))
		points = append(points, [2]float64{nines, float64(sorted[max(rank, 1)-1]) / 1e3})
	}
	return points
}
