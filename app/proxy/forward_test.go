package proxy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// The exact bytes that the upstream receives for a client's request.
func TestWhatTheUpstreamIsSent(t *testing.T) {
	t.Parallel()
	const tail = "\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Request-ID: ID\r\nVia: 1.1 tafe\r\n"
	for _, c := range []struct {
		name    string
		options Options
		request string
		want    string
		why     string
	}{
		{"plain", Options{}, "GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
			"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*" + tail + "\r\n", ""},
		{"trailers", Options{}, "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers, gzip\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers" + tail + "\r\n", "they are passed on"},
		{"hop by hop", Options{}, "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nProxy-Authorization: x\r\nProxy-Connection: close\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a" + tail + "\r\n", "for this connection alone, also what Connection names"},
		{"spoofed", Options{}, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Request-Id: evil\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a" + tail + "\r\n", "what a stranger says of itself is replaced, underscores included"},
		{"trusted", Options{Forwarded: true}, "GET / HTTP/1.1\r\nHost: a:80\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a:80\r\nX-Forwarded-For: 1.2.3.4, 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a:80\r\nForwarded: for=1.2.3.4, for=127.0.0.1;host=\"a:80\";proto=http\r\nX-Request-ID: ID\r\nVia: 1.1 tafe\r\n\r\n",
			"a proxy in front is believed"},
		{"rules", Options{Request: Rules{Remove: []string{"Cookie"}, Set: []Field{{Name: "X-Env", Value: "staging"}}}}, "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nX-Env: x\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a" + tail + "X-Env: staging\r\n\r\n", "set replaces"},
		{"prefix", Options{StripPrefix: "/api", AddPrefix: "/v2"}, "GET /api/users?x HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /v2/users?x HTTP/1.1\r\nHost: a" + tail + "\r\n", ""},
		{"no prefix", Options{StripPrefix: "/api"}, "GET /apiary HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /apiary HTTP/1.1\r\nHost: a" + tail + "\r\n", "a prefix ends at a slash"},
		{"whole prefix", Options{StripPrefix: "/api"}, "GET /api HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a" + tail + "\r\n", "never an empty path"},
		{"normal form", Options{}, "GET /a/%2e%2e/b%2fc/%7euser/./%c3%a4 HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /b%2Fc/~user/%C3%A4 HTTP/1.1\r\nHost: a" + tail + "\r\n", "what the router saw"},
		{"what is data", Options{}, "GET /a%2Fb//c%5cd/%252F;x=1/e;f/.g HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /a%2Fb//c%5Cd/%252F;x=1/e;f/.g HTTP/1.1\r\nHost: a" + tail + "\r\n", "nothing becomes a separator on the way"},
		{"absolute target", Options{}, "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /x HTTP/1.1\r\nHost: b\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nX-Request-ID: ID\r\nVia: 1.1 tafe\r\n\r\n",
			"the target overrules Host (RFC 9112 section 3.2.2)"},
		{"body", Options{}, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
			"POST / HTTP/1.1\r\nHost: a" + tail + "Content-Length: 5\r\n\r\nhello", "Expect is answered here"},
		{"chunks", Options{}, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3;ext=1\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: a" + tail + "Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", "framed anew: no extension"},
		{"old client", Options{}, "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a" + strings.Replace(tail, "Via: 1.1", "Via: 1.0", 1) + "\r\n", "the hop behind is 1.1 all the same"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			up := recordAll(t, okAnswer)
			var trusted []netip.Prefix
			if c.name == "trusted" {
				trusted = append(trusted, netip.MustParsePrefix("127.0.0.0/8"))
			}
			f := serve(t, GroupOptions{Servers: to(up.addr)}, c.options, trusted...)
			require.Contains(t, f.raw(t, c.request), " ok")
			got := up.String()
			if i := strings.Index(got, "X-Request-ID: "); i >= 0 {
				end := i + strings.Index(got[i:], "\r\n")
				got = got[:i] + "X-Request-ID: ID" + got[end:]
			}
			require.Equal(t, c.want, got, c.why)
		})
	}
}

// Servers that remove path parameters or treat a backslash as a slash would serve a path that was not routed.
func TestDotSegmentsInDisguiseAreRefused(t *testing.T) {
	up := GroupOptions{Servers: to(recordAll(t, okAnswer).addr)}
	f, unchanged := serve(t, up, Options{}), serve(t, up, Options{RawPath: true})
	for _, c := range []struct {
		path string
		want string
		why  string
	}{
		{"/a/..;/b", "400 ", "a parameter of a dot segment"},
		{"/a/..;x=1/b", "400 ", "with a value"},
		{"/a/..%3bx/b", "400 ", "an escaped semicolon"},
		{"/a/.;/b", "400 ", "one dot"},
		{"/a/%2e%2e;/b", "400 ", "escaped dots"},
		{"/a/..%5Cb", "400 ", "a backslash behind"},
		{"/a%5c..", "400 ", "a backslash before"},
		{"/a/..%2Fb", "400 ", "an escaped slash, which the router refuses"},
		{"/a/...;/b", "200 ", "three dots are a name"},
		{"/a/b..;c", "200 ", "so are these"},
		{"/a%5Cb", "200 ", "and a backslash elsewhere"},
	} {
		require.Contains(t, f.raw(t, "GET "+c.path+" HTTP/1.1\r\nHost: a\r\n\r\n"), c.want, "%s: %s", c.path, c.why)
		require.Contains(t, unchanged.raw(t, "GET "+c.path+" HTTP/1.1\r\nHost: a\r\n\r\n"), c.want, "as it was written, %s: %s", c.path, c.why)
	}
}

// The response that the client receives for an upstream's response.
func TestWhatTheClientIsSent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, request, answer, want, why string
	}{
		{"length", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", okAnswer, "200 ok", ""},
		{"chunks", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200 ok", ""},
		{"until close", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", "200 ok", ""},
		{"old client", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200 ok", "no chunks for 1.0"},
		{"head", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "200 ", "a length without a body"},
		{"no content", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "204 ", ""},
		{"not modified", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9\r\n\r\n", "304 ", ""},
		{"broken body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nok", "200 ok BROKEN", "never a clean end"},
		{"broken chunks", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "200 ok BROKEN", "never a clean end"},
		{"no http", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "nonsense\r\n\r\n", "502 ", "told as a bad gateway"},
		{"two lengths", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", "502 ", "ambiguous framing is refused"},
		{"unasked switch", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "502 ", "101 was not asked for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			up := recordAll(t, c.answer)
			f := serve(t, GroupOptions{Servers: to(up.addr), Tries: 1}, Options{})
			require.True(t, strings.HasPrefix(f.raw(t, c.request), c.want), "%s: %q", c.why, f.raw(t, c.request))
		})
	}
}

func TestResponseFields(t *testing.T) {
	t.Parallel()
	up := recordAll(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: up\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Powered-By: php\r\n\r\nok")
	f := serve(t, GroupOptions{Servers: to(up.addr)}, Options{Response: Rules{Remove: []string{"x-powered-by"}, Set: []Field{{Name: "X-Via", Value: "tafe"}}}})
	resp, err := http.Get(f.url)
	require.NoError(t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, []string{"a=1", "b=2"}, resp.Header["Set-Cookie"])
	require.Equal(t, "up", resp.Header.Get("Server"))
	require.Equal(t, "tafe", resp.Header.Get("X-Via"))
	for _, gone := range []string{"X-Hop", "Keep-Alive", "X-Powered-By"} {
		require.Empty(t, resp.Header.Get(gone), gone)
	}
	require.Len(t, resp.Header["Date"], 1)
}

func TestInterimAnswersGoOn(t *testing.T) {
	t.Parallel()
	up := recordAll(t, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\n\r\n"+okAnswer)
	f := serve(t, GroupOptions{Servers: to(up.addr)}, Options{})
	all := f.whole(t, "GET /"+closing+"\r\n")
	require.True(t, strings.HasPrefix(all, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"), "%s", all)
}

// An interim response follows the rules of a final one: hop-by-hop fields, fields named by Connection and fields
// removed by rules are not forwarded.
func TestInterimAnswersObeyTheRules(t *testing.T) {
	t.Parallel()
	up := recordAll(t, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nConnection: X-Other\r\nX-Hop: 1\r\nX-Other: 2\r\nKeep-Alive: 5\r\nX-Powered-By: php\r\n\r\n"+okAnswer)
	f := serve(t, GroupOptions{Servers: to(up.addr)}, Options{Response: Rules{Remove: []string{"X-Powered-By"}}})
	all := f.whole(t, "GET /"+closing+"\r\n")
	require.True(t, strings.HasPrefix(all, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"), "%s", all)
}

func TestLargeBodiesBothWays(t *testing.T) {
	t.Parallel()
	const size = 20 << 20
	block := bytes.Repeat([]byte("0123456789abcde\n"), 1<<12)
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Sum", fmt.Sprintf("%x %d", sum.Sum(nil), n))
		for range size / len(block) {
			_, _ = w.Write(block)
		}
	})
	f := serve(t, GroupOptions{Servers: to(addr)}, Options{})
	for _, chunked := range []bool{false, true} {
		body := io.LimitReader(&repeat{block: block}, size)
		req, err := http.NewRequest("POST", f.url, body)
		require.NoError(t, err)
		if !chunked {
			req.ContentLength = size
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		sum := sha256.New()
		n, err := io.Copy(sum, resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.EqualValues(t, size, n)
		require.Equal(t, fmt.Sprintf("%x %d", sum.Sum(nil), size), resp.Header.Get("X-Sum"), "the same bytes went up and down")
	}
	http.DefaultClient.CloseIdleConnections()
}

type repeat struct {
	block []byte
	at    int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}

// A disconnect of the client cancels its upstream request.
func TestClientGoneCancelsTheUpstream(t *testing.T) {
	t.Parallel()
	asked, gone := make(chan bool, 1), make(chan bool, 1)
	addr := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
		gone <- true
	})
	f := serve(t, GroupOptions{Servers: to(addr)}, Options{})
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	<-asked
	require.NoError(t, c.(*net.TCPConn).SetLinger(0)) // a reset: a FIN only ends the request's input
	require.NoError(t, c.Close())
	<-gone
	require.Eventually(t, func() bool {
		s := f.group.Stats()
		return s.Servers[0].Active == 0 && s.Client.Open == 0
	}, patience, time.Millisecond)
	require.Zero(t, f.group.Stats().Servers[0].Failures["upstream-lost"], "no fault of the server's")
}

// A server that stops under load fails only its requests in flight. Other servers are used, and it is used again
// after its return.
func TestServerDiesUnderLoad(t *testing.T) {
	t.Parallel()
	steady := backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "steady") })
	shaky := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "shaky") })}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	go func() { _ = shaky.Serve(ln) }()
	f := serve(t, GroupOptions{Servers: to(steady, addr), EjectTime: 20 * time.Millisecond, EjectTimeMax: 20 * time.Millisecond, RetryBurst: 1000}, Options{})

	stop := make(chan struct{})
	var failed, answered atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: patience}
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get(f.url)
				if err != nil {
					failed.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode == 200 {
					answered.Add(1)
				} else {
					failed.Add(1)
				}
			}
		})
	}
	asked := func() uint64 { return f.group.Stats().Servers[1].ByClass[2] }
	require.Eventually(t, func() bool { return asked() > 100 }, patience, time.Millisecond)
	require.NoError(t, shaky.Close())
	require.Eventually(t, func() bool { return f.group.Stats().Servers[1].Ejections > 0 }, patience, time.Millisecond)
	before := asked()
	ln, err = net.Listen("tcp", addr)
	require.NoError(t, err)
	again := &http.Server{Handler: shaky.Handler}
	go func() { _ = again.Serve(ln) }()
	require.Eventually(t, func() bool { return asked() > before+100 }, patience, time.Millisecond, "it comes back by itself")
	close(stop)
	wg.Wait()
	require.NoError(t, again.Close())
	require.Zero(t, failed.Load(), "of %d: GET may be sent again, to the other server", answered.Load())
}

