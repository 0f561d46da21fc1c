package loop_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// named says its name to whoever comes, and closes.
type named struct{ name string }

func (n named) open(c *loop.Conn) loop.Handler {
	c.Write([]byte(n.name))
	c.Close()
	return n
}
func (named) Data(*loop.Conn)          {}
func (named) Timeout(c *loop.Conn)     { c.Close() }
func (named) Closed(*loop.Conn, error) {}

func sharing(t *testing.T, name, addr string, loops int) (addrOf string, stop func()) {
	e, err := loop.Start(loop.Config{Addr: addr, Loops: loops, Shared: true, Open: named{name}.open, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return e.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	}
}

// From the moment that a new engine runs, the old one gets no connection any more, and nobody is turned away when it ends.
func TestTakeOver(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		addr, stopOld := sharing(t, "a", host, 2)
		ask := func() string {
			c, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			name, err := io.ReadAll(c)
			require.NoError(t, err)
			return string(name)
		}
		require.Equal(t, "a", ask())
		for _, name := range []string{"b", "c"} {
			stop := make(chan struct{})
			var asked atomic.Int64
			var crowd sync.WaitGroup
			for range 8 { // somebody always comes
				crowd.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						ask()
						asked.Add(1)
						time.Sleep(time.Millisecond) // more than the kernel can remember of closed connections are reset by it
					}
				})
			}
			require.Eventually(t, func() bool { return asked.Load() > 20 }, 20*time.Second, time.Millisecond)
			_, stopNew := sharing(t, name, addr, 3)
			for range 200 {
				require.Equal(t, name, ask(), "the old one gets none")
			}
			stopOld()
			for range 50 {
				require.Equal(t, name, ask())
			}
			close(stop)
			crowd.Wait()
			stopOld = stopNew
		}
		stopOld()
	}
}

func TestTakenPortIsTold(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	_, err = loop.Start(loop.Config{Addr: ln.Addr().String(), Loops: 1, Shared: true, Open: named{}.open})
	require.ErrorContains(t, err, "address already in use", "its owner does not share")
}
