package app

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

const (
	large     = 50 << 20
	flatBytes = 12 << 20 // what the heap may grow by while large bytes pass
)

// pattern yields n bytes that tell where they stand.
type pattern struct {
	at, n int64
	sum   hash.Hash
}

// block has a prime length, so that no power of two goes astray unseen.
var block = func() []byte {
	b := make([]byte, 65521)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i)
	}
	return b
}()

func newPattern(n int64) *pattern { return &pattern{n: n, sum: sha256.New()} }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	n := copy(b[:min(int64(len(b)), p.n-p.at)], block[p.at%int64(len(block)):])
	p.at += int64(n)
	p.sum.Write(b[:n])
	return n, nil
}

func (p *pattern) digest() string { return hex.EncodeToString(p.sum.Sum(nil)) }

// heap tells what is in use on the heap, without the garbage of the clients in this process.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// bodyApp moves bodies in every direction. Its file holds large bytes.
func bodyApp(t *testing.T, o Options) (*App, *pattern) {
	t.Helper()
	o.Log = quiet
	o.Limits = httpparse.Limits{BodyBytesMax: 1 << 30}
	a := New(o)
	a.Post("/sum", func(c *Context) error {
		sum, base, peak := sha256.New(), heap(), int64(0)
		buf := make([]byte, 32<<10)
		for total := 0; ; {
			n, err := c.BodyReader().Read(buf)
			sum.Write(buf[:n])
			if total/(5<<20) != (total+n)/(5<<20) {
				peak = max(peak, heap()-base)
			}
			total += n
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		c.SetHeader("X-Peak", strconv.FormatInt(peak, 10))
		return c.String(200, hex.EncodeToString(sum.Sum(nil)))
	})
	a.Post("/echo", func(c *Context) error {
		_, err := io.Copy(c.Stream(200, ""), c.BodyReader())
		return err
	})
	a.Post("/refuse", func(c *Context) error {
		if _, err := io.ReadFull(c.BodyReader(), make([]byte, 2<<20)); err != nil {
			return err
		}
		return Error(403, "enough")
	})
	a.Post("/panic", func(c *Context) error {
		if _, err := io.ReadFull(c.BodyReader(), make([]byte, 2<<20)); err != nil {
			return err
		}
		panic("boom")
	})
	path := filepath.Join(t.TempDir(), "large")
	content := newPattern(large)
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.Copy(f, content)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	a.Get("/file", func(c *Context) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		c.SetHeader("Content-Length", strconv.Itoa(large))
		_, err = io.Copy(c.Stream(200, "application/octet-stream"), f)
		return err
	})
	a.Get("/plaintext", func(c *Context) error { return c.String(200, hello) })
	return a, content
}

func reasonsOf(t *testing.T, s *Server) map[string]uint64 {
	t.Helper()
	return s.Stats().Reasons
}

// requireReason waits until the server has counted n of a reason: it does so after the answer, or after the client has left.
func requireReason(t *testing.T, s *Server, reason string, n int, why ...any) {
	t.Helper()
	require.Eventually(t, func() bool { return reasonsOf(t, s)[reason] == uint64(n) }, patience, time.Millisecond, why...)
}

// counted waits until the server has counted what the predicate asks for.
func counted(t *testing.T, s *Server, ok func(Stats) bool) {
	t.Helper()
	require.Eventually(t, func() bool { return ok(s.Stats()) }, patience, time.Millisecond)
}

