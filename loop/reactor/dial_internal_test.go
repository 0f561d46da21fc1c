// This file tests the parts of the Dialer that do not show on the wire: the order
// of addresses, shared lookups, and how much is held unread.

package reactor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop"
	"tafe/loop/internal/testmode"
)

func TestInterleave(t *testing.T) {
	for _, tc := range []struct{ why, in, out string }{
		{"a single family keeps its order", "4a 4b", "4a 4b"},
		{"the family of the first address begins", "6a 6b 4a 4b", "6a 4a 6b 4b"},
		{"IPv4 first", "4a 6a 6b", "4a 6a 6b"},
		{"the rest of the longer family follows", "6a 6b 6c 4a", "6a 4a 6b 6c"},
		{"the input may be mixed", "4a 6a 4b 6b 6c", "4a 6a 4b 6b 6c"},
	} {
		t.Run(tc.why, func(t *testing.T) {
			var in []netip.AddrPort
			for f := range fields(tc.in) {
				in = append(in, addrPort(f))
			}
			var out []netip.AddrPort
			for f := range fields(tc.out) {
				out = append(out, addrPort(f))
			}
			require.Equal(t, out, interleave(in))
		})
	}
}

func fields(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for len(s) >= 2 && yield(s[:2]) {
			s = s[min(3, len(s)):]
		}
	}
}

func addrPort(f string) netip.AddrPort {
	a := [16]byte{15: f[1]}
	if f[0] == '4' {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[12:])), 80)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a), 80)
}

// user is a Runner made of a function.
type user struct {
	run  func(*loop.Task)
	done chan error
}

func (u *user) Run(t *loop.Task)             { t.Outside(func() { u.run(t) }) }
func (u *user) Done(_ *loop.Task, err error) { u.done <- err }

func onTask(l *loop.Loop, f func(*loop.Task)) error {
	u := &user{f, make(chan error, 1)}
	l.Post(func() {
		if _, err := l.Start(u); err != nil {
			u.done <- err
		}
	})
	return <-u.done
}

func startEngine(t *testing.T, loops int) *Engine {
	t.Helper()
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: loops, Open: func(c *Conn) Handler { return NewNetConn(c).(Handler) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Stop(context.Background())) })
	return e
}

// listenAt listens at port of a loopback address; 0 chooses a port. It closes the
// connections that it accepts.
func listenAt(t *testing.T, ip string, port int) int {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(ip), Port: port})
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().(*net.TCPAddr).Port
}

// deafAt listens at port of a loopback address without answering SYNs: its backlog
// is full.
func deafAt(t *testing.T, ip [4]byte, port int) {
	t.Helper()
	to := &unix.SockaddrInet4{Addr: ip, Port: port}
	for i := range 4 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		if i == 0 {
			require.NoError(t, unix.Bind(fd, to))
			require.NoError(t, unix.Listen(fd, 0))
			continue
		}
		require.ErrorIs(t, unix.Connect(fd, to), unix.EINPROGRESS)
	}
}

func loopback(last ...byte) (all []netip.Addr) {
	for _, b := range last {
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 0, b}))
	}
	return all
}

func TestHappyEyeballs(t *testing.T) {
	e := startEngine(t, 1)
	port := listenAt(t, "127.0.0.1", 0)
	deafAt(t, [4]byte{127, 0, 0, 100}, port)
	for _, tc := range []struct {
		why  string
		ips  []netip.Addr
		from string // empty: it fails
	}{
		{"one that refuses is followed at once: 15 head starts would take longer than Timeout",
			loopback(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1), "127.0.0.1"},
		{"one that does not answer is joined by the next", loopback(100, 1), "127.0.0.1"},
		{"the first that connects wins", loopback(1, 100), "127.0.0.1"},
		{"a refusal does not end an attempt in progress", loopback(100, 2, 1), "127.0.0.1"},
		{"all refuse", loopback(2, 3), ""},
		{"only the first 16 are tried", loopback(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 1), ""},
	} {
		t.Run(tc.why, func(t *testing.T) {
			d := &Dialer{Timeout: 3 * time.Second, lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
				require.Equal(t, "ip", network)
				require.Equal(t, "many.test", host)
				return tc.ips, nil
			}}
			d.Bind(e)
			before := fdCount(t)
			require.NoError(t, onTask(e.loops[0], func(*loop.Task) {
				c, err := d.Dial("tcp", fmt.Sprintf("many.test:%d", port))
				if tc.from == "" {
					require.ErrorIs(t, err, unix.ECONNREFUSED)
					var op *net.OpError
					require.ErrorAs(t, err, &op)
					require.Equal(t, fmt.Sprintf("127.0.0.2:%d", port), op.Addr.String(), "the error is that of the preferred address")
					return
				}
				require.NoError(t, err)
				require.Equal(t, fmt.Sprintf("%s:%d", tc.from, port), c.RemoteAddr().String())
				require.NoError(t, c.Close())
			}))
			require.Eventually(t, func() bool { return fdCount(t) <= before && e.Dialed() == 0 }, 10*time.Second, time.Millisecond, "nothing is left")
		})
	}
}

