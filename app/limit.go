// This file owns what a middleware may narrow while a request runs: its time and its body. What holds from the start
// is the route's and the Options'.

package app

import "time"

// LimitTime cancels the request d from now, unless its deadline is sooner. What is answered then is told at
// Options.HandlerTimeout. d must be above 0.
func (c *Context) LimitTime(d time.Duration) {
	defer c.task.Leave(c.task.Enter())
	due := c.state.loop.Now() + int64(d)
	if d <= 0 || c.deadline != 0 && c.deadline <= due {
		return
	}
	c.deadline = due
	c.task.SetDeadline(d)
}

// LimitBody lowers the bound on the request body to n bytes, if it is above. Reading beyond it fails with a 413;
// where the client has announced more, LimitBody returns that error itself.
func (c *Context) LimitBody(n int64) error {
	c.bodyMax = min(c.bodyMax, n)
	if c.req.ContentLength > c.bodyMax {
		return refusedBody
	}
	return nil
}
