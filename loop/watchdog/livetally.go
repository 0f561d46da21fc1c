// The cost of an overrun while it lasts. The ledger learns of victims when they start, which the
// tasks that wait for a held loop have not done. Until then they are counted, and their waits are
// estimated from the counts.

package watchdog

import "time"

const (
	tallyFrom  = int64(50 * time.Millisecond)  // age of an overrun at the first count
	tallyEvery = int64(100 * time.Millisecond) // time between two counts
)

// liveTally is the cost of a current overrun so far. Only the sampler uses it.
type liveTally struct {
	count   int   // most tasks that waited at once
	waiting int   // tasks that waited at the last count
	total   int64 // ns
	at      int64 // age of the overrun at the last count
	next    int64 // age at which the next count is due
}

// countWaiting returns the cost of an overrun of the given age so far. After a handoff that is the
// ledger's account.
func (ln *watchedLoop) countWaiting(p *probe, age int64) Tally {
	p.tally.next = age + tallyEvery
	if r := p.release; r != nil {
		if r.entry == nil {
			return Tally{}
		}
		ln.mu.Lock()
		defer ln.mu.Unlock()
		return r.entry.copyTally()
	}
	if ln.passive || age < tallyFrom {
		p.tally.next = max(tallyFrom, age)
		return Tally{}
	}
	return p.tally.enter(age, ln.loop.Observe().Waiting())
}

// enter adds a count. The number of waiting tasks is taken to change linearly between two counts.
func (l *liveTally) enter(age int64, waiting int) Tally {
	l.total += (age - l.at) * int64(l.waiting+waiting) / 2
	l.at, l.waiting, l.count = age, waiting, max(l.count, waiting)
	return Tally{Count: l.count, Total: Millis(l.total), Estimated: l.count, Open: true}
}
