package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// whole sends a request, which closes its connection, on a new connection and returns all bytes received.
func (f *front) whole(t testing.TB, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	return string(all)
}

const closing = " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"

func TestHopsOfARequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why     string
		options Options
		request string
		sent    []string // to the upstream
		unsent  []string
	}{
		{"this hop is named", Options{}, "GET /" + closing + "\r\n", []string{"\r\nVia: 1.1 tafe\r\n"}, nil},
		{"behind those before it, as the version that it was sent", Options{Via: "edge"}, "GET / HTTP/1.0\r\nVia: 1.1 first\r\n\r\n",
			[]string{"\r\nVia: 1.1 first\r\n", "\r\nVia: 1.0 edge\r\n"}, nil},
		{"a host is a name, too", Options{Via: "[::1]:80"}, "GET /" + closing + "\r\n", []string{"\r\nVia: 1.1 [::1]:80\r\n"}, nil},
		{"unless it is not to be named", Options{Via: "-"}, "GET /" + closing + "\r\n", nil, []string{"Via:"}},
		{"or a rule removes it", Options{Request: Rules{Remove: []string{"via"}}}, "GET /" + closing + "Via: 1.1 first\r\n\r\n", nil, []string{"Via:"}},
		{"hops are counted down", Options{}, "OPTIONS /" + closing + "Max-Forwards: 7\r\n\r\n", []string{"\r\nMax-Forwards: 6\r\n"}, []string{"Forwards: 7"}},
		{"TRACE, too", Options{}, "TRACE /" + closing + "Max-Forwards: 1\r\n\r\n", []string{"\r\nMax-Forwards: 0\r\n"}, nil},
		{"for other methods the field means nothing", Options{}, "GET /" + closing + "Max-Forwards: 0\r\n\r\n", []string{"\r\nMax-Forwards: 0\r\n"}, nil},
		{"an upgrade to h2c is for this hop", Options{}, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
			nil, []string{"pgrade", "HTTP2", "h2c"}},
		{"beside others only those go on", Options{}, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: a/1, H2C ,b\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
			[]string{"\r\nConnection: upgrade\r\nUpgrade: a/1, b\r\n"}, []string{"HTTP2", "H2C"}},
		{"the path as it was written", Options{RawPath: true}, "GET /a%2Fb/%7e/./c//d%c3%a4?q" + closing + "\r\n", []string{"GET /a%2Fb/%7e/./c//d%c3%a4?q HTTP/1.1\r\n"}, nil},
		{"the path as it was written, below a prefix", Options{RawPath: true, StripPrefix: "/api", AddPrefix: "/v2"}, "GET /api/%7e/.a/..." + closing + "\r\n",
			[]string{"GET /v2/%7e/.a/... HTTP/1.1\r\n"}, nil},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			up := recordAll(t, okAnswer)
			f := serve(t, GroupOptions{Servers: to(up.addr)}, c.options)
			require.Equal(t, "200 ok", f.raw(t, c.request))
			for _, s := range c.sent {
				require.Contains(t, up.String(), s)
			}
			for _, s := range c.unsent {
				require.NotContains(t, up.String(), s)
			}
		})
	}
}

// Requests that the proxy answers.
func TestTheLastHop(t *testing.T) {
	t.Parallel()
	up := recordAll(t, okAnswer)
	f := serve(t, GroupOptions{Servers: to(up.addr)}, Options{})
	raw := serve(t, GroupOptions{Servers: to(up.addr)}, Options{RawPath: true, StripPrefix: "/api", AddPrefix: "/v2"})
	require.Equal(t, "204 ", f.raw(t, "OPTIONS /"+closing+"Max-Forwards: 0\r\n\r\n"))
	require.Equal(t, "200 TRACE /x?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\nMax-Forwards: 0\r\nX-A: b\r\n\r\n",
		f.raw(t, "TRACE /x?y"+closing+"Max-Forwards: 0\r\nCookie: secret\r\nauthorization: secret\r\nX-A: b\r\n\r\n"), "without secrets (RFC 9110 section 9.3.8)")
	require.Contains(t, f.raw(t, "TRACE /"+closing+"Max-Forwards: -1\r\n\r\n"), "400 ")
	for _, path := range []string{"/api/../x", "/api/%2e%2E/x", "/api/./x", "/api/.%2e"} {
		require.Contains(t, raw.raw(t, "GET "+path+closing+"\r\n"), "400 ", "%s could lead out of the prefix", path)
	}
	require.Empty(t, up.String())
	_, err := New(f.group, Options{Via: "two words"})
	require.ErrorContains(t, err, "two words")
}

