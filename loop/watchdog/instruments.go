package watchdog

// The Go runtime's own account of its pauses.

import (
	"math"
	"runtime/metrics"
	"time"

	"tafe/loop"
)

// pauses reads what the runtime counts of its stop-the-world pauses: 0.3 us, no
// allocation after the first time. For one goroutine.
type pauses struct {
	samples []metrics.Sample
	least   int64  // fewest pauses beyond two a cycle seen lately
	window  uint64 // cycles at the start of lately
	cycles  uint64 // so far
	ended   int64  // when the last was seen to be over, ns
	others  int64  // at the last read: pauses that were not the collector's, ns
}

func newPauses() *pauses {
	return &pauses{least: math.MaxInt64, samples: []metrics.Sample{
		{Name: "/sched/pauses/total/gc:seconds"},
		{Name: "/sched/pauses/total/other:seconds"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}}
}

// sweepTime is for how long after a cycle who allocates may have to sweep first.
const sweepTime = int64(time.Second)

// read returns the length of all pauses so far in ns, good to an eighth. marking
// tells whether the collector is in the middle of a cycle, which has a pause at
// its start and one at its end; assisting, whether it is or was a short time ago.
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
	if cycles-p.window > 64 { // a cycle that had to end twice counts for this long
		p.window, p.least = cycles, beyond
	}
	p.least = min(p.least, beyond)
	if cycles != p.cycles {
		p.cycles, p.ended = cycles, now
	}
	marking = beyond > p.least
	return total, marking, marking || cycles > 0 && now-p.ended < sweepTime
}

// instruments are what one goroutine reads all clocks with.
type instruments struct {
	clocks  clocks
	pauses  *pauses
	stateOf func(tid int) byte // clocks.state, bound once
}

func newInstruments() instruments { return instruments{pauses: newPauses()} }

// read takes a reading of the thread tid, at a loop clock time.
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
