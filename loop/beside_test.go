package loop_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// A task that blocks its loop until another goroutine has used one of the loop's
// connections must not stop the world: pgconn's background reader is such a
// goroutine, as are those of every client that splits reading from writing.
func TestAStuckLoopIsWorkedBeside(t *testing.T) {
	big := make([]byte, 3<<20)
	for i := range big {
		big[i] = byte(i * 7)
	}
	for _, tc := range []struct {
		why   string
		task  func(c net.Conn)       // before it blocks
		other func(c net.Conn) error // what it blocks for
	}{
		{"the goroutine reads what the task has asked for",
			func(c net.Conn) { _, _ = c.Write([]byte("question")) },
			func(c net.Conn) error { return expect(c, []byte("question")) }},
		{"the goroutine asks and reads",
			func(net.Conn) {},
			func(c net.Conn) error {
				if _, err := c.Write([]byte("question")); err != nil {
					return err
				}
				return expect(c, []byte("question"))
			}},
		{"more than fits anywhere",
			func(net.Conn) {},
			func(c net.Conn) error {
				written := make(chan error, 1)
				go func() {
					_, err := c.Write(big)
					written <- err
				}()
				if err := expect(c, big); err != nil {
					return err
				}
				return <-written
			}},
		{"a deadline still passes",
			func(c net.Conn) { _ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) },
			func(c net.Conn) error {
				_, err := c.Read(make([]byte, 1))
				if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
					return err
				}
				return c.SetReadDeadline(time.Time{})
			}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			addr := serve(t, echo)
			e := startEngine(t, 1, nothing)
			d := bound(e)
			require.NoError(t, onTask(e.Loops()[0], func(*loop.Task) {
				c, err := d.Dial("tcp", addr)
				require.NoError(t, err)
				defer func() { _ = c.Close() }()
				for range 3 {
					done := make(chan error)
					tc.task(c)
					go func() { done <- tc.other(c) }()
					require.NoError(t, <-done, "this wait holds the loop")
					_, err = c.Write([]byte("and"))
					require.NoError(t, err)
					require.NoError(t, expect(c, []byte("and")), "afterwards the task goes on with it")
				}
			}))
		})
	}
}

func expect(c net.Conn, want []byte) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(want) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// TestBesideABusyLoop has a goroutine read while a task holds the loop again and
// again: whoever of the two delivers, the bytes stay in order.
func TestBesideABusyLoop(t *testing.T) {
	const size = 4 << 20
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i>>8) ^ byte(i*31)
	}
	addr := serve(t, func(c net.Conn) {
		for b := body; len(b) > 0; b = b[min(len(b), 3000):] {
			if _, err := c.Write(b[:min(len(b), 3000)]); err != nil {
				return
			}
		}
	})
	e := startEngine(t, 1, nothing)
	d := bound(e)
	require.NoError(t, onTask(e.Loops()[0], func(task *loop.Task) {
		c, err := d.Dial("tcp", addr)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		done := make(chan error, 1)
		go func() { done <- expect(c, body) }()
		for len(done) == 0 {
			for until := time.Now().Add(7 * time.Millisecond); time.Now().Before(until) && len(done) == 0; {
			}
			require.NoError(t, task.Sleep(time.Millisecond))
		}
		require.NoError(t, <-done)
	}))
}
