package reactor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop"
	"tafe/loop/reactor"
)

// sending responds to each byte with a head and a part of a file, then to the next
// byte.
type sending struct {
	f         *os.File
	offset, n int64
	before    func(t *loop.Task, c *reactor.Conn)
	result    chan sendResult
	closed    chan error
}

// sendingConn is a connection of a sending.
type sendingConn struct {
	*sending
	busy bool
}

type sendResult struct {
	sent   int64
	err    error
	unsent int
}

const head = "HTTP/1.1 200 OK\r\n\r\n"

func (h *sendingConn) Data(c *reactor.Conn) {
	switch {
	case h.busy:
		return
	case len(c.Input()) == 0:
		c.Close()
		return
	}
	h.busy = true
	c.Consume(1)
	_, _ = c.Loop().Start(&fileTask{func(t *loop.Task) {
		c.Write([]byte(head))
		if h.before != nil {
			h.before(t, c)
		}
		sent, err := reactor.SendFile(t, c, h.f, h.offset, h.n)
		h.result <- sendResult{sent, err, c.Unsent()}
		if err != nil {
			c.Abort(err)
			return
		}
		c.Write([]byte("end"))
		if h.busy = false; len(c.Input()) > 0 || c.InputEnded() {
			h.Data(c)
		}
	}})
}
func (h *sendingConn) Timeout(c *reactor.Conn) { c.Close() }
func (h *sendingConn) Closed(_ *reactor.Conn, err error) {
	if h.closed != nil {
		h.closed <- err
	}
}

// task is a Runner made of a function.
type fileTask struct{ run func(t *loop.Task) }

func (r *fileTask) Run(t *loop.Task)       { r.run(t) }
func (r *fileTask) Done(*loop.Task, error) {}

func randomFile(t testing.TB, size int) (*os.File, []byte) {
	content := make([]byte, size)
	_, _ = rand.New(rand.NewSource(1)).Read(content)
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f, content
}

func sendingEngine(t testing.TB, h *sending, limits reactor.Limits) (*reactor.Engine, string) {
	h.result = make(chan sendResult, 1000)
	e := runEngine(t, reactor.Config{
		Addr: "127.0.0.1:0", Loops: 1, Limits: limits, Log: slog.New(slog.DiscardHandler),
		Open: func(*reactor.Conn) reactor.Handler { return &sendingConn{sending: h} },
	})
	return e, e.Addr().String()
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

func TestSendFile(t *testing.T) {
	const size = 3<<20 + 17
	f, content := randomFile(t, size)
	for _, tc := range []struct {
		name      string
		offset, n int64
		sent      int64
		slow      bool
		larger    int // bytes before the head
	}{
		{"whole", 0, size, size, false, 0},
		{"whole, slowly read", 0, size, size, true, 0},
		{"whole, after a large output", 0, size, size, true, 5 << 20},
		{"a part", 1000, 100, 100, false, 0},
		{"a part of two steps", 4097, 500 << 10, 500 << 10, false, 0},
		{"nothing", 5, 0, 0, false, 0},
		{"short", size - 1000, 5000, 1000, false, 0},
		{"short, of several steps", 100, 2 * size, size - 100, true, 0},
		{"beyond the end", size, 10, 0, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &sending{f: f, offset: tc.offset, n: tc.n}
			h.before = func(_ *loop.Task, c *reactor.Conn) { c.Write(make([]byte, tc.larger)) }
			e, addr := sendingEngine(t, h, reactor.Limits{})
			c := dial(t, addr)
			require.NoError(t, c.SetReadBuffer(64<<10))
			_, err := io.WriteString(c, "xx")
			require.NoError(t, err)
			if tc.slow {
				time.Sleep(20 * time.Millisecond)
				require.NoError(t, c.CloseWrite())
			}
			want := append([]byte(head), make([]byte, tc.larger)...)
			want = append(want, content[tc.offset:tc.offset+tc.sent]...)
			want = append(want, "end"...)
			for range 2 {
				got := make([]byte, len(want))
				_, err = io.ReadFull(c, got)
				require.NoError(t, err)
				require.Equal(t, sha256.Sum256(want), sha256.Sum256(got))
				r := <-h.result
				require.NoError(t, r.err)
				require.Equal(t, tc.sent, r.sent)
				if tc.n > 0 {
					require.Zero(t, r.unsent, "what was before it is sent")
				}
			}
			require.EqualValues(t, 2*len(want), stat(e, func(s reactor.Stats) uint64 { return s.BytesOut }))
			require.Zero(t, stat(e, func(s reactor.Stats) uint64 { return uint64(s.Timers) }))
		})
	}
}

