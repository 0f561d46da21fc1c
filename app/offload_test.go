package app

import (
	"bufio"
	"context"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// Calls that block leave the loop to others, up to the bound.
func TestOffload(t *testing.T) {
	started, release := make(chan struct{}, 4), make(chan struct{})
	a := New(Options{Log: quiet, OffloadWorkers: 1, OffloadQueue: 1})
	a.Get("/blocks", func(c *Context) error {
		n, err := Offload(c, func() (int, error) {
			started <- struct{}{}
			<-release
			return 7, nil
		})
		if err != nil {
			return err
		}
		return c.String(200, strconv.Itoa(n))
	})
	a.Get("/fails", func(c *Context) error {
		_, err := Offload(c, func() (int, error) { return 0, Error(409, "taken") })
		return err
	})
	a.Get("/panics", func(c *Context) error {
		_, err := Offload(c, func() (int, error) { panic("boom") })
		return err
	})
	a.Get("/plaintext", func(c *Context) error { return c.String(200, hello) })
	s := serve(t, a, 1)
	first, second, third := dial(t, s), dial(t, s), dial(t, s)
	_, err := io.WriteString(first, "GET /blocks"+get)
	require.NoError(t, err)
	<-started
	_, err = io.WriteString(second, "GET /blocks"+get)
	require.NoError(t, err)
	counted(t, s, func(Stats) bool { return a.OffloadStats() == loop.PoolStats{Workers: 1, Queued: 1} })
	_, err = io.WriteString(third, "GET /blocks"+get+"GET /plaintext"+get)
	require.NoError(t, err)
	r := bufio.NewReader(third)
	answered(t, r, 503, func(got string) string { return got }, "beyond the bound")
	answered(t, r, 200, func(string) string { return hello }, "the loop is free")
	requireReason(t, s, "offload-full", 1)
	close(release)
	answered(t, bufio.NewReader(first), 200, func(string) string { return "7" }, "the first")
	answered(t, bufio.NewReader(second), 200, func(string) string { return "7" }, "the second")
	_, err = io.WriteString(third, "GET /fails"+get+"GET /panics"+get)
	require.NoError(t, err)
	answered(t, r, 409, func(string) string { return "taken\n" }, "its error is the handler's")
	answered(t, r, 500, func(got string) string { return got }, "and so is its panic")
	requireReason(t, s, "panic", 1)
}

// A request that is cancelled does not wait, and what goes on may ask its Context still, however many requests later.
func TestOffloadIsAbandoned(t *testing.T) {
	release, told := make(chan struct{}), make(chan error, 1)
	a := New(Options{Log: quiet})
	a.Get("/blocks", func(c *Context) error {
		_, err := Offload(c, func() (int, error) {
			<-release
			told <- c.Err()
			return 0, nil
		})
		return err
	}, Timeout(20*time.Millisecond))
	a.Get("/plaintext", func(c *Context) error { return c.String(200, hello) })
	s := serve(t, a, 1)
	conn := dial(t, s)
	r := bufio.NewReader(conn)
	_, err := io.WriteString(conn, "GET /blocks"+get)
	require.NoError(t, err)
	answered(t, r, 503, func(got string) string { return got }, "the route's timeout")
	for range 10 {
		_, err = io.WriteString(conn, "GET /plaintext"+get)
		require.NoError(t, err)
		answered(t, r, 200, func(string) string { return hello }, "the next request")
	}
	close(release)
	require.ErrorIs(t, <-told, context.DeadlineExceeded)
}

// After a Swap, requests of the previous App use the pool of the new one, so that the previous App can be closed.
func TestCloseAfterSwap(t *testing.T) {
	started, swapped := make(chan struct{}), make(chan struct{})
	before := New(Options{Log: quiet})
	before.Get("/", func(c *Context) error {
		wait := func() (int, error) { return 0, nil }
		if _, err := Offload(c, wait); err != nil { // a worker of before, which Close ends
			return err
		}
		close(started)
		<-swapped // beside the loop
		n, err := Offload(c, func() (int, error) { return 7, nil })
		if err != nil {
			return err
		}
		return c.String(200, strconv.Itoa(n))
	}, Blocking())
	s := serve(t, before, 1)
	conn := dial(t, s)
	_, err := io.WriteString(conn, "GET /"+get)
	require.NoError(t, err)
	<-started
	after := New(Options{Log: quiet})
	defer after.Close()
	require.NoError(t, s.Swap(t.Context(), after))
	before.Close()
	require.Zero(t, before.OffloadStats().Workers, "Close ends the workers")
	close(swapped)
	answered(t, bufio.NewReader(conn), 200, func(string) string { return "7" }, "a request of the closed App")
	require.Equal(t, 1, after.OffloadStats().Workers)
	before.Close()
}

// A handler that returns the error of a full Semaphore or Queue refuses the request for now: 503.
func TestFullQueueIsUnavailable(t *testing.T) {
	a := New(Options{Log: quiet})
	turns := loop.NewSemaphore(0, 0)
	a.Get("/", func(c *Context) error { return turns.Acquire(c.Task()) })
	s := serve(t, a, 1)
	conn := dial(t, s)
	_, err := io.WriteString(conn, "GET /"+get)
	require.NoError(t, err)
	answered(t, bufio.NewReader(conn), 503, func(got string) string { return got }, "no turn, and no place to wait")
	requireReason(t, s, "queue-full", 1)
}
