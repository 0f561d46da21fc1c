package client

import (
	"testing"

	"tafe/loop"
)

// BenchmarkGet in a task: the request is flushed at the end of its slice, the task parks, and the loop's poller
// receives the response.
func BenchmarkGetInTask(b *testing.B) {
	e := loops(b, 1)
	p := plain(b, kilobyte())
	c := newClient(b, Options{})
	b.ReportAllocs()
	defer reportCPU(b)()
	start(b, e.Loops()[0], func(t *loop.Task) { getMany(b, c, t, p, b.N) }).wait(b)
}

// Sixteen requests at a time: the cost of a request on a busy loop.
func BenchmarkGetInTasks(b *testing.B) {
	e := loops(b, 1)
	p := plain(b, kilobyte())
	c := newClient(b, Options{})
	b.ReportAllocs()
	defer reportCPU(b)()
	var jobs []*job
	for range 16 {
		jobs = append(jobs, start(b, e.Loops()[0], func(t *loop.Task) { getMany(b, c, t, p, b.N/16+1) }))
	}
	for _, j := range jobs {
		j.wait(b)
	}
}

func getMany(b *testing.B, c *Client, t *loop.Task, p *peer, n int) {
	req := Request{URL: p.url("/path")}
	var resp Response
	buf := make([]byte, 0, 2048)
	for range n {
		if err := c.Do(t, nil, &req, &resp); err != nil {
			b.Error(err)
			return
		}
		buf, _ = resp.AppendBody(buf[:0], 2048)
		resp.Close()
	}
}