// Bodies of every size and framing arrive, and so does the request that follows at once.
func TestUploads(t *testing.T) {
	a, _ := bodyApp(t, Options{})
	s := serve(t, a, 2)
	for _, c := range []struct {
		why     string
		size    int64
		chunked bool
	}{
		{"small", 200 << 10, false},
		{"small, in chunks", 200 << 10, true},
		{"large", large, false},
		{"large, in chunks", large, true},
		{"one byte more than the connection holds unread", 1<<20 + 1, false},
		{"chunks that grow beyond that", 3 << 20, true},
	} {
		conn := dial(t, s)
		body := newPattern(c.size)
		go func() {
			w := bufio.NewWriterSize(conn, 60_000)
			_, _ = w.WriteString("POST /sum HTTP/1.1\r\nHost: a\r\n")
			if c.chunked {
				_, _ = w.WriteString("Transfer-Encoding: chunked\r\n\r\n")
				buf := make([]byte, 40_000)
				for i := 1; ; i++ {
					n, err := body.Read(buf[:1+i*7919%len(buf)])
					if err != nil {
						break
					}
					_, _ = fmt.Fprintf(w, "%x;x=y\r\n%s\r\n", n, buf[:n])
				}
				_, _ = w.WriteString("0\r\nA: b\r\n\r\n")
			} else {
				_, _ = fmt.Fprintf(w, "Content-Length: %d\r\n\r\n", c.size)
				_, _ = io.Copy(w, body)
			}
			_, _ = w.WriteString("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
			_ = w.Flush()
		}()
		r := bufio.NewReader(conn)
		peak := answered(t, r, 200, func(string) string { return body.digest() }, c.why).Get("X-Peak")
		grown, err := strconv.ParseInt(peak, 10, 64)
		require.NoError(t, err)
		require.Less(t, grown, int64(flatBytes), c.why)
		answered(t, r, 200, func(string) string { return hello }, c.why)
		answered(t, r, 200, func(string) string { return "abc" }, c.why)
		require.NoError(t, conn.Close())
	}
}

// serveBoth serves on a plain address and, second, by TLS, and returns a client that trusts the certificate.
func serveBoth(t *testing.T, a *App) (*Server, *http.Client) {
	t.Helper()
	other := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate, and clients that trust it
	t.Cleanup(other.Close)
	client := other.Client()
	t.Cleanup(client.CloseIdleConnections)
	return serveWith(t, a, ServerConfig{Loops: 1, Listeners: []Listener{
		{Addr: "127.0.0.1:0"},
		{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{Certificates: other.TLS.Certificates}}},
	}}), client
}

// A handler that is slower than its client holds it back: memory stays flat, with and without TLS.
func TestUploadToASlowHandler(t *testing.T) {
	const size, step = 64 << 20, 1 << 20
	a := New(Options{Log: quiet, Limits: httpparse.Limits{BodyBytesMax: 1 << 30}})
	a.Post("/", func(c *Context) error {
		base, peak, sum, piece := heap(), int64(0), sha256.New(), make([]byte, step)
		for i := 0; ; i++ {
			n, err := io.ReadFull(c.BodyReader(), piece)
			sum.Write(piece[:n])
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			if err != nil {
				return err
			}
			if err := c.Sleep(2 * time.Millisecond); err != nil {
				return err
			}
			if i%8 == 0 {
				peak = max(peak, heap()-base)
			}
		}
		c.SetHeader("X-Peak", strconv.FormatInt(peak, 10))
		return c.String(200, hex.EncodeToString(sum.Sum(nil)))
	})
	s, client := serveBoth(t, a)
	for i, scheme := range []string{"http", "https"} {
		for _, length := range []int64{size, -1} {
			body := newPattern(size)
			req, err := http.NewRequest("POST", scheme+"://"+s.Addrs()[i].String()+"/", body)
			require.NoError(t, err)
			req.ContentLength = length
			resp, err := client.Do(req)
			require.NoError(t, err, scheme)
			answer, err := io.ReadAll(resp.Body)
			require.NoError(t, err, scheme)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, body.digest(), string(answer), scheme)
			grown, err := strconv.ParseInt(resp.Header.Get("X-Peak"), 10, 64)
			require.NoError(t, err)
			require.Less(t, grown, int64(flatBytes), scheme)
		}
	}
}

// answered reads one answer. want is called once it is there.
func answered(t *testing.T, r *bufio.Reader, status int, want func(string) string, why string) http.Header {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err, why)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err, why)
	require.Equal(t, status, resp.StatusCode, "%s: %.200s", why, body)
	if w := want(string(body)); w != string(body) {
		require.Failf(t, "another body", "%s: %.100q", why, body)
	}
	return resp.Header
}

// sluggish makes sure that the client does not keep up: it begins to read on request.
type sluggish struct {
	io.Reader
	c    *Context
	full chan struct{}
}

func (s *sluggish) unsent() int {
	defer s.c.task.Leave(s.c.task.Enter())
	return s.c.wire.reactorConn().Unsent()
}

func (s *sluggish) Read(p []byte) (int, error) {
	if s.full != nil {
		if err := s.c.Yield(); err != nil {
			return 0, err
		}
		if s.unsent() >= s.c.wire.reactorConn().Limits().OutboundMax {
			s.full <- struct{}{}
			s.full = nil
		}
	}
	return s.Reader.Read(p)
}

