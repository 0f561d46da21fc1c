package watchdog

// When the steward wakes late, something kept it from running: a busy machine,
// a stopped process, a frozen container, a paused virtual machine. What a slice
// seems to have waited meanwhile proves nothing about its code.

const (
	latenessMin  = int64(1_000_000) // below it nothing is concluded from it, ns
	latenessKept = 64
)

// lateness remembers when the sampler did not run although it should have. The
// sampler's own; times are on its clock, ns.
type lateness struct {
	absent [latenessKept]struct{ from, to int64 }
	at     int
	last   int64 // of the last wake
}

// woke notes that a sleep that should have ended at due ended now.
func (l *lateness) woke(due, now int64) {
	l.last = now - due
	if l.last >= latenessMin {
		l.absent[l.at].from, l.absent[l.at].to = due, now
		l.at = (l.at + 1) % latenessKept
	}
}

// between is for how long the sampler was absent from one time to another.
func (l *lateness) between(from, to int64) (sum int64) {
	for _, a := range l.absent {
		if overlap := min(to, a.to) - max(from, a.from); overlap > 0 {
			sum += overlap
		}
	}
	return sum
}
