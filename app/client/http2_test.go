package client

// HTTP/2 with servers of net/http.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/httpparse"
	"tafe/loop"
)

// http2Site is a server of net/http that speaks HTTP/2 only.
type http2Site struct {
	*httptest.Server
	options Options
}

// http2Sites starts a server for each of the protocols.
func http2Sites(t testing.TB, h http.Handler) []*http2Site {
	var sites []*http2Site
	for _, p := range []Protocol{H2C, HTTP2} {
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(p == H2C)
		s.Config.Protocols.SetHTTP2(p == HTTP2)
		site := &http2Site{s, Options{Protocol: p}}
		if p == HTTP2 {
			s.EnableHTTP2 = true
			s.StartTLS()
			site.options.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		sites = append(sites, site)
	}
	return sites
}

// onBoth runs test with a client in a task and in a goroutine, for each of the protocols.
func onBoth(t *testing.T, h http.Handler, test func(t *testing.T, s *http2Site, c *Client, task *loop.Task)) {
	e := loops(t, 1)
	for _, s := range http2Sites(t, h) {
		everywhere(t, e, string(s.options.Protocol), s.options, func(t *testing.T, c *Client, task *loop.Task) { test(t, s, c, task) })
	}
}

// echo answers with what it has received, as it receives it.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum")
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Path", r.RequestURI)
	w.Header().Set("X-Host", r.Host)
	w.Header().Set("X-Te", r.Header.Get("Te"))
	w.Header().Set("X-Agent", r.UserAgent())
	w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
	_ = http.NewResponseController(w).EnableFullDuplex()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	p := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(p)
		_, _ = w.Write(p[:n])
		_ = http.NewResponseController(w).Flush()
		if err != nil {
			break
		}
	}
	w.Header().Set("X-Sum", "done"+r.Trailer.Get("X-Client"))
}

func TestHTTP2Requests(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB, beyond every initial window
	onBoth(t, http.HandlerFunc(echo), func(t *testing.T, s *http2Site, c *Client, task *loop.Task) {
		for _, tt := range []struct {
			why  string
			req  Request
			body string
			want map[string]string
		}{
			{"a request without a body", Request{}, "", map[string]string{"x-method": "GET", "x-path": "/a?b", "x-length": "0", "x-agent": "", "x-te": ""}},
			{"a POST without a body has a length", Request{Method: "POST"}, "", map[string]string{"x-length": "0"}},
			{"a small body", Request{Method: "POST", Body: []byte("abc")}, "abc", map[string]string{"x-length": "3"}},
			{"a body beyond all windows, echoed meanwhile", Request{Method: "PUT", Body: large}, string(large), map[string]string{"x-length": fmt.Sprint(len(large))}},
			{"a stream of known length", Request{Method: "PUT", Stream: strings.NewReader("abcdef"), StreamLength: 6}, "abcdef", map[string]string{"x-length": "6"}},
			{"a stream of unknown length", Request{Method: "PUT", Stream: strings.NewReader("abcdef"), StreamLength: -1}, "abcdef", map[string]string{"x-length": "-1"}},
			{"an empty stream", Request{Method: "PUT", Stream: strings.NewReader(""), StreamLength: -1}, "", nil},
			{"fields and a host", Request{Host: "other.test", Headers: fields("User-Agent", "me"), AcceptTrailers: true}, "",
				map[string]string{"x-host": "other.test", "x-agent": "me", "x-te": "trailers"}},
		} {
			var resp Response
			tt.req.URL = s.URL + "/a?b"
			require.NoError(t, c.Do(task, nil, &tt.req, &resp), tt.why)
			assert.Equal(t, 200, resp.Status, tt.why)
			assert.EqualValues(t, 2, resp.Major, tt.why)
			for name, value := range tt.want {
				assert.Equal(t, value, string(resp.Header(name)), "%s: %s", tt.why, name)
			}
			body, err := resp.ReadAll(2 << 20)
			require.NoError(t, err, tt.why)
			assert.True(t, tt.body == string(body), "%s: %d bytes", tt.why, len(body))
			assert.Equal(t, []httpparse.Header{{Name: []byte("x-sum"), Value: []byte("done")}}, resp.Trailers(), tt.why)
			resp.Close()
		}
		assert.EqualValues(t, 1, c.Stats().Dials, "one connection")
		assert.Zero(t, c.Stats().Unfinished)
	})
}

