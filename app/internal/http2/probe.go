// A check whether the peer is still there.

package http2

import (
	"time"

	"tafe/loop"
)

const probeMark = "tafe:hi?" // payload of the PING of Probe

// Probe sends PING, and ends the connection if nothing arrives within d. It has no effect while another probe waits.
func (c *Conn) Probe(d time.Duration) {
	if c.closed || c.probe.Armed() {
		return
	}
	c.rc.SetOutput(appendPing(c.rc.Output(frameHeadBytes+8), 0, []byte(probeMark)))
	c.probedAt = c.rc.Loop().Now()
	c.probe.Owner = c
	c.rc.Loop().AfterFunc(&c.probe, d, func(t *loop.Timer) {
		if c := t.Owner.(*Conn); !c.closed && c.heard <= c.probedAt {
			c.Abort(ErrSilent)
		}
	})
}
