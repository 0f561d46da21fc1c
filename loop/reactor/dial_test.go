package reactor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"tafe/loop"
	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

func TestDialedConnections(t *testing.T) {
	addr := testrig.Serve(t, echo)
	e := startEngine(t, 2, nothing)
	d := bound(e)
	for i, l := range e.Loops() {
		other := e.Loops()[1-i]
		var c net.Conn
		require.NoError(t, onTask(l, func(*loop.Task) {
			var err error
			c, err = d.Dial("tcp", addr)
			require.NoError(t, err)
			say(t, c, "from the loop that dialed")
		}))
		require.Equal(t, 1, e.Dialed())
		require.NoError(t, onTask(other, func(*loop.Task) { say(t, c, "from the other loop, as with a shared pool") }))
		say(t, c, "from outside the loops")
		require.NoError(t, onTask(other, func(*loop.Task) { require.NoError(t, c.Close()) }))

		c, err := d.Dial("tcp", addr)
		require.NoError(t, err, "a goroutine may dial for tasks")
		require.NoError(t, onTask(l, func(*loop.Task) { say(t, c, "hello"); require.NoError(t, c.Close()) }))
		eventually(t, "closed", func() bool { return e.Dialed() == 0 })
	}
}

// Connections dialed by goroutines are distributed over the loops.
func TestDialOutsideTask(t *testing.T) {
	addr := testrig.Serve(t, echo)
	e := startEngine(t, 2, nothing)
	d := bound(e)
	for range 4 {
		c, err := d.Dial("tcp", addr)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
	}
	for _, l := range e.Loops() {
		conns := make(chan int, 1)
		require.True(t, l.Post(func() { conns <- reactor.Of(l).Stats().Conns }))
		require.Equal(t, 2, <-conns)
	}
	failed := make(chan error, 1)
	e.Loops()[0].Post(func() {
		_, err := d.Dial("tcp", addr)
		failed <- err
	})
	require.ErrorIs(t, <-failed, loop.ErrOnLoop)
	_, err := (&reactor.Dialer{}).Dial("tcp", addr)
	require.ErrorIs(t, err, reactor.ErrUnbound)
}

func TestDialOnLoopWithoutSockets(t *testing.T) {
	m := newMemoryLoop(t)
	m.start(func(task *loop.Task) {
		_, err := (&reactor.Dialer{}).DialTask(context.Background(), task, "tcp", "127.0.0.1:1")
		require.ErrorIs(t, err, errors.ErrUnsupported)
	})
}

// closedPort returns a loopback address without a listener.
func closedPort(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// blackHole returns an address that answers no SYN, because its backlog is full.
func blackHole(t testing.TB) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 0))
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	for range 3 { // what a backlog of 0 takes, and more
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = unix.Close(c) })
		require.ErrorIs(t, unix.Connect(c, sa), unix.EINPROGRESS)
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

func isTimeout(t testing.TB, err error) {
	t.Helper()
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
	require.ErrorIs(t, err, context.DeadlineExceeded, "as net's")
}

// deafResolver does not answer until the test ends. asked receives a value for each
// query.
func deafResolver(t testing.TB) (_ *net.Resolver, asked chan struct{}) {
	asked = make(chan struct{}, 100)
	ended := make(chan struct{}) // net lets a lookup go on when another for the same name has begun
	t.Cleanup(func() { close(ended) })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
		case <-ended:
		}
		return nil, context.Canceled
	}}, asked
}