func TestWhyThereIsNoAnswer(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	silent := backend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	slow := GroupOptions{Servers: to(silent), HeadTimeout: 30 * time.Millisecond}
	full := GroupOptions{Servers: to(silent), HeadTimeout: 300 * time.Millisecond, RequestsMax: 1, QueueMax: -1}
	for _, c := range []struct {
		name   string
		group  GroupOptions
		before int // requests that are on their way already
		status int
		want   string
		why    string
	}{
		{"refused", GroupOptions{Servers: to(closed.Addr().String())}, 0, 502, "is unreachable", ""},
		{"late", slow, 0, 504, "timed out", ""},
		{"full", full, 1, 503, "all connections", "a bound on requests in flight"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, c.group, Options{})
			var wg sync.WaitGroup
			for range c.before {
				wg.Go(func() { f.raw(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") })
			}
			require.Eventually(t, func() bool { return f.group.Stats().Servers[0].Active == c.before }, patience, time.Millisecond)
			status, body := get(t, f.url)
			require.Equal(t, c.status, status, c.why)
			require.Contains(t, body, c.want)
			require.NotContains(t, body, c.group.Servers[0].Addr, "the response does not reveal the address")
			wg.Wait()
		})
	}
}

// Requests that must not be sent twice are not retried, and retries are bounded.
func TestRetries(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	dying := func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = c.Close()
		}
	}
	a, b := backend(t, dying), backend(t, dying)
	for _, c := range []struct {
		method string
		body   string
		want   int64
		why    string
	}{
		{"GET", "", 2, "one for each server"},
		{"POST", "x", 1, "it may have been acted upon"},
		{"PUT", "x", 2, "idempotent, and the body was gathered"},
		{"PUT", strings.Repeat("x", 100<<10), 1, "a streamed body cannot be sent again"},
	} {
		f := serve(t, GroupOptions{Servers: to(a, b), FailuresMax: -1}, Options{})
		hits.Store(0)
		got := f.raw(t, fmt.Sprintf("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", c.method, len(c.body), c.body))
		require.True(t, strings.HasPrefix(got, "502 "), got)
		require.Equal(t, c.want, hits.Load(), c.method+": "+c.why)
	}
	f := serve(t, GroupOptions{Servers: to(a, b), FailuresMax: -1, RetryPercent: 10, RetryBurst: 2}, Options{})
	hits.Store(0)
	for range 50 {
		f.raw(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	require.LessOrEqual(t, hits.Load(), int64(50+2+5), "two at once, and one for ten requests")
	require.Positive(t, f.group.Stats().Exhausted)
}

func TestCloseEndsWhatWaits(t *testing.T) {
	t.Parallel()
	g, err := NewGroup(GroupOptions{Servers: to("127.0.0.1:1"), Check: &Check{Interval: time.Hour}, Log: quiet})
	require.NoError(t, err)
	require.NoError(t, g.Close())
	require.NoError(t, g.Close())
}
