package reactor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// lineEcho sends each line back after a cooperative wait of the given length.
type lineEcho struct {
	wait time.Duration
}

type lineTask struct {
	c    *Conn
	line string
	wait time.Duration
	run  func(*lineTask, *loop.Task)
	done func(error)
}

func (r *lineTask) Run(t *loop.Task) {
	if r.run != nil {
		r.run(r, t)
		return
	}
	if t.Sleep(r.wait) == nil {
		r.c.Write([]byte(r.line))
	}
}

func (r *lineTask) Done(_ *loop.Task, err error) {
	if r.done != nil {
		r.done(err)
	}
}

func (h *lineEcho) Data(c *Conn) {
	for {
		in := c.Input()
		end := -1
		for i, b := range in {
			if b == '\n' {
				end = i + 1
				break
			}
		}
		if end < 0 {
			if c.InputEnded() {
				c.Close()
			}
			return
		}
		line := string(in[:end])
		c.Consume(end)
		if _, err := c.Loop().Start(&lineTask{c: c, line: line, wait: h.wait}); err != nil {
			c.Close()
		}
	}
}
func (h *lineEcho) Timeout(c *Conn)     { c.Close() }
func (h *lineEcho) Closed(*Conn, error) {}

func startEcho(t *testing.T, loops int, wait time.Duration) *Engine {
	t.Helper()
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: loops, Open: func(*Conn) Handler { return &lineEcho{wait} }})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	})
	return e
}

func TestEngineEchoes(t *testing.T) {
	for _, wait := range []time.Duration{0, 3 * time.Millisecond} {
		e := startEcho(t, 2, wait)
		require.Len(t, e.Loops(), 2)
		for i := range 8 {
			conn, err := net.Dial("tcp", e.Addr().String())
			require.NoError(t, err)
			r := bufio.NewReader(conn)
			for j := range 20 {
				msg := fmt.Sprintf("hello %d %d\n", i, j)
				_, err = io.WriteString(conn, msg)
				require.NoError(t, err)
				got, err := r.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, msg, got)
			}
			require.NoError(t, conn.Close())
		}
	}
}

func TestPostFromManyGoroutines(t *testing.T) {
	e := startEcho(t, 2, 0)
	var mu sync.Mutex
	perLoop := map[int][]int{}
	var wg sync.WaitGroup
	for _, l := range e.Loops() {
		for g := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				var ran sync.WaitGroup
				for i := range 200 {
					ran.Add(1)
					require.True(t, l.Post(func() {
						mu.Lock()
						perLoop[l.ID()*10+g] = append(perLoop[l.ID()*10+g], i)
						mu.Unlock()
						ran.Done()
					}))
				}
				ran.Wait()
			}()
		}
	}
	wg.Wait()
	for key, got := range perLoop {
		for i, v := range got {
			require.Equal(t, i, v, "posts of one goroutine keep their order (%d)", key)
		}
	}
	require.Len(t, perLoop, 8)
	require.NoError(t, e.Err())
}