// The methods and statuses that have no body.
func TestHTTP2WithoutBody(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/304" {
			w.Header().Set("Content-Length", "7")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "hello")
	})
	onBoth(t, h, func(t *testing.T, s *http2Site, c *Client, task *loop.Task) {
		for _, tt := range []struct {
			method, path string
			length       int64
			body         string
		}{{"GET", "/", 5, "hello"}, {"HEAD", "/", 5, ""}, {"GET", "/304", 7, ""}} {
			var resp Response
			require.NoError(t, c.Do(task, nil, &Request{Method: tt.method, URL: s.URL + tt.path}, &resp))
			if task != nil { // net/http hides the length of a 304
				assert.Equal(t, tt.length, resp.ContentLength, tt.path)
			}
			body, err := resp.ReadAll(100)
			require.NoError(t, err)
			assert.Equal(t, tt.body, string(body))
			resp.Close()
		}
	})
}

func TestHTTP2Interim(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		_, _ = io.WriteString(w, "hello")
	})
	onBoth(t, h, func(t *testing.T, s *http2Site, c *Client, task *loop.Task) {
		var seen []string
		var resp Response
		req := Request{URL: s.URL, Interim: func(status int, fields []httpparse.Header) {
			seen = append(seen, fmt.Sprint(status, " ", string(fields[0].Name), "=", string(fields[0].Value)))
		}}
		require.NoError(t, c.Do(task, nil, &req, &resp))
		assert.Equal(t, []string{"103 link=</style.css>", "102 link=</style.css>"}, seen)
		body, err := resp.ReadAll(100)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(body))
		resp.Close()
	})
}

// Calls of one loop share connections, each of which carries a bounded number of them; further calls wait.
func TestHTTP2Multiplexes(t *testing.T) {
	var inside, peak atomic.Int32
	gate := make(chan bool)
	conns := sync.Map{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns.Store(r.RemoteAddr, true)
		n := inside.Add(1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		<-gate
		inside.Add(-1)
		_, _ = io.WriteString(w, "hello")
	})
	s := http2Sites(t, h)[0]
	e := loops(t, 1)
	for _, tt := range []struct {
		why            string
		streams, conns int
		calls          int
		atOnce, used   int
	}{
		{"one connection has room for all", 100, 10, 20, 20, 1},
		{"a connection is opened when the others are full", 5, 10, 20, 20, 4},
		{"calls wait when all connections are full", 3, 2, 20, 6, 2},
	} {
		t.Run(tt.why, func(t *testing.T) {
			conns.Clear()
			peak.Store(0)
			o := s.options
			o.StreamsMax, o.ConnsPerHostMax = tt.streams, tt.conns
			c := newClient(t, o)
			var jobs []*job
			for range tt.calls {
				jobs = append(jobs, start(t, e.Loops()[0], func(task *loop.Task) {
					_, body, err := c.Get(task, nil, s.URL, 100)
					assert.NoError(t, err)
					assert.Equal(t, "hello", string(body))
				}))
			}
			eventually(t, "all connections are full", func() bool { return int(inside.Load()) == tt.atOnce })
			for range tt.calls {
				gate <- true
			}
			for _, j := range jobs {
				j.wait(t)
			}
			used := 0
			conns.Range(func(any, any) bool { used++; return true })
			assert.Equal(t, tt.used, used)
			assert.EqualValues(t, tt.atOnce, peak.Load())
			assert.EqualValues(t, tt.used, c.Stats().Dials)
			assert.EqualValues(t, tt.used, c.Stats().Idle)
		})
	}
}

// pipeSource is a Source whose bytes come from the test.
type pipeSource struct {
	l    *loop.Loop
	mu   sync.Mutex
	have []byte
	end  error
	wake func()
}

func (p *pipeSource) Read([]byte) (int, error) { return 0, errors.New("not to be read") }

func (p *pipeSource) TryRead(b []byte, wake func()) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := copy(b, p.have)
	p.have = p.have[n:]
	if n == 0 && p.end != nil {
		return 0, p.end
	}
	if n == 0 {
		p.wake = wake
	}
	return n, nil
}

