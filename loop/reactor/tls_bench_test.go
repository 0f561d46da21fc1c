package reactor_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

// counting responds to each n bytes with one byte.
type counting struct{ n, got int }

func (h *counting) Data(c *reactor.Conn) {
	h.got += len(c.Input())
	c.Consume(len(c.Input()))
	for ; h.got >= h.n; h.got -= h.n {
		c.Write([]byte("."))
	}
}
func (h *counting) Timeout(*reactor.Conn)       {}
func (h *counting) Closed(*reactor.Conn, error) {}

// BenchmarkUpload sends a number of bytes and waits for the response.
func BenchmarkUpload(b *testing.B) {
	for _, size := range []int{100, 1 << 20} {
		open := func(*reactor.Conn) reactor.Handler { return &counting{n: size} }
		b.Run(fmt.Sprintf("%d", size), func(b *testing.B) {
			e, addr := secureServer(b, open)
			defer func() { require.NoError(b, e.Stop(b.Context())) }()
			c := dialTLS(b, addr)
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				_, _ = c.Write(p)
				if _, err := io.ReadFull(c, p[:1]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/1e3, "cpu-us/op")
		})
	}
}

// BenchmarkHandshake performs a full handshake on a new connection.
func BenchmarkHandshake(b *testing.B) {
	e, addr := secureServer(b, openEcho)
	defer func() { require.NoError(b, e.Stop(b.Context())) }()
	b.ReportAllocs()
	for b.Loop() {
		_ = dialTLS(b, addr).NetConn().Close()
	}
}
