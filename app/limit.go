// Limits that a middleware sets while a request runs. Route and Options have the limits that apply from its start.

package app

import "time"

// LimitTime sets the deadline of the request to d from now, unless it has an earlier one. At the deadline the request is cancelled and, if
// nothing was written, answered with 503. d must be above 0.
func (c *Context) LimitTime(d time.Duration) {
	defer c.task.Leave(c.task.Enter())
	due := c.state.loop.Now() + int64(d)
	if d <= 0 || c.deadline != 0 && c.deadline <= due {
		return
	}
	c.deadline = due
	c.task.SetDeadline(d)
}

// LimitBody lowers the limit on the request body to n bytes. It never raises it. Reading more fails with an error that answers 413.
// LimitBody returns that error itself if the Content-Length exceeds n.
func (c *Context) LimitBody(n int64) error {
	c.bodyMax = min(c.bodyMax, n)
	if c.req.ContentLength > c.bodyMax {
		return refusedBody
	}
	return nil
}