func TestHopsOfAnAnswer(t *testing.T) {
	t.Parallel()
	const ask = "GET /api/x" + closing
	prefix := Options{StripPrefix: "/api", AddPrefix: "/v2"}
	head := func(status string) string { return "HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n" }
	for _, c := range []struct {
		why     string
		options Options
		request string
		answer  string
		got     []string
		not     []string
	}{
		{"this hop is named", Options{Via: "edge"}, ask + "\r\n", head("200 OK") + "Via: 1.1 inner\r\n\r\n", []string{"\r\nVia: 1.1 inner\r\n", "\r\nVia: 1.1 edge\r\n"}, nil},
		{"or is not", Options{Via: "-"}, ask + "\r\n", head("200 OK") + "\r\n", nil, []string{"Via:"}},
		{"426 says what is required", Options{}, ask + "\r\n", head("426 Upgrade Required") + "Upgrade: TLS/1.0\r\nConnection: upgrade\r\n\r\n",
			[]string{" 426 ", "\r\nUpgrade: TLS/1.0\r\n", "\r\nConnection: upgrade\r\n", "\r\nConnection: close\r\n"}, nil},
		{"another answer does not", Options{}, ask + "\r\n", head("200 OK") + "Upgrade: h2c\r\nConnection: upgrade\r\n\r\n", nil, []string{"pgrade"}},
		{"whitespace before a colon is removed", Options{}, ask + "\r\n", "HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length\t: 2\r\n\r\nok", []string{" 200 ", "\r\nX-A: 1\r\n", "ok"}, nil},
		{"a forbidden trailer breaks nothing", Options{}, ask + "\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 5\r\nX : y\r\n\r\n",
			[]string{" 200 ", "ok\r\n0\r\n\r\n"}, []string{"Content-Length: 5"}},
		{"a forbidden trailer among others", Options{}, ask + "TE: trailers\r\n\r\n", "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 5\r\nX : y\r\n\r\n",
			[]string{" 200 ", "\r\nTrailer: X\r\n", "ok\r\n0\r\nX: y\r\n\r\n"}, []string{"Content-Length: 5"}},
		{"a switch to what was not asked for", Options{}, upgradeRequest, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n", []string{" 502 "}, nil},
		{"a switch to more than was asked for", Options{}, upgradeRequest, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo, other\r\nConnection: upgrade\r\n\r\n", []string{" 502 "}, nil},
		{"many interim answers", Options{}, ask + "\r\n", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100) + okAnswer, []string{" 102 ", " 200 "}, []string{" 502 "}},
		{"many fields", Options{}, ask + "\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("Set-Cookie: a=b\r\n", 101) + "Content-Length: 0\r\n\r\n", []string{" 200 "}, nil},

		{"a path gets its prefix back", prefix, ask + "\r\n", head("302 Found") + "Location: /v2/y?z\r\nContent-Location: /v2/\r\n\r\n", []string{"\r\nLocation: /api/y?z\r\n", "\r\nContent-Location: /api/\r\n"}, nil},
		{"the prefix alone", prefix, ask + "\r\n", head("302 Found") + "Location: /v2\r\n\r\n", []string{"\r\nLocation: /api\r\n"}, nil},
		{"a path outside of the prefix", prefix, ask + "\r\n", head("302 Found") + "Location: /v22/y\r\n\r\n", []string{"\r\nLocation: /v22/y\r\n"}, nil},
		{"without a prefix to add", Options{StripPrefix: "/api"}, ask + "\r\n", head("302 Found") + "Location: /y\r\n\r\n", []string{"\r\nLocation: /api/y\r\n"}, nil},
		{"a prefix with a slash", Options{StripPrefix: "/api/"}, ask + "\r\n", head("302 Found") + "Location: /y\r\n\r\n", []string{"\r\nLocation: /api/y\r\n"}, nil},
		{"a relative path", prefix, ask + "\r\n", head("302 Found") + "Location: y\r\n\r\n", []string{"\r\nLocation: y\r\n"}, nil},
		{"another host", prefix, ask + "\r\n", head("302 Found") + "Location: http://b/v2/y\r\n\r\n", []string{"\r\nLocation: http://b/v2/y\r\n"}, nil},
		{"another host without a scheme", prefix, ask + "\r\n", head("302 Found") + "Location: //b/v2/y\r\n\r\n", []string{"\r\nLocation: //b/v2/y\r\n"}, nil},
		{"the host that was asked for", prefix, ask + "\r\n", head("302 Found") + "Location: https://A/v2/y\r\n\r\n", []string{"\r\nLocation: http://a/api/y\r\n"}, nil},
		{"nothing was stripped", prefix, "GET /x" + closing + "\r\n", head("302 Found") + "Location: /v2/y\r\n\r\n", []string{"\r\nLocation: /v2/y\r\n"}, nil},
		{"a cookie's path", prefix, ask + "\r\n", head("200 OK") + "Set-Cookie: a=b; path = /v2/y ; HttpOnly\r\nSet-Cookie: c=Path=/v2; Path=/v2; Secure\r\n\r\n",
			[]string{"\r\nSet-Cookie: a=b; Path=/api/y; HttpOnly\r\n", "\r\nSet-Cookie: c=Path=/v2; Path=/api; Secure\r\n"}, nil},
		{"a cookie of the root", Options{StripPrefix: "/api"}, ask + "\r\n", head("200 OK") + "Set-Cookie: a=b; Path=/\r\n\r\n", []string{"\r\nSet-Cookie: a=b; Path=/api\r\n"}, nil},
		{"a cookie without a path", prefix, ask + "\r\n", head("200 OK") + "Set-Cookie: a=b; Path; Secure\r\n\r\n", []string{"\r\nSet-Cookie: a=b; Path; Secure\r\n"}, nil},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			up := recordAll(t, c.answer)
			f := serve(t, GroupOptions{Servers: to(up.addr), Tries: 1}, c.options)
			request := c.request
			if !strings.Contains(request, "close") {
				request = strings.Replace(request, "keep-alive, ", "close, ", 1)
			}
			got := f.whole(t, request)
			for _, s := range c.got {
				require.Contains(t, got, s)
			}
			for _, s := range c.not {
				require.NotContains(t, got, s)
			}
		})
	}
}

