package loop

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// withBulk starts a loop on which f gets the stream of the first connection that
// sends something, and connects to it.
func withBulk(t *testing.T, limits Limits, f func(*Task, *Conn) error) (client *net.TCPConn, ended chan error) {
	t.Helper()
	ended = make(chan error, 1)
	started := false
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: 1, Limits: limits, Open: func(c *Conn) Handler {
		return &spy{data: func(c *Conn) {
			if !started {
				started = true
				_, _ = c.Loop().Start(&code{run: func(t *Task) { ended <- f(t, c) }})
			}
		}}
	}})
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, e) })
	c, _ := dial(t, e)
	return c.(*net.TCPConn), ended
}

func TestDetachSendsWhatWasWrittenFirst(t *testing.T) {
	first, second := noise(6<<20), "and the rest by the bulk lane"
	c, ended := withBulk(t, Limits{}, func(task *Task, c *Conn) error {
		c.Consume(len(c.Input()))
		c.Write(first) // more than the socket takes while nobody reads
		b, err := task.Detach(c)
		if err != nil {
			return err
		}
		if n := c.Unsent(); n != 0 {
			return fmt.Errorf("%d bytes unsent", n)
		}
		_, err = io.WriteString(b, second)
		return err
	})
	_, err := c.Write([]byte("go"))
	require.NoError(t, err)
	got := make([]byte, len(first)+len(second))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(first), sha256.Sum256(got[:len(first)]))
	require.Equal(t, second, string(got[len(first):]))
	require.NoError(t, <-ended)
}

func TestBulkUntilTheEndOfTheStream(t *testing.T) {
	body := noise(3 << 20)
	c, ended := withBulk(t, Limits{}, func(task *Task, c *Conn) error {
		b, err := task.Detach(c)
		if err != nil {
			return err
		}
		sum := sha256.New()
		n, err := b.WriteTo(sum)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(b, "%d %x", n, sum.Sum(nil)); err != nil {
			return err
		}
		return b.CloseWrite()
	})
	_, err := c.Write(body)
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	got, err := io.ReadAll(c)
	require.NoError(t, err, "a half-closed stream lives on, off the loop")
	require.Equal(t, fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)), string(got))
	require.NoError(t, <-ended)
}

func TestAttachGivesBackWhatWasNotRead(t *testing.T) {
	e := startStore(t, nil)
	c, r := dial(t, e)
	_, err := io.WriteString(c, "put 5\nabcdenext\n") // in one piece, so received before Detach
	require.NoError(t, err)
	for _, want := range []string{fmt.Sprintf("%x", sha256.Sum256([]byte("abcde"))), "next"} {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, strings.TrimSpace(line))
	}
}

func TestBulkDeadlinesAndLateUse(t *testing.T) {
	c, ended := withBulk(t, Limits{}, func(task *Task, c *Conn) error {
		b, err := task.Detach(c)
		if err != nil {
			return err
		}
		if _, err := task.Detach(c); err == nil {
			return fmt.Errorf("detached twice")
		}
		if _, err := io.ReadFull(b, make([]byte, 2)); err != nil {
			return err
		}
		_ = b.SetDeadline(time.Now().Add(10 * time.Millisecond))
		_, err = b.Read(make([]byte, 1))
		if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
			return fmt.Errorf("no timeout but %v", err)
		}
		if b.LocalAddr() == nil || b.RemoteAddr().String() != c.Remote() {
			return fmt.Errorf("addresses %v %v", b.LocalAddr(), b.RemoteAddr())
		}
		if err := b.Attach(); err != nil {
			return err
		}
		if err := b.Attach(); err != ErrAttached {
			return fmt.Errorf("attached twice: %v", err)
		}
		if err := b.Close(); err != ErrAttached {
			return fmt.Errorf("closed what is not its own: %v", err)
		}
		c.Write([]byte("still here"))
		return nil
	})
	_, err := c.Write([]byte("go"))
	require.NoError(t, err)
	require.NoError(t, <-ended)
	got := make([]byte, 10)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "still here", string(got))
}