func (p *pipeSource) Forget() { p.mu.Lock(); p.wake = nil; p.mu.Unlock() }

// put adds bytes, and an end, from any goroutine.
func (p *pipeSource) put(s string, end error) {
	p.l.Post(func() {
		p.mu.Lock()
		p.have, p.end = append(p.have, s...), end
		wake := p.wake
		p.wake = nil
		p.mu.Unlock()
		if wake != nil {
			wake()
		}
	})
}

// A request with a Source and its response go on at the same time.
func TestHTTP2FullDuplex(t *testing.T) {
	e := loops(t, 1)
	for _, s := range http2Sites(t, http.HandlerFunc(echo)) {
		c := newClient(t, s.options)
		start(t, e.Loops()[0], func(task *loop.Task) {
			source := &pipeSource{l: task.Loop()}
			var resp Response
			defer resp.Close()
			req := Request{Method: "POST", URL: s.URL, Stream: source, StreamLength: -1, Trailers: func() []httpparse.Header { return fields("X-Client", "!") }}
			require.NoError(t, c.Do(task, nil, &req, &resp))
			p := make([]byte, 100)
			for i := range 10 {
				message := fmt.Sprint("message ", i)
				source.put(message, nil)
				n, err := io.ReadFull(&resp, p[:len(message)])
				require.NoError(t, err)
				require.Equal(t, message, string(p[:n]))
			}
			source.put("the end", io.EOF)
			rest, err := resp.ReadAll(100)
			require.NoError(t, err)
			require.Equal(t, "the end", string(rest))
			if sum := string(resp.Trailers()[0].Value); sum != "done!" && sum != "done" { // net/http has trailers that were announced only
				t.Error(sum)
			}
		}).wait(t)
	}
}

// An early response does not stop the rest of a request.
func TestHTTP2EarlyResponse(t *testing.T) {
	got := make(chan int64, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusForbidden)
		_ = http.NewResponseController(w).Flush()
		n, _ := io.Copy(io.Discard, r.Body)
		got <- n
	})
	e := loops(t, 1)
	for _, s := range http2Sites(t, h) {
		c := newClient(t, s.options)
		start(t, e.Loops()[0], func(task *loop.Task) { // the Transport of net/http ends the body for such a status
			body := make([]byte, 4<<20)
			var resp Response
			require.NoError(t, c.Do(task, nil, &Request{Method: "POST", URL: s.URL, Body: body}, &resp))
			require.Equal(t, 403, resp.Status)
			clear(body) // it belongs to the caller again
			_, err := resp.ReadAll(100)
			require.NoError(t, err)
			resp.Close()
			require.EqualValues(t, len(body), <-got)
		}).wait(t)
	}
}

// A cancelled request resets its stream, and its connection stays.
func TestHTTP2Cancel(t *testing.T) {
	began, ended := make(chan bool, 1), make(chan bool, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/body":
			_, _ = io.WriteString(w, "hello")
			_ = http.NewResponseController(w).Flush()
			fallthrough
		case "/head":
			began <- true
			<-r.Context().Done()
			ended <- true
		default:
			_, _ = io.WriteString(w, "hello")
		}
	})
	gone := errors.New("gone")
	onBoth(t, h, func(t *testing.T, s *http2Site, c *Client, task *loop.Task) {
		for path, stage := range map[string]Stage{"/head": StageHead, "/body": StageBody} {
			ctx, cancel := context.WithCancelCause(context.Background())
			headed := make(chan bool, 1)
			go func() {
				<-began
				if stage == StageBody {
					<-headed
				}
				cancel(gone)
			}()
			var resp Response
			err := c.Do(task, ctx, &Request{URL: s.URL + path}, &resp)
			headed <- true
			if err == nil {
				_, err = resp.ReadAll(100)
			}
			requireKind(t, err, KindCancelled, stage)
			require.ErrorIs(t, err, gone)
			resp.Close()
			<-ended
		}
		for path, stage := range map[string]Stage{"/head": StageHead, "/body": StageBody} {
			var resp Response
			err := c.Do(task, nil, &Request{URL: s.URL + path, Timeout: 50 * time.Millisecond}, &resp)
			if err == nil {
				_, err = resp.ReadAll(100)
			}
			requireTimeout(t, err, stage)
			resp.Close()
			<-began
			<-ended
		}
		_, body, err := c.Get(task, nil, s.URL, 100)
		require.NoError(t, err)
		require.Equal(t, "hello", string(body))
		require.EqualValues(t, 1, c.Stats().Dials, "the connection has stayed")
	})
}

