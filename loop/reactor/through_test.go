package reactor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

// runEngine runs an engine until the test ends.
func runEngine(t testing.TB, config reactor.Config) *reactor.Engine {
	t.Helper()
	e, err := reactor.Start(config)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	})
	return e
}

// mixer responds to any input with pieces written by Write and WriteThrough.
type mixer struct{ pieces [][]byte }

func (m mixer) Data(c *reactor.Conn) {
	if c.InputEnded() {
		return
	}
	c.Consume(len(c.Input()))
	for i, p := range m.pieces {
		scratch := bytes.Clone(p)
		if i%2 == 0 {
			c.Write(scratch)
		} else {
			c.WriteThrough(scratch)
		}
		clear(scratch) // neither keeps it
	}
	c.Close()
}
func (mixer) Timeout(c *reactor.Conn)     { c.Close() }
func (mixer) Closed(*reactor.Conn, error) {}

// Bytes of WriteThrough stay in order among those of Write, whether the socket
// accepts them at once or later, for fast and slow readers, plain and with TLS.
func TestWriteThrough(t *testing.T) {
	var m mixer
	var want []byte
	for i, size := range []int{10, 300 << 10, 5000, 1, 70 << 10, 200 << 10, 0, 0, 3, 100 << 10} {
		p := bytes.Repeat([]byte{byte('a' + i)}, size)
		m.pieces = append(m.pieces, p)
		want = append(want, p...)
	}
	e := runEngine(t, reactor.Config{
		Loops: 1, Log: slog.New(slog.DiscardHandler),
		Open: func(*reactor.Conn) reactor.Handler { return m },
		Listeners: []reactor.Listener{
			{Addr: "127.0.0.1:0"},
			{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{ownCertificate()}}}},
		},
	})
	for _, secure := range []bool{false, true} {
		for _, slow := range []bool{false, true} {
			raw, err := net.Dial("tcp", e.Addrs()[map[bool]int{true: 1}[secure]].String())
			require.NoError(t, err)
			require.NoError(t, raw.(*net.TCPConn).SetReadBuffer(128<<10))
			c := raw
			if secure {
				c = tls.Client(raw, clientConfig())
			}
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			_, err = c.Write([]byte("x"))
			require.NoError(t, err)
			if slow {
				time.Sleep(50 * time.Millisecond)
			}
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, sha256.Sum256(want), sha256.Sum256(got), "%d bytes of %d", len(got), len(want))
			_ = c.Close()
		}
	}
	require.GreaterOrEqual(t, stat(e, func(s reactor.Stats) uint64 { return s.BytesOut }), uint64(4*len(want)))
}

// holding holds back what is written once it is told to.
type holding struct {
	net.Conn
	hold atomic.Bool
	held bytes.Buffer
}

func (h *holding) Write(p []byte) (int, error) {
	if h.hold.Load() {
		return h.held.Write(p)
	}
	h.hold.Store(true) // the hello is one write
	return h.Conn.Write(p)
}

// A client may send many bytes together with the last message of its handshake.
func TestTLSDataWithLastHandshakeMessage(t *testing.T) {
	_, addr, failed := secureEngine(t, 1, reactor.TLS{})
	raw, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	h := &holding{Conn: raw}
	c := tls.Client(h, clientConfig())
	require.NoError(t, c.Handshake())
	out := bytes.Repeat([]byte("0123456789abcdef"), 200<<10/16)
	_, err = c.Write(out)
	require.NoError(t, err)
	_, err = raw.Write(h.held.Bytes())
	require.NoError(t, err)
	in := make([]byte, len(out))
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err = io.ReadFull(c, in)
	require.NoError(t, err)
	require.True(t, bytes.Equal(out, in))
	require.Zero(t, failed.count())
	_ = raw.Close()
}

// An InboundMax below the usual size of a read is observed, and a peer that stays
// within it is not disconnected.
func TestSmallInbound(t *testing.T) {
	e := runEngine(t, reactor.Config{
		Addr: "127.0.0.1:0", Loops: 1, Limits: reactor.Limits{InboundMax: 8 << 10}, Log: slog.New(slog.DiscardHandler),
		Open: func(*reactor.Conn) reactor.Handler { return secureEcho{} },
	})
	c, err := net.Dial("tcp", e.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	echoes(t, c, 500<<10)
}
