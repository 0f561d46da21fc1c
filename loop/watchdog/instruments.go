// Readings of all clocks, and the Go runtime's account of its pauses.

package watchdog

import (
	"math"
	"runtime/metrics"
	"time"

	"tafe/loop"
)

// pauses reads the runtime's counters of stop-the-world pauses. A read takes 0.3 us and does not
// allocate after the first. It is for one goroutine.
type pauses struct {
	samples []metrics.Sample
	least   int64  // smallest recent number of pauses in excess of two per cycle
	window  uint64 // cycles at the start of the recent window
	cycles  uint64 // cycles so far
	ended   int64  // when the last cycle was seen to be over, ns
	others  int64  // total length of pauses of other causes than the collector, ns
}

func newPauses() *pauses {
	return &pauses{least: math.MaxInt64, samples: []metrics.Sample{
		{Name: "/sched/pauses/total/gc:seconds"},
		{Name: "/sched/pauses/total/other:seconds"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}}
}

// sweepTime is how long after a cycle an allocation may have to sweep first, ns.
const sweepTime = int64(time.Second)

// read returns the total length of all pauses in ns, exact to an eighth. marking reports whether a
// cycle is running; a cycle has one pause at its start and one at its end. assisting reports
// whether one is running or ended within sweepTime.
func (p *pauses) read(now int64) (total int64, marking, assisting bool) {
	metrics.Read(p.samples)
	var gcPauses uint64
	p.others = 0
	for i, s := range p.samples[:2] {
		if s.Value.Kind() != metrics.KindFloat64Histogram {
			continue
		}
		h := s.Value.Float64Histogram()
		for j, n := range h.Counts {
			if n == 0 {
				continue
			}
			if i == 0 {
				gcPauses += n
			}
			ns := int64(float64(n) * middle(h.Buckets[j], h.Buckets[j+1]) * 1e9)
			total += ns
			if i == 1 {
				p.others += ns
			}
		}
	}
	var cycles uint64
	if p.samples[2].Value.Kind() == metrics.KindUint64 {
		cycles = p.samples[2].Value.Uint64()
	}
	beyond := int64(gcPauses) - 2*int64(cycles)
	if cycles-p.window > 64 { // a cycle with an extra pause at its end distorts least for this long
		p.window, p.least = cycles, beyond
	}
	p.least = min(p.least, beyond)
	if cycles != p.cycles {
		p.cycles, p.ended = cycles, now
	}
	marking = beyond > p.least
	return total, marking, marking || cycles > 0 && now-p.ended < sweepTime
}

// instruments are the clocks that one goroutine reads.
type instruments struct {
	clocks  clocks
	pauses  *pauses
	stateOf func(tid int) byte // clocks.state, bound once
}

func newInstruments() instruments { return instruments{pauses: newPauses()} }

// read takes a reading of thread tid. now is the loop clock.
func (in *instruments) read(now int64, tid int, goState string) reading {
	if in.stateOf == nil {
		in.stateOf = in.clocks.state
	}
	r := reading{now: now, mono: monotonic(), tid: tid, goState: goState, known: loop.Runtime().Threads(), process: processCPU(), state: in.stateOf}
	if tid != 0 {
		r.cpu, r.delay, r.timed = in.clocks.thread(tid)
	}
	r.paused, r.marking, r.assisting = in.pauses.read(r.mono)
	return r
}

func middle(low, high float64) float64 {
	switch {
	case math.IsInf(low, -1):
		return 0
	case math.IsInf(high, 1):
		return low
	}
	return (low + high) / 2
}
