// Rates of frames that cost this side more than the peer: each has a burst that is refilled over strainTime.

package http2

import "time"

const (
	strainTime = int64(30 * time.Second) // in which a full burst is refilled
	usefulness = 4                       // control or empty frames that one useful frame allows
)

// strain is a burst of events (the virtual scheduling of GCRA): the time at which it will be full again.
type strain struct{ full int64 }

// add counts one event at the time now. It reports false if the burst of most is used up.
func (s *strain) add(now int64, most int) bool {
	s.full = max(s.full, now) + strainTime/int64(max(most, 1))
	return s.full-now <= strainTime
}

// relieve gives back n events.
func (s *strain) relieve(n int, most int) { s.full -= int64(n) * (strainTime / int64(max(most, 1))) }

// useful counts a frame that carries a request or data.
func (c *Conn) useful() {
	l := c.shared.Limits
	c.controls.relieve(usefulness, l.ControlFramesMax)
	c.empties.relieve(usefulness, l.EmptyFramesMax)
}

// control counts a frame that carries neither.
func (c *Conn) control() *Error {
	if c.controls.add(c.rc.Loop().Now(), c.shared.Limits.ControlFramesMax) {
		return nil
	}
	return errControl
}

// reset counts a stream that the peer has reset, or that was reset for an error of the peer.
func (c *Conn) reset() *Error {
	if c.resets.add(c.rc.Loop().Now(), c.shared.Limits.ResetsMax) {
		return nil
	}
	return errResets
}
