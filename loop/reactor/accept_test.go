package reactor_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop"
	"tafe/loop/reactor"
)

// answers reports whether a connection is served.
func answers(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "x")
	_, err := io.ReadFull(c, make([]byte, 1))
	return err == nil
}

func openEcho(*reactor.Conn) reactor.Handler { return secureEcho{} }

func TestConnMax(t *testing.T) {
	const most = 50
	e := runEngine(t, reactor.Config{Addr: "127.0.0.1:0", Loops: 2, ConnMax: most, Open: openEcho, Log: slog.New(slog.DiscardHandler)})
	var conns []net.Conn
	served := 0
	for range 2 * most {
		c := dial(t, e.Addr().String())
		if answers(c) {
			served++
		}
		conns = append(conns, c)
	}
	require.Equal(t, most, served)
	require.EqualValues(t, most, e.Refused())
	require.EqualValues(t, most, stat(e, func(s reactor.Stats) uint64 { return s.Refused }))
	require.EqualValues(t, most, e.Conns())
	for _, c := range conns {
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return e.Conns() == 0 }, 10*time.Second, time.Millisecond)
	require.True(t, answers(dial(t, e.Addr().String())), "room again")
}

func TestConnMaxPerIP(t *testing.T) {
	const most = 3
	e := runEngine(t, reactor.Config{Addr: "127.0.0.1:0", Loops: 2, ConnMaxPerIP: most, Open: openEcho, Log: slog.New(slog.DiscardHandler)})
	from := func(ip string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := d.Dial("tcp", e.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var conns []net.Conn
	for i := range 2 * most {
		c := from("127.0.0.2")
		require.Equal(t, i < most, answers(c))
		conns = append(conns, c)
	}
	require.True(t, answers(from("127.0.0.3")), "other addresses have their own count")
	require.EqualValues(t, most, e.Refused())
	require.Eventually(t, func() bool { return e.Conns() == most+1 }, 10*time.Second, time.Millisecond, "a refused connection is closed and no longer counted")
	_ = conns[0].Close()
	require.Eventually(t, func() bool { return e.Conns() == most }, 10*time.Second, time.Millisecond)
	require.True(t, answers(from("127.0.0.2")), "room again")
}

// StopAccepting serves the connections that the kernel has completed. Later ones
// are refused.
func TestStopAcceptingServesQueuedConns(t *testing.T) {
	const queued = 100
	e := runEngine(t, reactor.Config{Addr: "127.0.0.1:0", Loops: 2, Open: openEcho, Log: slog.New(slog.DiscardHandler)})
	held, release := make(chan bool), make(chan bool)
	for _, l := range e.Loops() {
		l.Post(func() { held <- true; <-release })
		<-held
	}
	var conns []net.Conn
	for range queued {
		conns = append(conns, dial(t, e.Addr().String()))
	}
	stopped := make(chan error)
	go func() { stopped <- e.StopAccepting(context.Background(), false) }()
	close(release)
	require.NoError(t, <-stopped)
	_, err := net.Dial("tcp", e.Addr().String())
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	for _, c := range conns {
		require.True(t, answers(c))
	}
	require.NoError(t, e.StopAccepting(context.Background(), false), "a second call is not an error")
}

func TestStopWithOpenConnections(t *testing.T) {
	terms := &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{ownCertificate()}}}
	closed := make(chan error, 100)
	e, err := reactor.Start(reactor.Config{
		Loops: 2, Log: slog.New(slog.DiscardHandler), Open: func(*reactor.Conn) reactor.Handler { return &waiting{closed} },
		Listeners: []reactor.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", TLS: terms}},
	})
	require.NoError(t, err)
	var conns []net.Conn
	for range 10 {
		plain := dial(t, e.Addrs()[0].String())
		require.True(t, answers(plain))
		secure := tls.Client(dial(t, e.Addrs()[1].String()), clientConfig())
		require.True(t, answers(secure))
		begun := dial(t, e.Addrs()[1].String())
		_, _ = begun.Write([]byte{0x16, 3, 1})
		conns = append(conns, plain, secure, begun, dial(t, e.Addrs()[1].String()))
	}
	require.Eventually(t, func() bool { return e.Conns() == len(conns) }, 10*time.Second, time.Millisecond)
	require.NoError(t, e.Stop(context.Background()))
	for range 20 {
		require.ErrorIs(t, <-closed, loop.ErrShutdown)
	}
	for _, c := range conns {
		_, err := io.Copy(io.Discard, c)
		require.False(t, timedOut(err), "it has ended")
	}
	require.Zero(t, e.Conns())
	require.NoError(t, e.Err())
	require.NoError(t, e.Stop(context.Background()), "a second call is not an error")
}

// waiting echoes, and has a task that waits as long as the connection is open.
type waiting struct{ closed chan error }

func (w *waiting) Data(c *reactor.Conn) {
	if n := len(c.Input()); n > 0 {
		echoed := string(c.Input())
		c.Consume(n)
		_, _ = c.Loop().Start(&fileTask{func(t *loop.Task) {
			c.Write([]byte(echoed))
			_ = t.Sleep(time.Hour)
			c.Write([]byte("late"))
		}})
	}
}
func (w *waiting) Timeout(*reactor.Conn)             {}
func (w *waiting) Closed(_ *reactor.Conn, err error) { w.closed <- err }

// A server without free descriptors continues with the connections it has. It
// accepts new ones when descriptors are free again, and logs that once.
func TestAcceptWithoutDescriptors(t *testing.T) {
	if os.Getenv("REACTOR_TEST_DESCRIPTORS") != "" {
		serveWithFewDescriptors()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAcceptWithoutDescriptors$")
	cmd.Env = append(os.Environ(), "REACTOR_TEST_DESCRIPTORS=1")
	var log bytes.Buffer
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	addr = strings.TrimSpace(addr)

	first := dial(t, addr)
	require.True(t, answers(first))
	var conns []net.Conn
	for range 60 {
		conns = append(conns, dial(t, addr)) // the kernel completes them
	}
	for _, c := range conns[:5] {
		require.True(t, answers(c))
	}
	waits := conns[59]
	_, err = waits.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, waits.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	_, err = waits.Read(make([]byte, 1))
	require.True(t, timedOut(err), "no descriptor is left for it: %v", err)
	require.True(t, answers(first), "the server works meanwhile")
	for _, c := range conns[:59] {
		_ = c.Close()
	}
	_ = waits.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err = io.ReadFull(waits, make([]byte, 1))
	require.NoError(t, err, "it is accepted later")
	require.True(t, answers(dial(t, addr)))
	_ = stdin.Close()
	require.NoError(t, cmd.Wait())
	require.Equal(t, 1, strings.Count(log.String(), "accept failed"), log.String())
	require.Contains(t, log.String(), "too many open files")
}

// serveWithFewDescriptors serves until its standard input ends.
func serveWithFewDescriptors() {
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Open: openEcho, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		panic(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 40, Max: 40}); err != nil {
		panic(err)
	}
	fmt.Println(e.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := e.Stop(context.Background()); err != nil {
		panic(err)
	}
	os.Exit(0)
}
