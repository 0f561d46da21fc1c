package reactor_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// plainAndSecure runs a test with plain and with TLS connections.
func plainAndSecure(t *testing.T, limits reactor.Limits, open func(*reactor.Conn) reactor.Handler, test func(t *testing.T, e *reactor.Engine, c, raw net.Conn)) {
	for i, name := range []string{"plain", "TLS"} {
		t.Run(name, func(t *testing.T) {
			e := runEngine(t, reactor.Config{
				Loops: 1, Limits: limits, Log: slog.New(slog.DiscardHandler), Open: open,
				Listeners: []reactor.Listener{
					{Addr: "127.0.0.1:0"},
					{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{ownCertificate()}}}},
				},
			})
			raw := dial(t, e.Addrs()[i].String())
			c := net.Conn(raw)
			if i == 1 {
				secure := tls.Client(raw, clientConfig())
				require.NoError(t, secure.Handshake())
				c = secure
			}
			test(t, e, c, raw)
		})
	}
}

// sipper consumes a few bytes at a time.
type sipper struct {
	open chan bool
	most atomic.Int64 // bytes held
	sum  chan []byte
}

func (s *sipper) Data(c *reactor.Conn) {
	s.most.Store(max(s.most.Load(), int64(len(c.Input()))))
	select {
	case s.open <- true: // at the first bytes
	default:
		return
	}
	_, _ = c.Loop().Start(&fileTask{func(t *loop.Task) { s.sip(t, c) }})
}
func (s *sipper) Timeout(*reactor.Conn)       {}
func (s *sipper) Closed(*reactor.Conn, error) {}

func (s *sipper) sip(t *loop.Task, c *reactor.Conn) {
	if t.Sleep(100*time.Millisecond) != nil { // the sender has filled all there is by then
		return
	}
	sum := sha256.New()
	for len(c.Input()) > 0 || !c.InputEnded() {
		n := min(len(c.Input()), 3000)
		sum.Write(c.Input()[:n])
		c.Consume(n)
		if t.Yield() != nil {
			return
		}
	}
	s.sum <- sum.Sum(nil)
	c.Write([]byte("all"))
	c.Close()
}

// Flow control stops an endless sender, and no byte is lost.
func TestFullInputStopsSender(t *testing.T) {
	for _, most := range []int{5000, 100 << 10} {
		made := make(chan *sipper, 1)
		open := func(*reactor.Conn) reactor.Handler {
			s := &sipper{open: make(chan bool, 1), sum: make(chan []byte, 1)}
			made <- s
			return s
		}
		plainAndSecure(t, reactor.Limits{InboundMax: most}, open, func(t *testing.T, e *reactor.Engine, c, raw net.Conn) {
			out := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
			require.NoError(t, raw.(*net.TCPConn).SetWriteBuffer(64<<10))
			written := make(chan error, 1)
			go func() {
				_, err := c.Write(out)
				if err == nil {
					err = c.(interface{ CloseWrite() error }).CloseWrite()
				}
				written <- err
			}()
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, "all", string(got))
			require.NoError(t, <-written)
			s := <-made
			require.Equal(t, sha256.Sum256(out), [32]byte(<-s.sum))
			require.LessOrEqual(t, s.most.Load(), int64(most))
		})
	}
}

// late responds some time after the input has ended.
type late struct{ answer []byte }

func (h late) Data(c *reactor.Conn) {
	if c.InputEnded() {
		_, _ = c.Loop().Start(&fileTask{func(t *loop.Task) {
			if t.Sleep(20*time.Millisecond) == nil {
				c.Write(c.Input())
				c.Write(h.answer)
				c.Close()
			}
		}})
	}
}
func (late) Timeout(*reactor.Conn)       {}
func (late) Closed(*reactor.Conn, error) {}

