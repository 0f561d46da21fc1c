package watchdog

// When the sampler wakes late, was the whole process stopped (a signal, a
// frozen container, a paused machine), or was the sampler alone kept waiting?
// In the first case no thread of the process computed and none waited for a
// CPU; a busy machine shows one or the other.

const (
	standstillMin = int64(2_000_000) // shorter ones are not worth the question, ns
	standstillMax = 64               // remembered
)

// standstill is a time in which the process did not run. Sampler's clock, ns.
type standstill struct{ from, to, length int64 }

// standstills is the sampler's own.
type standstills struct {
	last    [standstillMax]standstill
	at      int
	process int64 // CPU time, at the last sleep
	delays  int64 // of all threads, at the last question or chore
}

// slept asks after a sleep that ended now and should have ended at due.
func (s *standstills) slept(due, now int64, c *clocks) {
	if now-due < standstillMin {
		return
	}
	delays := c.delaysOfAll()
	length := now - due - max(delays-s.delays, 0) - max(processCPU()-s.process, 0)
	s.delays = delays
	if length >= standstillMin {
		s.last[s.at] = standstill{due, now, length}
		s.at = (s.at + 1) % standstillMax
	}
}

// before notes what the clocks show before a sleep.
func (s *standstills) before() { s.process = processCPU() }

// between is for how long the process stood still from one time to another.
func (s *standstills) between(from, to int64) (sum int64) {
	for _, x := range s.last {
		if overlap := min(to, x.to) - max(from, x.from); overlap > 0 {
			sum += min(overlap, x.length)
		}
	}
	return sum
}