// The loop was held, so the event of the connect and the deadline of the dial are
// due in the same turn. The server answered in time and the dial succeeds.
func TestDialOnLateLoop(t *testing.T) {
	if testmode.Always() {
		t.Skip("no task holds its loop in this run")
	}
	e := startEngine(t, 1)
	l := e.loops[0]
	port := listenAt(t, "127.0.0.1", 0)
	for _, late := range []*lateContext{nil, {context.Background(), make(chan struct{})}} {
		d := &Dialer{Timeout: 20 * time.Millisecond}
		d.Bind(e)
		require.NoError(t, onTask(l, func(*loop.Task) {
			ctx := context.Background()
			if late != nil {
				ctx, d.Timeout = late, time.Hour
			}
			l.Post(func() { // runs when the task has parked
				if late != nil {
					close(late.done)
				}
				for end := l.Clock() + 40e6; l.Clock() < end; {
				}
			})
			c, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}))
	}
}

// lateContext is a context whose deadline passes when the test says so.
type lateContext struct {
	context.Context
	done chan struct{}
}

func (c *lateContext) Done() <-chan struct{} { return c.done }
func (c *lateContext) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// An engine that stops ends the dials in progress.
func TestDialDuringStop(t *testing.T) {
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(c *Conn) Handler { return NewNetConn(c).(Handler) }})
	require.NoError(t, err)
	d := &Dialer{}
	d.Bind(e)
	port := listenAt(t, "127.0.0.1", 0)
	deafAt(t, [4]byte{127, 0, 0, 100}, port)
	failed := make(chan error, 2)
	dial := func() {
		_, err := d.Dial("tcp", fmt.Sprintf("127.0.0.100:%d", port))
		failed <- err
	}
	go func() { _ = onTask(e.loops[0], func(*loop.Task) { dial() }) }()
	go dial()
	require.Eventually(t, func() bool {
		dials := make(chan int, 1)
		e.loops[0].Post(func() { dials <- len(e.reactors[0].dials) })
		return <-dials == 2
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, e.Stop(context.Background()))
	require.ErrorIs(t, <-failed, loop.ErrShutdown)
	require.ErrorIs(t, <-failed, loop.ErrShutdown)
	require.Equal(t, 0, e.Dialed())
}

func fdCount(t *testing.T) int {
	n := 0
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			n++
		}
	}
	return n
}

// Concurrent dials of the same name share a lookup, which continues as long as one
// of them waits.
func TestLookupsAreShared(t *testing.T) {
	e := startEngine(t, 2)
	port := listenAt(t, "127.0.0.1", 0)
	answer, began := make(chan struct{}), make(chan context.Context, 10)
	d := &Dialer{ResolveTTL: -1, lookup: func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
		began <- ctx
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-answer:
			return loopback(1), nil
		}
	}}
	d.Bind(e)
	addr := fmt.Sprintf("shared.test:%d", port)
	asking := func() int {
		d.names.mu.Lock()
		defer d.names.mu.Unlock()
		if u := d.names.lookups[query{"ip", "shared.test"}]; u != nil {
			return u.waiters
		}
		return 0
	}
	awaitAsking := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return asking() == n }, 10*time.Second, time.Millisecond)
	}

	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		_, err := d.DialContext(ctx, "tcp", addr)
		failed <- err
	}()
	first := <-began
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			dial := func() {
				c, err := d.Dial("tcp", addr)
				if err == nil {
					err = c.Close()
				}
				if err != nil {
					t.Error(err)
				}
			}
			if i%5 == 0 {
				dial()
				return
			}
			_ = onTask(e.loops[i%2], func(*loop.Task) { dial() })
		})
	}
	awaitAsking(51)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.NoError(t, first.Err(), "the others still wait for it")
	close(answer)
	wg.Wait()
	require.Empty(t, began, "one lookup for all")

	answer = make(chan struct{})
	ctx, cancel = context.WithCancel(context.Background())
	go func() {
		_, err := d.DialContext(ctx, "tcp", addr)
		failed <- err
	}()
	alone := <-began
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	<-alone.Done() // no one waits for it
	require.Zero(t, asking())
}