func TestSendFileWithReadingOff(t *testing.T) {
	f, content := randomFile(t, 3<<20)
	h := &sending{f: f, n: 3 << 20, before: func(_ *loop.Task, c *reactor.Conn) { c.Pause() }}
	_, addr := sendingEngine(t, h, reactor.Limits{})
	c := dial(t, addr)
	_, err := io.WriteString(c, "x")
	require.NoError(t, err)
	got := make([]byte, len(head)+len(content))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got[len(head):]))
}

// Several events end SendFile: a peer that does not read, a peer that closes, a
// cancelled task, and a closed connection.
func TestSendFileEnds(t *testing.T) {
	f, _ := randomFile(t, 20<<20)
	gone := errors.New("gone")
	var running *loop.Task
	var conn *reactor.Conn
	for _, tc := range []struct {
		name   string
		limits reactor.Limits
		do     func(e *reactor.Engine, c *net.TCPConn)
		want   error
		closed error
	}{
		{"takes nothing", reactor.Limits{WriteTimeout: 100 * time.Millisecond}, nil, loop.ErrClosed, reactor.ErrWriteTimeout},
		{"leaves", reactor.Limits{}, func(_ *reactor.Engine, c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, loop.ErrClosed, nil},
		{"cancelled", reactor.Limits{}, func(e *reactor.Engine, _ *net.TCPConn) { e.Loops()[0].Post(func() { running.Cancel(gone) }) }, gone, gone},
		{"closed", reactor.Limits{}, func(e *reactor.Engine, _ *net.TCPConn) { e.Loops()[0].Post(func() { conn.Close() }) }, loop.ErrClosed, loop.ErrClosed},
		{"the engine stops", reactor.Limits{}, func(e *reactor.Engine, _ *net.TCPConn) { _ = e.Stop(context.Background()) }, loop.ErrShutdown, nil},
		{"aborted", reactor.Limits{}, func(e *reactor.Engine, _ *net.TCPConn) { e.Loops()[0].Post(func() { conn.Abort(gone) }) }, loop.ErrClosed, gone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &sending{f: f, n: 20 << 20, closed: make(chan error, 1)}
			began := make(chan bool, 1)
			h.before = func(t *loop.Task, c *reactor.Conn) {
				running, conn = t, c
				began <- true
			}
			e, addr := sendingEngine(t, h, tc.limits)
			c := dial(t, addr)
			require.NoError(t, c.SetReadBuffer(64<<10))
			_, err := io.WriteString(c, "x")
			require.NoError(t, err)
			<-began
			if tc.do != nil {
				tc.do(e, c)
			}
			r := <-h.result
			require.ErrorIs(t, r.err, tc.want)
			require.Less(t, r.sent, int64(20<<20))
			if err := <-h.closed; tc.closed != nil {
				require.ErrorIs(t, err, tc.closed)
			} else {
				require.Error(t, err)
			}
			require.Eventually(t, func() bool { return e.Conns() == 0 }, 10*time.Second, time.Millisecond)
			if !e.Loops()[0].Stopped() {
				require.Zero(t, stat(e, func(s reactor.Stats) uint64 { return uint64(s.Timers + s.TasksAlive) }))
			}
		})
	}
}