// A large answer arrives whole, at a slow reader too, and the connection goes on.
func TestDownloads(t *testing.T) {
	a, content := bodyApp(t, Options{})
	full := make(chan struct{}, 1)
	a.Get("/stream", func(c *Context) error {
		_, err := io.Copy(c.Stream(200, ""), &sluggish{newPattern(large), c, full})
		return err
	})
	s := serve(t, a, 2)
	for _, path := range []string{"/file", "/stream"} {
		conn := dial(t, s)
		_, err := io.WriteString(conn, "GET "+path+get+"GET /plaintext"+get)
		require.NoError(t, err)
		if path == "/stream" {
			<-full
		}
		base := heap()
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		sum := sha256.New()
		n, err := io.Copy(sum, resp.Body)
		require.NoError(t, err)
		require.EqualValues(t, large, n)
		require.Equal(t, content.digest(), hex.EncodeToString(sum.Sum(nil)), path)
		require.Less(t, heap()-base, int64(flatBytes), path)
		answered(t, r, 200, func(string) string { return hello }, "what was pipelined behind it")
		_, err = io.WriteString(conn, "GET /plaintext"+get)
		require.NoError(t, err)
		answered(t, r, 200, func(string) string { return hello }, "the next request")
		require.NoError(t, conn.Close())
	}
}

// Both ways at once.
func TestBodiesBothWays(t *testing.T) {
	a, _ := bodyApp(t, Options{})
	s := serve(t, a, 1)
	for _, chunked := range []bool{false, true} {
		body := newPattern(large)
		req, err := http.NewRequest("POST", "http://"+s.Addr().String()+"/echo", body)
		require.NoError(t, err)
		req.ContentLength = large
		if chunked {
			req.ContentLength = -1
		}
		client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
		resp, err := client.Do(req)
		require.NoError(t, err)
		sum := sha256.New()
		n, err := io.Copy(sum, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.EqualValues(t, large, n)
		require.Equal(t, body.digest(), hex.EncodeToString(sum.Sum(nil)))
		client.CloseIdleConnections()
	}
}

// Without a socket there is no sendfile: the same handlers work all the same.
func TestBodiesInMemory(t *testing.T) {
	a, _ := bodyApp(t, Options{})
	content := newPattern(3 << 20)
	data, err := io.ReadAll(content)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "some")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	a.Get("/some", func(c *Context) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		c.SetHeader("Content-Length", strconv.Itoa(len(data)))
		_, err = io.Copy(c.Stream(200, ""), f)
		return err
	})
	r := newRig(t, a, reactor.Limits{InboundMax: 64 << 10})
	p := r.dial()
	p.send("GET /some" + get)
	r.await(func() bool { return r.state.active == 0 }) // the file is read beside the loop
	got := p.taken()
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	sum := sha256.Sum256([]byte(body))
	require.Equal(t, content.digest(), hex.EncodeToString(sum[:]))
	body = string(bytes.Repeat([]byte("x"), 3<<20))
	p.send(fmt.Sprintf("POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(body)))
	for len(body) > 0 {
		n := min(len(body), 30_000)
		p.send(body[:n])
		body = body[n:]
	}
	require.Contains(t, p.taken(), "200 OK")
}

// A body that ends with its connection must not look complete when it is not: the client gets a reset.
func TestAbortResets(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/", func(c *Context) error {
		s := c.Stream(200, "text/plain")
		_, _ = io.WriteString(s, hello)
		_ = s.Flush()
		return Error(500, "too late")
	})
	conn := dial(t, serve(t, a, 1))
	_, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, conn)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// A pipe is an *os.File that cannot be sought: it is copied, whatever length was announced.
func TestStreamFromAPipe(t *testing.T) {
	want := strings.Repeat("0123456789", 10_000)
	a := New(Options{Log: quiet})
	a.Get("/pipe", func(c *Context) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		go func() {
			_, _ = io.WriteString(w, want)
			_ = w.Close()
		}()
		c.SetHeader("Content-Length", strconv.Itoa(len(want)))
		_, err = io.Copy(c.Stream(200, "text/plain"), r)
		return err
	})
	s := serve(t, a, 1)
	conn := dial(t, s)
	_, err := io.WriteString(conn, "GET /pipe"+get)
	require.NoError(t, err)
	answered(t, bufio.NewReader(conn), 200, func(string) string { return want }, "a pipe")
}
