package reactor_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop"
	"tafe/loop/reactor"
)

// copying responds like sending, with a buffer in place of SendFile.
type copying struct{ sendingConn }

func (h *copying) Data(c *reactor.Conn) {
	c.Consume(len(c.Input()))
	if c.InputEnded() {
		c.Close()
		return
	}
	_, _ = c.Loop().Start(&fileTask{func(t *loop.Task) {
		c.Write([]byte(head))
		b := make([]byte, 64<<10)
		for at := int64(0); at < h.n; {
			n, err := h.f.ReadAt(b[:min(int64(len(b)), h.n-at)], h.offset+at)
			if n == 0 {
				c.Abort(err)
				return
			}
			at += int64(n)
			c.WriteThrough(b[:n])
			if reactor.Drain(t, c) != nil {
				return
			}
		}
		c.Write([]byte("end"))
	}})
}

// BenchmarkSendFile sends a cached file to one client, by sendfile and by copying.
func BenchmarkSendFile(b *testing.B) {
	for _, size := range []int64{1 << 10, 10 << 10, 100 << 10, 10 << 20} {
		f, _ := randomFile(b, int(size))
		for _, by := range []string{"sendfile", "copy"} {
			b.Run(fmt.Sprintf("%s/%dKiB", by, size>>10), func(b *testing.B) {
				h := &sending{f: f, n: size, result: make(chan sendResult, 1<<20)}
				e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(*reactor.Conn) reactor.Handler {
					if by == "copy" {
						return &copying{sendingConn{sending: h}}
					}
					return &sendingConn{sending: h}
				}})
				require.NoError(b, err)
				defer func() { require.NoError(b, e.Stop(b.Context())) }()
				c := dial(b, e.Addr().String())
				total := int64(len(head)) + size + 3
				b.SetBytes(total)
				b.ReportAllocs()
				raw, err := c.SyscallConn()
				require.NoError(b, err)
				room := make([]byte, 1<<20)
				before := cpuTime()
				defer func() { b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/1e3, "cpu-us/op") }()
				for b.Loop() {
					_, _ = c.Write([]byte("x"))
					left := total
					err = raw.Read(func(fd uintptr) bool { // discards without copying
						for left > 0 {
							n, _, err := unix.Recvfrom(int(fd), room, unix.MSG_TRUNC|unix.MSG_DONTWAIT)
							if err != nil || n == 0 {
								return n == 0
							}
							left -= int64(n)
						}
						return true
					})
					if err != nil || left > 0 {
						b.Fatal(err, left)
					}
					select {
					case <-h.result:
					default:
					}
				}
			})
		}
	}
}

// cpuTime returns the CPU time of the process in ns.
func cpuTime() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkCached calls Cached for a file of 1 MiB.
func BenchmarkCached(b *testing.B) {
	f, _ := randomFile(b, 1<<20)
	for b.Loop() {
		if !reactor.Cached(f, 0, 1<<20) {
			b.Fatal("not cached")
		}
	}
}
