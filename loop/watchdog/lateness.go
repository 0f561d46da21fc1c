// Lateness of the sampler. When the steward wakes late, the machine was busy or the process was
// stopped, frozen or paused. Waits of a slice in such a period say nothing about its code.

package watchdog

const (
	latenessMin  = int64(1_000_000) // shorter gaps are ignored, ns
	latenessKept = 64
)

// lateness keeps the latest periods in which the sampler should have run but did not. Only the
// sampler uses it. Times are on the steward clock, ns.
type lateness struct {
	gaps [latenessKept]struct{ from, to int64 }
	at   int
	last int64 // lateness of the last wake
}

// woke records that a sleep due to end at due ended now.
func (l *lateness) woke(due, now int64) {
	l.last = now - due
	if l.last >= latenessMin {
		l.gaps[l.at].from, l.gaps[l.at].to = due, now
		l.at = (l.at + 1) % latenessKept
	}
}

// between returns how much of the time from from to to falls into gaps.
func (l *lateness) between(from, to int64) (sum int64) {
	for _, a := range l.gaps {
		if overlap := min(to, a.to) - max(from, a.from); overlap > 0 {
			sum += overlap
		}
	}
	return sum
}
