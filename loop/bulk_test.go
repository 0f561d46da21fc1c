package loop

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// store is a line protocol with large bodies: "put N" and N bytes are answered
// with their SHA-256, "get" with a file, anything else is echoed. Bodies go by
// the bulk lane.
type store struct {
	conn   *Conn
	task   *Task
	file   string
	closed func(error)
	ended  func(error)
}

func (s *store) Data(c *Conn) {
	if s.task == nil {
		s.next(c)
	}
}

func (s *store) next(c *Conn) {
	if strings.Contains(string(c.Input()[:min(len(c.Input()), 100)]), "\n") {
		_, _ = c.Loop().Start(s) // Run knows its task: it may have ended by now
	}
}

func (s *store) Timeout(c *Conn) { c.Abort(errors.New("timeout")) }

func (s *store) Closed(_ *Conn, err error) {
	if s.task != nil {
		s.task.Cancel(err)
	}
	if s.closed != nil {
		s.closed(err)
	}
}

func (s *store) Run(t *Task) {
	s.task = t
	line, _, _ := strings.Cut(string(s.conn.Input()[:min(len(s.conn.Input()), 100)]), "\n")
	s.conn.Consume(len(line) + 1)
	err := s.answer(t, line)
	if s.ended != nil {
		s.ended(err)
	}
	if err != nil {
		s.conn.Abort(err)
	}
}

func (s *store) Done(*Task, error) {
	s.task = nil
	if !s.conn.Closed() {
		s.next(s.conn)
	}
}

func (s *store) answer(t *Task, line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "put":
		var n int64
		_, _ = fmt.Sscan(arg, &n)
		b, err := t.Detach(s.conn)
		if err != nil {
			return err
		}
		sum := sha256.New()
		for buf := make([]byte, 64<<10); n > 0; {
			k, err := b.Read(buf[:min(n, int64(len(buf)))])
			sum.Write(buf[:k])
			if n -= int64(k); err != nil {
				return err
			}
		}
		s.conn.Write(fmt.Appendf(nil, "%x\n", sum.Sum(nil)))
		return b.Attach()
	case "get":
		f, err := os.Open(s.file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		b, err := t.Detach(s.conn)
		if err != nil {
			return err
		}
		if _, err := b.ReadFrom(f); err != nil {
			return err
		}
		return b.Attach()
	}
	s.conn.Write([]byte(line + "\n"))
	return nil
}

func startStore(t *testing.T, open func(*Conn) *store) *Engine {
	t.Helper()
	if open == nil {
		open = func(c *Conn) *store { return &store{conn: c} }
	}
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(c *Conn) Handler { return open(c) }})
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, e) })
	return e
}

func stop(t *testing.T, e *Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, e.Stop(ctx))
}

// dial connects as a client that gives up after a while instead of hanging.
func dial(t *testing.T, e *Engine) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", e.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c, bufio.NewReader(c)
}

func noise(n int) []byte {
	rnd := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = rnd.Read(b)
	return b
}

func say(t *testing.T, c net.Conn, r *bufio.Reader, line string) string {
	t.Helper()
	_, err := io.WriteString(c, line+"\n")
	require.NoError(t, err)
	got, err := r.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(got)
}

func TestBulkUploadAndDownload(t *testing.T) {
	up, down := noise(50<<20), noise(10<<20)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, down, 0o600))
	e := startStore(t, func(c *Conn) *store { return &store{conn: c, file: file} })
	c, r := dial(t, e)
	other, otherR := dial(t, e)
	require.Equal(t, "hello", say(t, c, r, "hello"))

	_, err := fmt.Fprintf(c, "put %d\n", len(up))
	require.NoError(t, err)
	half := len(up) / 2
	_, err = c.Write(up[:half])
	require.NoError(t, err)
	require.Equal(t, "held?", say(t, other, otherR, "held?"), "in the middle of an upload the loop answers others")
	_, err = c.Write(up[half:])
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(up)), say(t, c, r, "and a pipelined line"))
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "and a pipelined line\n", line, "what came during the upload is read after it")

	_, err = io.WriteString(c, "get\n")
	require.NoError(t, err)
	got := make([]byte, len(down))
	_, err = io.ReadFull(r, got[:len(down)/2])
	require.NoError(t, err)
	require.Equal(t, "held?", say(t, other, otherR, "held?"), "nor does a download hold the loop")
	_, err = io.ReadFull(r, got[len(down)/2:])
	require.NoError(t, err)
	require.Equal(t, down, got)
	require.Equal(t, "on the loop again", say(t, c, r, "on the loop again"))
	require.Equal(t, 2, e.Conns(), "a stream off the loop keeps its place")
}

