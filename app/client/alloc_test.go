//go:build !race

package client

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
)

// A request on a pooled connection and the reading of its body allocate nothing.
func TestAllocations(t *testing.T) {
	bodies := map[string]string{"by length": hello, "chunked": chunkedOf("5\r\nhello\r\n0\r\n\r\n")}
	for why, wire := range bodies {
		t.Run(why, func(t *testing.T) {
			p := plain(t, wire)
			c := newClient(t, Options{})
			req := Request{URL: p.url("/path?query"), Headers: fields("Accept", "*/*", "X-Request-Id", "42")}
			var resp Response
			buf := make([]byte, 0, 100)
			get := func() {
				if err := c.Do(nil, nil, &req, &resp); err != nil {
					t.Fatal(err)
				}
				var err error
				if buf, err = resp.AppendBody(buf[:0], 100); err != nil || string(buf) != "hello" {
					t.Fatal(err, string(buf))
				}
				resp.Close()
			}
			get()
			require.Zero(t, testing.AllocsPerRun(200, get))
		})
	}
}

// The same in a task.
func TestAllocationsInTask(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("a handoff allocates")
	}
	e := loops(t, 1)
	p := plain(t, hello)
	c := newClient(t, Options{})
	start(t, e.Loops()[0], func(task *loop.Task) {
		req := Request{URL: p.url("/path")}
		var resp Response
		buf := make([]byte, 0, 100)
		get := func() {
			if err := c.Do(task, nil, &req, &resp); err != nil {
				t.Error(err)
			}
			buf, _ = resp.AppendBody(buf[:0], 100)
			resp.Close()
		}
		get()
		assert.Zero(t, testing.AllocsPerRun(200, get))
	}).wait(t)
}
