package hub

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tafe/app"
	"tafe/loop"
)

// hold opens n connections to addr, sends request on each and reads the response head. drain reads what has come since.
func hold(b *testing.B, addr string, n int, request string) (drain func()) {
	b.Helper()
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	var fds []int
	for i := range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			fds = append(fds, fd)
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + i%16)}})
		}
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte{127, 0, 0, 1}})
		}
		if err == nil {
			_, err = unix.Write(fd, []byte(request))
		}
		if err == nil {
			_, err = unix.Read(fd, buf)
		}
		if err != nil {
			b.Fatalf("connection %d: %v (ulimit -n must be above twice the connections)", i, err)
		}
	}
	b.Cleanup(func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	})
	return func() {
		for _, fd := range fds {
			_, _, _ = unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT) // nothing has come: the next call reads it
		}
	}
}

// processCPU returns the CPU time of this process so far.
func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const benchClients = 4000

// BenchmarkFanOut measures the CPU time in which one loop sends a message of 100 bytes to 4,000 clients. The clients' sockets hold the
// messages meanwhile; reading them is not part of it. BenchmarkPlainWrites is its floor.
func BenchmarkFanOut(b *testing.B) {
	const clients = benchClients
	for _, kind := range []struct{ name, request string }{
		{"events", "GET /events HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"websockets", "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"},
	} {
		b.Run(kind.name, func(b *testing.B) {
			h := New(Options{})
			s, err := app.Listen(appOf(h), app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Stop(b.Context()) })
			drain := hold(b, s.Addr().String(), clients, kind.request)
			m := Message{Event: app.Event{Data: strings.Repeat("x", 100)}}
			var cpu time.Duration
			b.ResetTimer()
			for range b.N {
				before := processCPU()
				if err := h.Publish(m); err != nil {
					b.Fatal(err)
				}
				for sent := false; !sent; sent = passed(h, s.Engine().Loops()[0]) {
				}
				cpu += processCPU() - before
				b.StopTimer()
				drain()
				b.StartTimer()
			}
			b.ReportMetric(float64(cpu)/float64(b.N)/clients, "ns-cpu/client")
		})
	}
}

// BenchmarkPlainWrites measures the CPU time of the system calls that BenchmarkFanOut cannot do without.
func BenchmarkPlainWrites(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var fds []int
	var conns []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("head"))
			raw, _ := c.(*net.TCPConn).SyscallConn()
			_ = raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
			conns = append(conns, c)
		}
	}()
	drain := hold(b, l.Addr().String(), benchClients, "x")
	data := make([]byte, 114)
	var cpu time.Duration
	b.ResetTimer()
	for range b.N {
		before := processCPU()
		for _, fd := range fds {
			_, _ = unix.Write(fd, data)
		}
		cpu += processCPU() - before
		b.StopTimer()
		drain()
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu)/float64(b.N)/benchClients, "ns-cpu/client")
	for _, c := range conns {
		_ = c.Close()
	}
}

// passed waits for the loop's next turn and reports whether all messages were sent.
func passed(h *Hub, l *loop.Loop) bool {
	h.mu.Lock()
	s := h.shards[l]
	h.mu.Unlock()
	sent := make(chan bool)
	l.Post(func() { sent <- !s.passing && !s.woken })
	return <-sent
}