func TestBulkEndings(t *testing.T) {
	errTimeout := errors.New("handler timeout")
	for _, tc := range []struct {
		why  string
		end  func(e *Engine, c net.Conn, s *store)
		task func(*testing.T, error)
		conn func(*testing.T, error)
	}{
		{"a client that leaves ends the operation", func(_ *Engine, c net.Conn, _ *store) { _ = c.Close() },
			func(t *testing.T, err error) { require.ErrorIs(t, err, io.EOF) },
			func(t *testing.T, err error) { require.ErrorIs(t, err, io.EOF, "as the task aborts with it") }},
		{"a cancelled task interrupts it and waits for its goroutine",
			func(e *Engine, _ net.Conn, s *store) { e.Loops()[0].Post(func() { s.task.Cancel(errTimeout) }) },
			func(t *testing.T, err error) { require.Equal(t, errTimeout, err) },
			func(t *testing.T, err error) { require.Equal(t, errTimeout, err) }},
		{"aborting the connection drops the stream",
			func(e *Engine, _ net.Conn, s *store) { e.Loops()[0].Post(func() { s.conn.Abort(errTimeout) }) },
			func(t *testing.T, err error) { require.Error(t, err) },
			func(t *testing.T, err error) { require.Equal(t, errTimeout, err) }},
		{"closing it as well",
			func(e *Engine, _ net.Conn, s *store) { e.Loops()[0].Post(func() { s.conn.Close() }) },
			func(t *testing.T, err error) { require.Error(t, err) },
			func(t *testing.T, err error) { require.NoError(t, err) }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			opened := make(chan *store, 1)
			taskEnd, connEnd := make(chan error, 1), make(chan error, 1)
			e := startStore(t, func(c *Conn) *store {
				s := &store{conn: c, ended: func(err error) { taskEnd <- err }, closed: func(err error) { connEnd <- err }}
				opened <- s
				return s
			})
			c, _ := dial(t, e)
			s := <-opened
			_, err := fmt.Fprintf(c, "put 1000000\nonly a part")
			require.NoError(t, err)
			waitUntil(t, e.Loops()[0], func() bool { return s.conn.detached })
			tc.end(e, c, s)
			tc.task(t, <-taskEnd)
			tc.conn(t, <-connEnd)
			require.Equal(t, 0, e.Conns())
			waitUntil(t, e.Loops()[0], func() bool { return s.conn.loop.Stats().Conns == 0 && len(s.conn.loop.detached) == 0 })
		})
	}
}

// waitUntil asks on the loop until cond holds.
func waitUntil(t *testing.T, l *Loop, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		holds := make(chan bool)
		require.True(t, l.Post(func() { holds <- cond() }))
		if <-holds {
			return
		}
	}
	require.Fail(t, "it never came")
}

func TestBulkShutdown(t *testing.T) {
	connEnd := make(chan error, 1)
	opened := make(chan *store, 1)
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(c *Conn) Handler {
		s := &store{conn: c, closed: func(err error) { connEnd <- err }}
		opened <- s
		return s
	}})
	require.NoError(t, err)
	c, _ := dial(t, e)
	_, err = fmt.Fprintf(c, "put 1000000\n")
	require.NoError(t, err)
	s := <-opened
	waitUntil(t, e.Loops()[0], func() bool { return s.conn.detached })
	stop(t, e)
	require.Error(t, <-connEnd, "the handler is told")
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err, "the stream does not outlive the engine")
}