func TestHTTP2Hedge(t *testing.T) {
	var calls atomic.Int32
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 61 {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "hello")
	})
	e := loops(t, 1)
	s := http2Sites(t, h)[0]
	o := s.options
	o.Hedge = Hedge{BudgetPercent: 100, SamplesMin: 10}
	c := newClient(t, o)
	start(t, e.Loops()[0], func(task *loop.Task) {
		for range 70 {
			var resp Response
			require.NoError(t, c.Do(task, nil, &Request{URL: s.URL, Hedge: true}, &resp))
			body, err := resp.ReadAll(100)
			require.NoError(t, err)
			require.Equal(t, "hello", string(body))
			resp.Close()
		}
	}).wait(t)
	require.NotZero(t, c.Stats().HedgeWins)
}

// A server that does not speak HTTP/2 is an error, and so is a request that HTTP/2 cannot express.
func TestHTTP2Refusals(t *testing.T) {
	e := loops(t, 1)
	plain := answer(t, hello)
	old := httptest.NewTLSServer(http.HandlerFunc(echo))
	t.Cleanup(old.Close)
	trust := old.Client().Transport.(*http.Transport).TLSClientConfig
	everywhere(t, e, "a server of HTTP/1", Options{Protocol: H2C}, func(t *testing.T, c *Client, task *loop.Task) {
		_, _, err := c.Get(task, nil, plain.url("/"), 100)
		require.Error(t, err)
		var f *Error
		require.ErrorAs(t, err, &f)
		require.Contains(t, []Kind{KindProtocol, KindLost}, f.Kind, "%v", err)
	})
	everywhere(t, e, "a server that selects another protocol", Options{Protocol: HTTP2, TLS: trust}, func(t *testing.T, c *Client, task *loop.Task) {
		_, _, err := c.Get(task, nil, old.URL, 100)
		requireKind(t, err, KindDial, StageTLS)
	})
	everywhere(t, e, "an untrusted server", Options{Protocol: HTTP2}, func(t *testing.T, c *Client, task *loop.Task) {
		_, _, err := c.Get(task, nil, old.URL, 100)
		requireKind(t, err, KindDial, StageTLS)
	})
	everywhere(t, e, "no server", Options{Protocol: H2C}, func(t *testing.T, c *Client, task *loop.Task) {
		_, _, err := c.Get(task, nil, "http://127.0.0.1:1", 100)
		requireKind(t, err, KindDial, StageDial)
	})
	everywhere(t, e, "invalid requests", Options{Protocol: H2C}, func(t *testing.T, c *Client, task *loop.Task) {
		for _, tt := range []struct {
			req  Request
			want error
		}{
			{Request{URL: "https://a.test"}, ErrProtocol},
			{Request{URL: "http://a.test", Upgrade: "websocket"}, ErrUpgrade},
			{Request{URL: "http://a.test", Headers: fields("Connection", "close")}, ErrReservedField},
			{Request{URL: "http://a.test", Headers: fields("TE", "gzip")}, ErrReservedField},
			{Request{URL: "http://a.test", Headers: fields("a b", "c")}, ErrField},
			{Request{URL: "http://a.test", Headers: fields("a", "b\nc")}, ErrField},
			{Request{URL: "http://a.test", Headers: fields(":path", "/")}, ErrField},
			{Request{URL: "http://a.test", Method: "G T"}, ErrMethodName},
			{Request{Addr: "a.test:80", Target: []byte("a.test:80")}, ErrURL},
			{Request{Addr: "a.test:80", Target: []byte("/a b")}, ErrURL},
		} {
			var resp Response
			err := c.Do(task, nil, &tt.req, &resp)
			requireKind(t, err, KindRequest, StagePrepare)
			require.ErrorIs(t, err, tt.want)
		}
	})
}