func TestDialFailures(t *testing.T) {
	hangs, _ := deafResolver(t)
	const soon = 20 * time.Millisecond
	dir := t.TempDir()
	e := startEngine(t, 1, nothing)
	before := openFiles(t)
	for _, tc := range []struct {
		why     string
		dialer  *reactor.Dialer
		network string
		addr    string
		check   func(testing.TB, error)
	}{
		{"nothing listens, reported by an event", &reactor.Dialer{}, "tcp", closedPort(t), is(syscall.ECONNREFUSED)},
		{"no such socket, reported by connect", &reactor.Dialer{}, "unix", filepath.Join(dir, "none"), is(syscall.ENOENT)},
		{"no server at an abstract address", &reactor.Dialer{}, "unix", "@tafe-test-none", is(syscall.ECONNREFUSED)},
		{"a path that is too long", &reactor.Dialer{}, "unix", string(bytesOf('x', 200)), is(syscall.EINVAL)},
		{"the server does not answer", &reactor.Dialer{Timeout: soon}, "tcp", blackHole(t), isTimeout},
		{"the resolver does not answer", &reactor.Dialer{Timeout: soon, Resolver: hangs}, "tcp", "nowhere.test:80", isTimeout},
		{"no port", &reactor.Dialer{}, "tcp", "127.0.0.1", isAddrError},
		{"an invalid port", &reactor.Dialer{}, "tcp", "127.0.0.1:nosuchservice", func(t testing.TB, err error) {
			var dns *net.DNSError
			require.ErrorAs(t, err, &dns)
		}},
		{"the other family", &reactor.Dialer{}, "tcp6", "127.0.0.1:80", isAddrError},
		{"no address", &reactor.Dialer{}, "unix", "", isAddrError},
		{"a datagram network", &reactor.Dialer{}, "udp", "127.0.0.1:80", func(t testing.TB, err error) {
			var unknown net.UnknownNetworkError
			require.ErrorAs(t, err, &unknown)
		}},
		{"a local address of another network", &reactor.Dialer{LocalAddr: &net.UnixAddr{Name: "x"}}, "tcp", "127.0.0.1:80", isAddrError},
		{"a local address of another family", &reactor.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv6loopback}}, "tcp", "127.0.0.1:80", isAddrError},
		{"a local address of another machine", &reactor.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}, "tcp", "127.0.0.1:80", is(syscall.EADDRNOTAVAIL)},
	} {
		t.Run(tc.why, func(t *testing.T) {
			tc.dialer.Bind(e)
			check := func(t testing.TB, c net.Conn, err error) {
				require.Nil(t, c)
				var op *net.OpError
				require.ErrorAs(t, err, &op)
				require.Equal(t, "dial", op.Op)
				tc.check(t, err)
			}
			require.NoError(t, onTask(e.Loops()[0], func(task *loop.Task) {
				c, err := tc.dialer.Dial(tc.network, tc.addr)
				check(t, c, err)
				require.NoError(t, task.Sleep(time.Millisecond), "later operations wait as usual")
			}))
			c, err := tc.dialer.Dial(tc.network, tc.addr)
			check(t, c, err)
			require.Equal(t, 0, e.Dialed())
		})
	}
	requireOpenFiles(t, before+4) // the black hole's
}

func is(want error) func(testing.TB, error) {
	return func(t testing.TB, err error) {
		t.Helper()
		require.ErrorIs(t, err, want)
	}
}

func isAddrError(t testing.TB, err error) {
	t.Helper()
	var addr *net.AddrError
	require.ErrorAs(t, err, &addr)
}

// requireOpenFiles waits until at most n descriptors are open.
func requireOpenFiles(t testing.TB, n int) {
	t.Helper()
	eventually(t, "descriptors are left", func() bool { return openFiles(t) <= n })
}

