// The minimum rate of request bodies. BodyTimeout alone does not stop a client that sends single bytes to hold a task and a connection
// (slow POST).

package app

import (
	"cmp"
	"time"
)

const (
	bodyRateMin   = 240             // bytes per second, by default
	bodyRateGrace = 5 * time.Second // by default
)

// bodyRate is a credit of waiting time. It starts with BodyRateGrace, gains a second for each BodyRateMin bytes received, and is capped at
// the longer of BodyRateGrace and BodyTimeout. Waiting for the body uses it up. It is checked when a wait begins: BodyTimeout ends a pause,
// and a burst after a pause can restore the credit.
type bodyRate struct {
	bytesMin int64 // per second; 0: no minimum
	credit   time.Duration
	began    int64         // loop time at which the current wait began
	pause    time.Duration // in place of BodyTimeout, if not 0
}

// SetBodyTimeout replaces Options.BodyTimeout for the body of this request, and exempts it from BodyRateMin, until the handler returns. It is
// for clients that stream and may be silent for long. It has no effect on a body that has arrived completely.
func (c *Context) SetBodyTimeout(d time.Duration) { c.body.rate.pause, c.body.rate.bytesMin = d, 0 }

// begin starts the credit of a body.
func (r *bodyRate) begin(c *Context) {
	o := &c.app.options
	if *r = (bodyRate{credit: o.BodyRateGrace}); o.BodyRateMin > 0 && (c.route == nil || !c.route.SlowBody) && !c.state.bridged {
		r.bytesMin = int64(o.BodyRateMin)
	}
}

// came credits n received bytes.
func (r *bodyRate) came(c *Context, n int) {
	if r.bytesMin > 0 {
		o := &c.app.options
		r.credit = min(r.credit+time.Duration(int64(n)*int64(time.Second)/r.bytesMin), max(o.BodyRateGrace, o.BodyTimeout))
	}
}

// wait begins a wait and returns its timeout: BodyTimeout, or 1 ns if no credit is left.
func (r *bodyRate) wait(c *Context) time.Duration {
	timeout := cmp.Or(r.pause, c.app.options.BodyTimeout)
	if r.bytesMin == 0 {
		return timeout
	}
	if r.began = c.state.loop.Clock(); r.credit <= 0 {
		return 1
	}
	return timeout
}

// waited ends the wait and charges it.
func (r *bodyRate) waited(c *Context) {
	if r.bytesMin > 0 {
		r.credit -= time.Duration(c.state.loop.Clock() - r.began)
	}
}