// A peer that has sent FIN still receives the response.
func TestResponseAfterHalfClose(t *testing.T) {
	h := late{bytes.Repeat([]byte("answer"), 1<<20)}
	plainAndSecure(t, reactor.Limits{}, func(*reactor.Conn) reactor.Handler { return h }, func(t *testing.T, e *reactor.Engine, c, _ net.Conn) {
		_, err := io.WriteString(c, "question")
		require.NoError(t, err)
		require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, len("question")+len(h.answer), len(got))
		require.Eventually(t, func() bool { return e.Conns() == 0 }, 10*time.Second, time.Millisecond)
	})
}

// deafHandler does not read, or has read everything.
type deafHandler struct {
	pause  bool
	got    chan bool
	closed chan error
}

func (h *deafHandler) Data(c *reactor.Conn) {
	c.Consume(len(c.Input()))
	if h.pause {
		c.Pause()
	}
	if h.pause || c.InputEnded() {
		h.got <- true
	}
}
func (h *deafHandler) Timeout(*reactor.Conn)             {}
func (h *deafHandler) Closed(_ *reactor.Conn, err error) { h.closed <- err }

// A reset is noticed although the connection is not being read.
func TestResetWithoutReading(t *testing.T) {
	for _, pause := range []bool{true, false} {
		h := &deafHandler{pause: pause, got: make(chan bool, 10), closed: make(chan error, 1)}
		t.Run(fmt.Sprint("paused: ", pause), func(t *testing.T) {
			plainAndSecure(t, reactor.Limits{}, func(*reactor.Conn) reactor.Handler { return h }, func(t *testing.T, _ *reactor.Engine, c, raw net.Conn) {
				_, err := io.WriteString(c, "x")
				require.NoError(t, err)
				if !pause {
					require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
				}
				<-h.got
				_ = raw.(*net.TCPConn).SetLinger(0)
				_ = raw.Close()
				require.Error(t, <-h.closed)
			})
		})
	}
}

// ticking writes endlessly, as to a client of an event stream.
type ticking struct{ closed chan error }

func (h ticking) Data(c *reactor.Conn) {
	c.Consume(len(c.Input()))
	_, _ = c.Loop().Start(&fileTask{func(t *loop.Task) {
		for t.Sleep(time.Millisecond) == nil && !c.Closed() {
			c.Write(make([]byte, 16<<10))
		}
	}})
}
func (ticking) Timeout(*reactor.Conn)               {}
func (h ticking) Closed(_ *reactor.Conn, err error) { h.closed <- err }

func TestWritingDoesNotExtendWriteTimeout(t *testing.T) {
	h := ticking{make(chan error, 1)}
	plainAndSecure(t, reactor.Limits{WriteTimeout: 200 * time.Millisecond}, func(*reactor.Conn) reactor.Handler { return h }, func(t *testing.T, e *reactor.Engine, c, raw net.Conn) {
		_, err := io.WriteString(c, "x") // and then it reads nothing
		require.NoError(t, err)
		require.ErrorIs(t, <-h.closed, reactor.ErrWriteTimeout)
		require.EqualValues(t, 1, stat(e, func(s reactor.Stats) uint64 { return s.ClosedWrite }))
	})
}

// A connection that is closed while its peer sends discards the input, so that a
// reset does not destroy the response.
func TestResponseToSendingPeer(t *testing.T) {
	open := func(*reactor.Conn) reactor.Handler { return refusing{} }
	plainAndSecure(t, reactor.Limits{}, open, func(t *testing.T, e *reactor.Engine, c, _ net.Conn) {
		for range 10 {
			if _, err := c.Write(make([]byte, 16<<10)); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "too large", string(got))
		_ = c.Close()
		require.Eventually(t, func() bool { return e.Conns() == 0 }, 10*time.Second, time.Millisecond)
	})
}

type refusing struct{}

func (refusing) Data(c *reactor.Conn)        { c.Write([]byte("too large")); c.Close() }
func (refusing) Timeout(*reactor.Conn)       {}
func (refusing) Closed(*reactor.Conn, error) {}