func TestBulkDo(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		why  string
		f    func(net.Conn) error
		want string
	}{
		{"its error is the caller's", func(net.Conn) error { return boom }, "error boom"},
		{"its panic too, with its stack", func(net.Conn) error { panicsHere(boom); return nil }, "panic boom true"},
		{"Goexit ends it alone", func(net.Conn) error { goexit(); return nil }, "error " + ErrGoexit.Error()},
		{"the stream blocks inside", func(s net.Conn) error {
			p := make([]byte, 4)
			if _, err := io.ReadFull(s, p); err != nil {
				return err
			}
			return errors.New(string(p))
		}, "error abcd"},
	} {
		t.Run(tc.why, func(t *testing.T) {
			got := make(chan string, 1)
			e, err := Start(Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(c *Conn) Handler {
				return &spy{data: func(c *Conn) { _, _ = c.Loop().Start(&code{run: func(t *Task) { got <- doBulk(t, c, tc.f) }}) }}
			}})
			require.NoError(t, err)
			defer stop(t, e)
			c, _ := dial(t, e)
			_, err = io.WriteString(c, "abcd")
			require.NoError(t, err)
			require.Equal(t, tc.want, <-got)
		})
	}
}

func doBulk(t *Task, c *Conn, f func(net.Conn) error) (how string) {
	b, err := t.Detach(c)
	if err != nil {
		return err.Error()
	}
	defer func() {
		if p, ok := recover().(*PanicError); ok {
			how = fmt.Sprintf("panic %v %v", p.Value, strings.Contains(string(p.Stack), "panicsHere"))
		}
	}()
	if err := b.Do(f); err != nil {
		return "error " + err.Error()
	}
	return "ok"
}

func TestDetachNeedsAStream(t *testing.T) {
	l, _ := newManual(t, Limits{})
	c, _ := openMemory(l, &spy{})
	var err error
	start(t, l, func(t *Task) { _, err = t.Detach(c) })
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.False(t, c.Closed(), "it is as before")
}

// BenchmarkBulkRead reads 16 KiB at a time: what a call costs beside the copy.
func BenchmarkBulkRead(b *testing.B) {
	const size = 16 << 10
	var once sync.Once
	done := make(chan struct{})
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(c *Conn) Handler {
		return &spy{data: func(c *Conn) {
			once.Do(func() {
				_, _ = c.Loop().Start(&code{run: func(t *Task) {
					bulk, err := t.Detach(c)
					if err != nil {
						panic(err)
					}
					buf := make([]byte, size)
					for b.Loop() {
						if _, err := bulk.Read(buf); err != nil {
							panic(err)
						}
					}
					close(done)
				}})
			})
		}}
	}})
	require.NoError(b, err)
	b.SetBytes(size)
	c, err := net.Dial("tcp", e.Addr().String())
	require.NoError(b, err)
	go func() {
		for buf := make([]byte, 256<<10); ; {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	<-done
	_ = c.Close()
	_ = e.Stop(context.Background())
}

func goexit() { runtime.Goexit() }

// What another goroutine wrote and the loop has not taken yet must not be lost
// when the stream leaves the loop just then.
func TestWritesOffTheLoopSurviveLeavingIt(t *testing.T) {
	accepted := make(chan *netConn, 1)
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(c *Conn) Handler {
		n := NewNetConn(c).(*netConn)
		accepted <- n
		return n
	}})
	require.NoError(t, err)
	defer stop(t, e)
	c, r := dial(t, e)
	n := <-accepted
	left := make(chan bool)
	e.Loops()[0].Post(func() {
		written := make(chan error)
		go func() {
			_, err := n.Write([]byte("first\n"))
			written <- err
		}()
		if err := <-written; err != nil {
			panic(err)
		}
		n.leaveLoop(0)
		left <- n.bulk != nil
	})
	require.True(t, <-left)
	_, err = n.Write([]byte("second\n"))
	require.NoError(t, err)
	for _, want := range []string{"first\n", "second\n"} {
		got, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = io.WriteString(c, "third\n")
	require.NoError(t, err)
	got, err := bufio.NewReader(n).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "third\n", got)
}
