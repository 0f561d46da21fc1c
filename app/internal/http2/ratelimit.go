// Rate limits for frames that cost this side more than the peer.

package http2

import "time"

const (
	rateLimitTime = int64(30 * time.Second) // in which a full burst is refilled
	usefulness    = 4                       // control or empty frames that one useful frame allows
)

// rateLimit allows a burst of events, which is refilled over rateLimitTime. full is the time at which it will be full
// again (the virtual scheduling of GCRA).
type rateLimit struct{ full int64 }

// add counts one event at the time now. It reports false if the burst of most is used up.
func (r *rateLimit) add(now int64, most int) bool {
	r.full = max(r.full, now) + rateLimitTime/int64(max(most, 1))
	return r.full-now <= rateLimitTime
}

// relieve gives back n events.
func (r *rateLimit) relieve(n int, most int) {
	r.full -= int64(n) * (rateLimitTime / int64(max(most, 1)))
}

// useful counts a frame that carries a request or data. While a peer does not read, the answers to its control frames
// pile up, and useful frames allow no more of them.
func (c *Conn) useful() {
	if c.rc.Unsent() > 2*outputMax {
		return
	}
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