// A dial is cancelled while it connects or looks a name up.
func TestDialCancelled(t *testing.T) {
	errLeft := errors.New("client left")
	hangs, asked := deafResolver(t)
	e := startEngine(t, 1, nothing)
	l := e.Loops()[0]
	hole := blackHole(t)
	before := openFiles(t)
	for _, tc := range []struct {
		why    string
		dialer *reactor.Dialer
		addr   string
	}{
		{"while it connects", &reactor.Dialer{}, hole},
		{"while a name is looked up", &reactor.Dialer{Resolver: hangs}, "nowhere.test:80"},
	} {
		tc.dialer.Bind(e)
		underWay := func() {
			eventually(t, "dials", func() bool { return e.Dialed() == 1 })
			if tc.dialer.Resolver != nil {
				<-asked
			}
		}
		t.Run("the task is cancelled "+tc.why, func(t *testing.T) {
			var task *loop.Task
			var err error
			ended := startTask(l, func(t *loop.Task) {
				task = t
				_, err = tc.dialer.Dial("tcp", tc.addr)
			})
			underWay()
			require.True(t, l.Post(func() { task.Cancel(errLeft) }))
			require.NoError(t, <-ended)
			require.Equal(t, errLeft, err, "the cause is returned unwrapped")
		})
		for _, u := range []struct {
			why string
			run func(f func()) <-chan error
		}{
			{"a task", func(f func()) <-chan error { return startTask(l, func(*loop.Task) { f() }) }},
			{"a goroutine", func(f func()) <-chan error {
				ended := make(chan error, 1)
				go func() { f(); ended <- nil }()
				return ended
			}},
		} {
			t.Run("the context of "+u.why+" is cancelled "+tc.why, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				var err error
				ended := u.run(func() { _, err = tc.dialer.DialContext(ctx, "tcp", tc.addr) })
				underWay()
				cancel()
				require.NoError(t, <-ended)
				require.ErrorIs(t, err, context.Canceled)
				_, err = tc.dialer.DialContext(ctx, "tcp", tc.addr)
				require.ErrorIs(t, err, context.Canceled, "before it begins")
			})
			t.Run("the context of "+u.why+" has a deadline "+tc.why, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
				defer cancel()
				var err error
				require.NoError(t, <-u.run(func() { _, err = tc.dialer.DialContext(ctx, "tcp", tc.addr) }))
				isTimeout(t, err)
			})
		}
		require.Equal(t, 0, e.Dialed())
		requireOpenFiles(t, before)
		for len(asked) > 0 {
			<-asked
		}
	}
}

func TestDialMax(t *testing.T) {
	addr := testrig.Serve(t, echo)
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Open: nothing, DialMax: 2})
	require.NoError(t, err)
	defer stopEngine(t, e)
	d := bound(e)
	one, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	_, err = d.Dial("tcp", addr)
	require.NoError(t, err)
	_, err = d.Dial("tcp", addr)
	require.ErrorIs(t, err, reactor.ErrTooManyDials)
	require.NoError(t, one.Close())
	eventually(t, "closed", func() bool { return e.Dialed() == 1 })
	_, err = d.Dial("tcp", addr)
	require.NoError(t, err, "closing a connection frees its place")
}

func TestDialLocalAddr(t *testing.T) {
	from := make(chan string, 1)
	addr := testrig.Serve(t, func(c net.Conn) {
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		from <- host
	})
	e := startEngine(t, 1, nothing)
	for _, local := range []net.IP{{127, 0, 0, 1}, {127, 0, 0, 9}, nil} {
		d := &reactor.Dialer{LocalAddr: &net.TCPAddr{IP: local}}
		d.Bind(e)
		c := dialFrom(t, d, e.Loops()[0], "tcp", addr)
		want := "127.0.0.1"
		if local != nil {
			want = local.String()
		}
		require.Equal(t, want, <-from)
		host, _, err := net.SplitHostPort(c.LocalAddr().String())
		require.NoError(t, err)
		require.Equal(t, want, host)
		require.Equal(t, addr, c.RemoteAddr().String())
		require.NoError(t, c.Close())
	}
}

func TestDialUnix(t *testing.T) {
	e := startEngine(t, 2, nothing)
	d := bound(e)
	for _, path := range []string{filepath.Join(t.TempDir(), "socket"), fmt.Sprintf("@tafe-test-%d", os.Getpid())} {
		ln, err := net.Listen("unix", path)
		require.NoError(t, err)
		testrig.ServeOn(t, ln, echo)
		for _, u := range users {
			require.NoError(t, u.run(e, func() {
				c, err := d.Dial("unix", path)
				require.NoError(t, err)
				say(t, c, "hello")
				require.Equal(t, &net.UnixAddr{Name: path, Net: "unix"}, c.RemoteAddr())
				require.Equal(t, "unix", c.LocalAddr().Network())
				require.NoError(t, c.Close())
			}), u.why)
		}
	}
}

