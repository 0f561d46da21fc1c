// This file owns the least rate at which a request body may come: a client that sends a byte now and then would hold a task and a
// connection for as long as it likes, whatever BodyTimeout says.

package app

import "time"

const (
	bodyRateMin   = 240             // bytes per second, by default
	bodyRateGrace = 5 * time.Second // by default
)

// bodyRate is what a client has left of the time that it may keep the server waiting: a second for each BodyRateMin bytes that came,
// after BodyRateGrace to begin with, and never more than the longer of that and BodyTimeout. Time in which nobody waits for the
// body does not count. It is judged when bytes have come: a pause is BodyTimeout's to end, and what comes after it may make up for it.
type bodyRate struct {
	bytesMin int64 // per second; 0: any rate will do
	credit   time.Duration
	began    int64 // loop clock: the wait that is under way
}

// begin is called once for each body that is waited for.
func (r *bodyRate) begin(c *Context) {
	o := &c.app.options
	if *r = (bodyRate{credit: o.BodyRateGrace}); o.BodyRateMin > 0 && (c.route == nil || !c.route.SlowBody) && !c.state.bridged {
		r.bytesMin = int64(o.BodyRateMin)
	}
}

// came adds n bytes.
func (r *bodyRate) came(c *Context, n int) {
	if r.bytesMin > 0 {
		o := &c.app.options
		r.credit = min(r.credit+time.Duration(int64(n)*int64(time.Second)/r.bytesMin), max(o.BodyRateGrace, o.BodyTimeout))
	}
}

// wait begins a wait, which may last for so long: next to nothing when the credit is used up.
func (r *bodyRate) wait(c *Context) time.Duration {
	timeout := c.app.options.BodyTimeout
	if r.bytesMin == 0 {
		return timeout
	}
	if r.began = c.state.loop.Clock(); r.credit <= 0 {
		return 1
	}
	return timeout
}

// waited ends it.
func (r *bodyRate) waited(c *Context) {
	if r.bytesMin > 0 {
		r.credit -= time.Duration(c.state.loop.Clock() - r.began)
	}
}
