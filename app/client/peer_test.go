package client

// Peers of the tests: servers that send exactly the bytes they are told to.

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// gnet's worker pool is a package variable and lives as long as the process.
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"))
}

// peer is a raw server on loopback.
type peer struct {
	addr  string
	conns atomic.Int32 // accepted so far

	mu   sync.Mutex
	open map[net.Conn]bool
}

// wire is one connection at the peer.
type wire struct {
	net.Conn
	r    *bufio.Reader
	id   int // 1 for the first accepted
	stop chan struct{}
}

// hold reads nothing until the test is over.
func (w *wire) hold() { <-w.stop }

// request reads one request, body included; nil at the end of the stream.
func (w *wire) request() (*http.Request, []byte) {
	req, err := http.ReadRequest(w.r)
	if err != nil {
		return nil, nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, nil
	}
	return req, body
}

func (w *wire) send(s string) bool {
	_, err := io.WriteString(w.Conn, s)
	return err == nil
}

// drain reads until the client closes.
func (w *wire) drain() { _, _ = io.Copy(io.Discard, w.r) }

// serve runs talk for each connection, which is closed when talk returns.
func serve(t testing.TB, talk func(w *wire)) *peer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return serveOn(t, ln, talk)
}

func serveOn(t testing.TB, ln net.Listener, talk func(w *wire)) *peer {
	p := &peer{addr: ln.Addr().String(), open: map[net.Conn]bool{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.open[c] = true
			p.mu.Unlock()
			w := &wire{Conn: c, r: bufio.NewReader(c), id: int(p.conns.Add(1)), stop: stop}
			wg.Add(1)
			go func() {
				defer wg.Done()
				talk(w)
				_ = c.Close()
				p.mu.Lock()
				delete(p.open, c)
				p.mu.Unlock()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		close(stop)
		p.mu.Lock()
		for c := range p.open {
			_ = c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

// answer serves the same bytes to every request.
func answer(t testing.TB, response string) *peer {
	return serve(t, func(w *wire) {
		for {
			if req, _ := w.request(); req == nil || !w.send(response) {
				return
			}
		}
	})
}

func (p *peer) url(path string) string { return "http://" + p.addr + path }

const hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

// newClient makes a client that is closed, and checked for leaks, at the end.
func newClient(t testing.TB, o Options) *Client {
	c := New(o)
	t.Cleanup(func() {
		c.Close()
		require.Zero(t, c.Stats().Open, "connections left open")
		require.Zero(t, c.Stats().Idle)
		checkHosts(t, c.shared)
	})
	return c
}

// checkHosts finds what an exchange left behind.
func checkHosts(t testing.TB, p *pool) {
	for _, h := range p.hosts {
		assert.Zero(t, h.open, h.addr)
		assert.Zero(t, h.users, h.addr)
		assert.Empty(t, h.waiters, h.addr)
	}
}

// fetch does a GET from a plain goroutine and reads the body.
func fetch(c *Client, url string) (status int, body string, err error) {
	status, b, err := c.Get(nil, nil, url, 1<<20)
	return status, string(b), err
}

// requireKind asserts the kind and stage of an error and returns it.
func requireKind(t testing.TB, err error, kind Kind, stage Stage) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind.String(), e.Kind.String(), "%v", err)
	require.Equal(t, stage.String(), e.Stage.String(), "%v", err)
	require.NotEmpty(t, err.Error())
	return e
}

func listenUnix(t testing.TB) net.Listener {
	ln, err := net.Listen("unix", t.TempDir()+"/s")
	require.NoError(t, err)
	return ln
}

// requireTimeout is requireKind for a timeout. On a busy machine it may strike
// at an earlier stage than the last one named.
func requireTimeout(t testing.TB, err error, last Stage) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, KindTimeout.String(), e.Kind.String(), "%v", err)
	require.LessOrEqual(t, e.Stage, last, "%v", err)
	return e
}