// A dial of a unix socket with a full backlog is retried until there is room.
func TestDialUnixBacklog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	require.NoError(t, unix.Listen(fd, 0))
	e := startEngine(t, 1, nothing)
	before := openFiles(t)
	d := &reactor.Dialer{Timeout: 50 * time.Millisecond}
	d.Bind(e)
	first := dialFrom(t, d, e.Loops()[0], "unix", path)
	_, err = d.Dial("unix", path)
	isTimeout(t, err)

	patient := bound(e)
	var c net.Conn
	ended := startTask(e.Loops()[0], func(*loop.Task) { c, err = patient.Dial("unix", path) })
	eventually(t, "dials", func() bool { return e.Dialed() == 2 })
	accepted, _, aerr := unix.Accept(fd)
	require.NoError(t, aerr)
	require.NoError(t, <-ended)
	require.NoError(t, err)
	require.NoError(t, unix.Close(accepted))
	require.NoError(t, c.Close())
	require.NoError(t, first.Close())
	requireOpenFiles(t, before)
}

func TestDialLocalNames(t *testing.T) {
	addr := testrig.Serve(t, echo)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	e := startEngine(t, 1, nothing)
	d := bound(e)
	for _, host := range []string{"", "localhost", "127.0.0.1", "0.0.0.0"} {
		c := dialFrom(t, d, e.Loops()[0], "tcp4", net.JoinHostPort(host, port))
		require.NoError(t, onTask(e.Loops()[0], func(*loop.Task) { say(t, c, "hello") }))
		require.NoError(t, c.Close())
	}
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6: ", err)
	}
	testrig.ServeOn(t, ln, echo)
	_, port, err = net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	for _, host := range []string{"", "::1", "::1%lo"} {
		c := dialFrom(t, d, e.Loops()[0], "tcp6", net.JoinHostPort(host, port))
		require.NoError(t, onTask(e.Loops()[0], func(*loop.Task) { say(t, c, "hello") }))
		require.NoError(t, c.Close())
	}
}

