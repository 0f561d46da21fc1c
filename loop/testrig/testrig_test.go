package testrig

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServe(t *testing.T) {
	var addr string
	var left net.Conn
	t.Run("serving", func(t *testing.T) {
		addr = Serve(t, func(c net.Conn) {
			head, err := ReadHead(c)
			_, _ = fmt.Fprintf(c, "%q %v ", head, err)
			_, _ = io.Copy(c, struct{ io.Reader }{c})
		})
		for _, x := range []struct{ why, send, want string }{
			{"a head, and what follows it", "GET / HTTP/1.1\r\n\r\nmore", `"GET / HTTP/1.1\r\n\r\n" <nil> more`},
			{"a connection that ends in the head", "GET", `"GET" EOF `},
		} {
			c, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			_, err = io.WriteString(c, x.send)
			require.NoError(t, err)
			require.NoError(t, c.(*net.TCPConn).CloseWrite())
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, x.want, string(got), x.why)
			require.NoError(t, c.Close())
		}
		var err error
		left, err = net.Dial("tcp", addr)
		require.NoError(t, err)
		_, err = io.WriteString(left, "\r\n\r\n")
		require.NoError(t, err)
		_, err = io.ReadFull(left, make([]byte, 5))
		require.NoError(t, err)
	})
	_, err := io.Copy(io.Discard, left)
	require.NoError(t, err, "its connections end with the test")
	require.NoError(t, left.Close())
	_, err = net.Dial("tcp", addr)
	require.Error(t, err)
}

// A port of Port is given to nothing else, but a server may take it by number, and again after its end.
func TestPort(t *testing.T) {
	port := Port(t)
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		require.NoError(t, err)
		c, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, ln.Close())
	}
	taken := map[string]bool{port: true}
	for range 2000 {
		another := Port(t)
		require.False(t, taken[another])
		taken[another] = true
	}
}

func TestBuffer(t *testing.T) {
	var b Buffer
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				_, _ = io.WriteString(&b, "line\n")
				_ = b.String()
			}
		})
	}
	wg.Wait()
	require.Equal(t, strings.Repeat("line\n", 400), b.String())
}

func TestLacks(t *testing.T) {
	for _, x := range []struct {
		ci              string
		failed, skipped bool
	}{{"true", true, false}, {"", false, true}, {"1", false, true}} {
		t.Setenv("CI", x.ci)
		seen := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Program(seen, "no-such-program", t.TempDir())
		}()
		<-done
		require.Equal(t, x.failed, seen.failed, "CI=%q", x.ci)
		require.Equal(t, x.skipped, seen.skipped, "CI=%q", x.ci)
	}
	require.Equal(t, "sh", Program(t, "sh")[len(Program(t, "sh"))-2:])
	require.Equal(t, "/bin/sh", Program(t, "sh", "/no/such", "/bi?"))
}

// recorder records the end of a test, and ends the goroutine as a test does.
type recorder struct {
	testing.TB
	failed, skipped bool
}

func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }
func (r *recorder) Skip(...any)           { r.skipped = true; runtime.Goexit() }