// A request is not retried once a response has begun, and an oversized response head is not a failure of its server.
func TestNoRetryOnceAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, answer, reason string
		failure             bool
	}{
		{"too many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("Set-Cookie: a=b\r\n", 20), "upstream-too-large", false},
		{"a head that is too long", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2000), "upstream-too-large", false},
		{"interim answers without end", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 50_000), "upstream-too-large", false},
		{"no HTTP", "nonsense\r\n\r\n", "upstream-protocol", true},
		{"a head that breaks off", "HTTP/1.1 200 OK\r\nX: y\r\n", "upstream-lost", true},
		{"an end after an interim answer", "HTTP/1.1 102 Processing\r\n\r\n", "upstream-lost", true},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			addr := testrig.Serve(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, c.answer+strings.Repeat("\r\n", 2*strings.Count(c.reason, "large")))
				}
			})
			o := GroupOptions{Servers: to(addr, recordAll(t, okAnswer).addr), HeadBytesMax: 1000, HeaderCountMax: 10, FailuresMax: 1}
			f := serve(t, o, Options{})
			for f.group.Stats().Servers[0].Requests == 0 { // the other server answers its own requests
				_ = f.whole(t, "GET /"+closing+"\r\n")
			}
			s := f.group.Stats()
			require.Zero(t, s.Retries)
			require.EqualValues(t, 1, s.Servers[0].Requests)
			require.EqualValues(t, 1, s.Servers[0].Failures[c.reason])
			require.Equal(t, c.failure, s.Servers[0].State == Ejected)
		})
	}
}