// One loop makes 200 dials at once, of which half are refused.
func TestDialStorm(t *testing.T) {
	addr, refused := testrig.Serve(t, echo), closedPort(t)
	e := startEngine(t, 1, nothing)
	d := bound(e)
	before := openFiles(t)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := onTask(e.Loops()[0], func(*loop.Task) {
				if i%2 == 1 {
					_, err := d.Dial("tcp", refused)
					require.ErrorIs(t, err, syscall.ECONNREFUSED)
					return
				}
				c, err := d.Dial("tcp", addr)
				require.NoError(t, err)
				say(t, c, fmt.Sprint("hello ", i))
				require.NoError(t, c.Close())
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	eventually(t, "closed", func() bool { return e.Dialed() == 0 })
	requireOpenFiles(t, before)
}

// dnsServer answers 127.0.0.1 for "here.test" and "no such name" for others.
type dnsServer struct {
	conn    net.PacketConn
	queries atomic.Int64 // for IPv4 addresses
}

func startDNS(t *testing.T) (*dnsServer, *net.Resolver) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &dnsServer{conn: conn}
	var wg sync.WaitGroup
	wg.Go(s.serve)
	t.Cleanup(func() { _ = conn.Close(); wg.Wait() })
	return s, &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (s *dnsServer) serve() {
	var b [512]byte
	for {
		n, from, err := s.conn.ReadFrom(b[:])
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		switch {
		case q.Name.String() != "here.test.":
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		if q.Type == dnsmessage.TypeA {
			s.queries.Add(1)
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = s.conn.WriteTo(answer, from)
		}
	}
}

func TestDialCachesNames(t *testing.T) {
	addr := testrig.Serve(t, echo)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	e := startEngine(t, 1, nothing)
	for _, tc := range []struct {
		why     string
		ttl     time.Duration
		queries int64
	}{
		{"for 5 seconds by default", 0, 1},
		{"for no longer than ResolveTTL", time.Nanosecond, 3},
		{"never", -1, 3},
	} {
		t.Run(tc.why, func(t *testing.T) {
			s, resolver := startDNS(t)
			d := &reactor.Dialer{Resolver: resolver, ResolveTTL: tc.ttl}
			d.Bind(e)
			for range 3 {
				c := dialFrom(t, d, e.Loops()[0], "tcp", "here.test.:"+port)
				require.NoError(t, c.Close())
			}
			require.Equal(t, tc.queries, s.queries.Load())
			for range 3 {
				_, err := d.Dial("tcp", "gone.test.:"+port)
				var dns *net.DNSError
				require.ErrorAs(t, err, &dns)
				require.True(t, dns.IsNotFound)
			}
			require.Equal(t, tc.queries+3, s.queries.Load(), "failures are not cached")
		})
	}
}

// BenchmarkDial connects and closes, in comparison with package net.
func BenchmarkDial(b *testing.B) {
	addr := testrig.Serve(b, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	run := func(b *testing.B, dial func(network, address string) (net.Conn, error)) {
		b.ReportAllocs()
		for b.Loop() {
			c, err := dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			_ = c.Close()
		}
	}
	for _, u := range users[:1] {
		b.Run(u.why, func(b *testing.B) {
			e := startEngine(b, 1, nothing)
			d := bound(e)
			_ = u.run(e, func() { run(b, d.Dial) })
		})
	}
	b.Run("a goroutine", func(b *testing.B) {
		run(b, bound(startEngine(b, 1, nothing)).Dial)
	})
	b.Run("net", func(b *testing.B) { run(b, (&net.Dialer{}).Dial) })
}

// BenchmarkDialRequestClose dials, sends a request, reads the response and closes,
// sequentially and with 64 at a time.
func BenchmarkDialRequestClose(b *testing.B) {
	addr := testrig.Serve(b, echo)
	request := func(c net.Conn, err error) {
		if err != nil {
			panic(err)
		}
		buf := make([]byte, 100)
		_, _ = c.Write(buf)
		_, _ = io.ReadFull(c, buf)
		_ = c.Close()
	}
	for _, width := range []int{1, 64} {
		b.Run(fmt.Sprint("loop/", width), func(b *testing.B) {
			e := startEngine(b, 1, nothing)
			d := bound(e)
			shared(b, width, func(each func()) {
				_ = onTask(e.Loops()[0], func(*loop.Task) { each() })
			}, func() { request(d.Dial("tcp", addr)) })
		})
		b.Run(fmt.Sprint("net/", width), func(b *testing.B) {
			shared(b, width, func(each func()) { each() }, func() { request(net.Dial("tcp", addr)) })
		})
	}
}

// shared divides b.N calls of f among width workers, which run starts.
func shared(b *testing.B, width int, run func(each func()), f func()) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			run(func() {
				for left.Add(-1) >= 0 {
					f()
				}
			})
		})
	}
	wg.Wait()
}

func TestDialerCurrent(t *testing.T) {
	e, other := startEngine(t, 2, nothing), startEngine(t, 1, nothing)
	d := &reactor.Dialer{}
	require.Nil(t, d.Current(), "not bound")
	d.Bind(e)
	require.Nil(t, d.Current(), "not a task")
	for _, l := range e.Loops() {
		require.NoError(t, onTask(l, func(task *loop.Task) { require.Same(t, task, d.Current()) }))
	}
	require.NoError(t, onTask(other.Loops()[0], func(*loop.Task) { require.Nil(t, d.Current(), "of another engine") }))
}