func TestNameCacheIsBounded(t *testing.T) {
	var n nameCache
	n.answers = map[query]cachedAnswer{}
	found := &lookup{addrs: []netip.AddrPort{addrPort("4a")}}
	for i := range 3 * namesMax {
		n.keepAnswer(query{"ip", fmt.Sprint(i)}, found, 0)
		require.LessOrEqual(t, len(n.answers), namesMax)
	}
	require.Contains(t, n.answers, query{"ip", fmt.Sprint(3*namesMax - 1)}, "the newest is kept")
	n.keepAnswer(query{"ip", "failed"}, &lookup{err: errors.New("no")}, 0)
	n.keepAnswer(query{"ip", "not wanted"}, found, -1)
	require.Len(t, n.answers, namesMax)
	n.evict(time.Now().Add(resolveTTL))
	require.Empty(t, n.answers, "expired answers are evicted first")
}

// A fast sender waits for a slow reader, and the unread bytes are bounded.
func TestReadAheadIsBounded(t *testing.T) {
	const size = 32 << 20
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	e := startEngine(t, 2)
	d := &Dialer{}
	d.Bind(e)
	for _, tc := range []struct {
		why string
		run func(f func()) error
	}{
		{"read by a task of its loop", func(f func()) error { return onTask(e.loops[0], func(*loop.Task) { f() }) }},
		{"read by a task of another loop", func(f func()) error { return onTask(e.loops[1], func(*loop.Task) { f() }) }},
		{"read by a goroutine", func(f func()) error { f(); return nil }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write(body)
				_ = c.(*net.TCPConn).CloseWrite()
				echoed, _ := io.ReadAll(c)
				_, _ = c.Write(echoed)
				_ = c.Close()
			}()
			var c net.Conn
			require.NoError(t, onTask(e.loops[0], func(*loop.Task) { c, err = d.Dial("tcp", ln.Addr().String()) }))
			require.NoError(t, err)
			n := c.(*netConn)
			held := func() (input, handed int, full bool) {
				done := make(chan struct{})
				n.loop.Post(func() {
					n.mu.Lock()
					defer n.mu.Unlock()
					input, handed, full = len(n.conn.Input()), len(n.detached)-n.detachedRead, n.conn.full
					close(done)
				})
				<-done
				return input, handed, full
			}
			bounded := func() {
				t.Helper()
				input, handed, _ := held()
				require.LessOrEqual(t, input, readAheadMax)
				require.LessOrEqual(t, handed, readAheadMax)
			}
			require.Eventually(t, func() bool { _, _, full := held(); return full }, 10*time.Second, time.Millisecond)
			bounded()
			select {
			case <-sent:
				require.Fail(t, "32 MiB were held in memory")
			default:
			}
			got := make([]byte, size)
			for at, step := 0, 1; at < size; step = min(2*step, 1<<20) {
				k := min(step, size-at)
				require.NoError(t, tc.run(func() { _, err = io.ReadFull(c, got[at:at+k]) }))
				require.NoError(t, err)
				at += k
				bounded()
			}
			require.Equal(t, sha256.Sum256(body), sha256.Sum256(got))
			require.NoError(t, tc.run(func() {
				_, err := c.Read(got)
				require.ErrorIs(t, err, io.EOF)
				_, err = c.Write([]byte("still there"))
				require.NoError(t, err)
			}))
			require.NoError(t, c.Close())
			<-sent
		})
	}
	require.Eventually(t, func() bool { return e.Dialed() == 0 }, 10*time.Second, time.Millisecond)
}