// The loop serves other connections while many files are sent.
func TestSendFileToMany(t *testing.T) {
	f, content := randomFile(t, 2<<20)
	want := sha256.Sum256(content)
	h := &sending{f: f, n: 2 << 20}
	e, addr := sendingEngine(t, h, reactor.Limits{})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			_, _ = io.WriteString(c, "x")
			if i%5 == 0 {
				return // leaves
			}
			got := make([]byte, len(head)+len(content))
			if _, err := io.ReadFull(c, got); err != nil || sha256.Sum256(got[len(head):]) != want {
				t.Error(i, err)
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return e.Conns() == 0 }, 10*time.Second, time.Millisecond)
}

// Truncating a file ends its sending early.
func TestSendFileTruncated(t *testing.T) {
	const size = 20 << 20
	f, content := randomFile(t, size)
	h := &sending{f: f, n: size}
	e, addr := sendingEngine(t, h, reactor.Limits{})
	c := dial(t, addr)
	require.NoError(t, c.SetReadBuffer(64<<10))
	_, err := io.WriteString(c, "x")
	require.NoError(t, err)
	got := make([]byte, len(head)+100)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content[:100], got[len(head):]))
	require.NoError(t, f.Truncate(size/2))
	rest, sum := make(chan int64, 1), int64(100)
	go func() {
		n, _ := io.Copy(io.Discard, c)
		rest <- n
	}()
	r := <-h.result
	require.NoError(t, r.err)
	require.Less(t, r.sent, int64(size))
	e.Loops()[0].Post(func() {})
	require.NoError(t, c.CloseWrite())
	require.Equal(t, r.sent+int64(len("end")), sum+<-rest)
}

func TestSendFileNeedsPlainSocket(t *testing.T) {
	f, _ := randomFile(t, 1000)
	for _, tc := range []struct {
		name   string
		secure bool
		from   func() *os.File
	}{
		{"TLS", true, func() *os.File { return f }},
		{"a pipe", false, func() *os.File {
			r, w, err := os.Pipe()
			require.NoError(t, err)
			t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
			return r
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &sending{f: tc.from(), n: 1000, result: make(chan sendResult, 1)}
			l := reactor.Listener{Addr: "127.0.0.1:0"}
			if tc.secure {
				l.TLS = &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{ownCertificate()}}}
			}
			e := runEngine(t, reactor.Config{
				Loops: 1, Log: slog.New(slog.DiscardHandler), Listeners: []reactor.Listener{l},
				Open: func(*reactor.Conn) reactor.Handler { return &sendingConn{sending: h} },
			})
			var c net.Conn = dial(t, e.Addr().String())
			if tc.secure {
				c = tls.Client(c, clientConfig())
			}
			_, err := io.WriteString(c, "x")
			require.NoError(t, err)
			r := <-h.result
			require.ErrorIs(t, r.err, errors.ErrUnsupported)
			require.Zero(t, r.sent)
		})
	}
}

func TestCached(t *testing.T) {
	const size = 1 << 20
	f, _ := randomFile(t, size)
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		t.Skip(err)
	}
	require.True(t, reactor.Cached(f, 0, size))
	require.True(t, reactor.Cached(f, 4095, 2))
	require.True(t, reactor.Cached(f, size, 0))
	require.False(t, reactor.Cached(f, 0, 2*size), "beyond its end")
	_ = unix.Fadvise(int(f.Fd()), 0, size, unix.FADV_DONTNEED)
	if reactor.Cached(f, 0, size) {
		t.Skip("this file system keeps its files in memory")
	}
	require.False(t, reactor.Cached(f, size/2, 1))
	_, err := f.ReadAt(make([]byte, 1), size/2)
	require.NoError(t, err)
	require.True(t, reactor.Cached(f, size/2, 1))
	require.False(t, reactor.Cached(f, 0, size), "a part of it is")
}
