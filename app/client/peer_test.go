package client

// Peers: servers that send exactly the given bytes.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// hold reads nothing until the test ends.
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
		p.closeAll()
		wg.Wait()
	})
	return p
}

// closeAll closes all connections.
func (p *peer) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
}

// answer sends the same bytes for each request.
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

// newClient returns a client that is closed and checked for leaks at the end of the test.
func newClient(t testing.TB, o Options) *Client {
	c := New(o)
	t.Cleanup(func() {
		c.Close()
		requireNothingLeft(t, c)
	})
	return c
}

// requireNothingLeft waits until no call holds a resource of the client's pools. The loser of a hedge and a late
// reader clean up on their own.
func requireNothingLeft(t testing.TB, c *Client) {
	t.Helper()
	var left []string
	ended := func() bool {
		left = nil
		for _, p := range *c.pools.Load() {
			looked := make(chan bool)
			if !p.post(func() {
				p.lock()
				defer p.unlock()
				defer close(looked)
				for _, h := range p.hosts {
					if h.open != 0 || h.users != 0 || h.late != 0 || len(h.waiters) != 0 {
						left = append(left, fmt.Sprintf("%s: %d open, %d users, %d late, %d wait", h.addr, h.open, h.users, h.late, len(h.waiters)))
					}
				}
			}) {
				continue // a loop that has stopped
			}
			<-looked
		}
		return left == nil
	}
	for until := time.Now().Add(10 * time.Second); !ended(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(until), "%v", left)
	}
	require.Zero(t, c.Stats().Open, "connections left open")
	require.Zero(t, c.Stats().Idle)
}

// fetch does a GET outside a task and reads the body.
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

// requireTimeout is requireKind for a timeout. On a busy machine it may occur at an earlier stage than the last one
// given.
func requireTimeout(t testing.TB, err error, last Stage) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, KindTimeout.String(), e.Kind.String(), "%v", err)
	require.LessOrEqual(t, e.Stage, last, "%v", err)
	return e
}
