package watchdog

// Who waits for a loop while an overrun goes on. The ledger names victims when they
// start, which those that wait for a held loop have not done yet: until then they are
// counted, and their waits estimated from the counts.

import "time"

const (
	tollFrom  = int64(50 * time.Millisecond)  // age of an overrun at its first count
	tollEvery = int64(100 * time.Millisecond) // between two counts
)

// liveToll is what an overrun that goes on has cost others so far. The sampler's own.
type liveToll struct {
	count   int   // the most that waited at once
	waiting int   // at the last count
	total   int64 // ns
	at      int64 // age of the overrun at the last count
	next    int64 // age at which the next one is due
}

// countWaiting is what an overrun of the given age has cost others so far. Once its
// loop was handed over that is what the ledger says.
func (ln *lane) countWaiting(p *pursuit, age int64) Toll {
	p.toll.next = age + tollEvery
	if r := p.release; r != nil {
		if r.entry == nil {
			return Toll{}
		}
		ln.mu.Lock()
		defer ln.mu.Unlock()
		return r.entry.snapshot()
	}
	if ln.passive || age < tollFrom {
		p.toll.next = max(tollFrom, age)
		return Toll{}
	}
	return p.toll.enter(age, ln.loop.Observe().Waiting())
}

// enter takes a count. In between as many waited as at its two ends at the mean.
func (l *liveToll) enter(age int64, waiting int) Toll {
	l.total += (age - l.at) * int64(l.waiting+waiting) / 2
	l.at, l.waiting, l.count = age, waiting, max(l.count, waiting)
	return Toll{Count: l.count, Total: Millis(l.total), Estimated: l.count, Open: true}
}
