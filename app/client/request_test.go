package client

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/httpparse"
)

func fields(pairs ...string) (h []httpparse.Header) {
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, httpparse.Header{Name: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return h
}

func TestRequestsOnTheWire(t *testing.T) {
	tests := []struct {
		why  string
		req  Request
		want string // %A is the peer's address
	}{
		{"a plain GET", Request{URL: "http://%A/a?b=c"}, "GET /a?b=c HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"no path is the root", Request{URL: "http://%A"}, "GET / HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"a query without a path gets its slash", Request{URL: "http://%A?q"}, "GET /?q HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"a fragment is not sent", Request{URL: "http://%A/a#b"}, "GET /a HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"a fragment may follow the authority", Request{URL: "http://%A#b"}, "GET / HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"the scheme in capitals", Request{URL: "HTTP://%A/"}, "GET / HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"what a proxy sends", Request{Addr: "%A", Target: []byte("/x%2Fy"), Host: "example.com"},
			"GET /x%2Fy HTTP/1.1\r\nHost: example.com\r\n\r\n"},
		{"an address without a target", Request{Addr: "%A"}, "GET / HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"OPTIONS of the server itself", Request{Method: "OPTIONS", Addr: "%A", Target: []byte("*")},
			"OPTIONS * HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"fields in order", Request{URL: "http://%A/", Headers: fields("B", "1", "a", "", "B", "2")},
			"GET / HTTP/1.1\r\nHost: %A\r\nB: 1\r\na: \r\nB: 2\r\n\r\n"},
		{"a body", Request{Method: "POST", URL: "http://%A/", Body: []byte("abc")},
			"POST / HTTP/1.1\r\nHost: %A\r\nContent-Length: 3\r\n\r\nabc"},
		{"a method that expects a body says that there is none", Request{Method: "PUT", URL: "http://%A/"},
			"PUT / HTTP/1.1\r\nHost: %A\r\nContent-Length: 0\r\n\r\n"},
		{"one that does not, says nothing", Request{Method: "DELETE", URL: "http://%A/"}, "DELETE / HTTP/1.1\r\nHost: %A\r\n\r\n"},
		{"a stream of a known length", Request{Method: "POST", URL: "http://%A/", Stream: strings.NewReader("abcdef"), StreamLength: 4},
			"POST / HTTP/1.1\r\nHost: %A\r\nContent-Length: 4\r\n\r\nabcd"},
		{"an empty stream", Request{Method: "POST", URL: "http://%A/", Stream: strings.NewReader("")},
			"POST / HTTP/1.1\r\nHost: %A\r\nContent-Length: 0\r\n\r\n"},
		{"a stream of unknown length", Request{Method: "POST", URL: "http://%A/", Stream: iotest.HalfReader(strings.NewReader("abc")), StreamLength: -1},
			"POST / HTTP/1.1\r\nHost: %A\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"a stream whose last bytes come with its end", Request{Method: "POST", URL: "http://%A/", Stream: iotest.DataErrReader(strings.NewReader("abc")), StreamLength: -1},
			"POST / HTTP/1.1\r\nHost: %A\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"closing", Request{URL: "http://%A/", Close: true}, "GET / HTTP/1.1\r\nHost: %A\r\nConnection: close\r\n\r\n"},
		{"an upgrade", Request{URL: "http://%A/", Upgrade: "websocket"},
			"GET / HTTP/1.1\r\nHost: %A\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			got := make(chan string, 1)
			p := serve(t, func(w *wire) {
				var seen strings.Builder
				w.r = bufio.NewReader(io.TeeReader(w.Conn, &seen))
				req, _ := w.request()
				got <- seen.String()
				if req != nil {
					w.send(hello)
					w.drain()
				}
			})
			place := func(s string) string { return strings.ReplaceAll(s, "%A", p.addr) }
			req := tt.req
			req.URL, req.Addr = place(req.URL), place(req.Addr)
			var resp Response
			require.NoError(t, newClient(t, Options{}).Do(nil, nil, &req, &resp))
			defer resp.Close()
			assert.Equal(t, 200, resp.Status)
			assert.Equal(t, place(tt.want), <-got)
		})
	}
}

func TestRefusedRequests(t *testing.T) {
	get := func(pairs ...string) Request { return Request{URL: "http://127.0.0.1:1/", Headers: fields(pairs...)} }
	tests := []struct {
		why  string
		req  Request
		want error // nil: any, of httpparse
	}{
		{"no URL", Request{}, ErrURL},
		{"no host", Request{URL: "http:///a"}, ErrURL},
		{"no scheme", Request{URL: "127.0.0.1:1/"}, ErrURL},
		{"another scheme", Request{URL: "ftp://127.0.0.1:1/"}, ErrURL},
		{"credentials", Request{URL: "http://user:secret@127.0.0.1:1/"}, ErrURL},
		{"a line break in the host", Request{URL: "http://a\r\nX: y/"}, ErrURL},
		{"a space in the host", Request{URL: "http://a b/"}, ErrURL},
		{"a port out of range", Request{URL: "http://127.0.0.1:65536/"}, ErrURL},
		{"port zero", Request{URL: "http://127.0.0.1:0/"}, ErrURL},
		{"a port of letters", Request{URL: "http://127.0.0.1:http/"}, ErrURL},
		{"an empty port", Request{URL: "http://127.0.0.1:/"}, ErrURL},
		{"a naked IPv6 address", Request{URL: "http://1:2:3:x/"}, ErrURL},
		{"a host field with a slash", Request{Addr: "127.0.0.1:1", Host: "a/b"}, ErrURL},
		{"a line break in the path", Request{URL: "http://127.0.0.1:1/a\r\nX: y"}, nil},
		{"a space in the path", Request{URL: "http://127.0.0.1:1/a HTTP/1.1"}, nil},
		{"a line break in the target", Request{Addr: "127.0.0.1:1", Target: []byte("/ HTTP/1.1\r\nX: y")}, nil},
		{"a fragment in the target", Request{Addr: "127.0.0.1:1", Target: []byte("/#a")}, nil},
		{"a line break in the method", Request{Method: "GET / HTTP/1.1\r\nX: y", URL: "http://127.0.0.1:1/"}, nil},
		{"a tunnel", Request{Method: "CONNECT", Addr: "127.0.0.1:1", Target: []byte("a:1")}, ErrMethod},
		{"a line break in a value", get("A", "b\r\nX: y"), nil},
		{"NUL in a value", get("A", "b\x00"), nil},
		{"a line break in a name", get("A\r\nB", "c"), nil},
		{"a colon in a name", get("A:", "c"), nil},
		{"no name", get("", "c"), nil},
		{"a Host of its own", get("host", "b"), ErrReservedField},
		{"a length of its own", get("Content-Length", "5"), ErrReservedField},
		{"a coding of its own", get("TRANSFER-ENCODING", "chunked"), ErrReservedField},
		{"a Connection of its own", get("Connection", "close"), ErrReservedField},
		{"an Upgrade of its own", get("Upgrade", "h2c"), ErrReservedField},
		{"Keep-Alive", get("Keep-Alive", "5"), ErrReservedField},
		{"Proxy-Connection", get("Proxy-Connection", "close"), ErrReservedField},
		{"a line break in the upgrade", Request{URL: "http://127.0.0.1:1/", Upgrade: "a\r\nX: y"}, nil},
		{"two bodies", Request{Method: "POST", URL: "http://127.0.0.1:1/", Body: []byte("a"), Stream: strings.NewReader("b")}, ErrBody},
	}
	c := newClient(t, Options{})
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			var resp Response
			e := requireKind(t, c.Do(nil, nil, &tt.req, &resp), KindRequest, StagePrepare)
			if tt.want != nil {
				assert.ErrorIs(t, e, tt.want)
				return
			}
			var refusal *httpparse.Error
			assert.ErrorAs(t, e, &refusal)
		})
	}
	assert.Zero(t, c.Stats().Dials, "a refused request touches no network")
}

func TestDialTargets(t *testing.T) {
	tests := []struct {
		authority           string
		tls                 bool
		network, addr, name string
		why                 string
	}{
		{"example.com", false, "tcp", "example.com:80", "example.com", "http's port"},
		{"example.com", true, "tcp", "example.com:443", "example.com", "https's port"},
		{"example.com:81", true, "tcp", "example.com:81", "example.com", "a port of its own"},
		{"[::1]", true, "tcp", "[::1]:443", "::1", "IPv6"},
		{"[::1]:81", false, "tcp", "[::1]:81", "::1", "IPv6 and a port"},
		{"unix:/run/a.sock", false, "unix", "/run/a.sock", "localhost", "a socket of this host"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			network, addr, name, err := dialTarget(hostKey{tls: tt.tls, authority: tt.authority})
			require.NoError(t, err)
			assert.Equal(t, []string{tt.network, tt.addr, tt.name}, []string{network, addr, name})
		})
	}
}

func TestBadStreams(t *testing.T) {
	broken := errors.New("the disk is gone")
	tests := []struct {
		why    string
		stream io.Reader
		length int64
		want   error
	}{
		{"fewer bytes than declared", strings.NewReader("abc"), 4, ErrBodyShort},
		{"an error in the middle", io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken)), 4, broken},
		{"an error in the middle of a chunked one", io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken)), -1, broken},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			whole := make(chan bool, 1)
			p := serve(t, func(w *wire) {
				req, _ := w.request()
				whole <- req != nil
			})
			c := newClient(t, Options{})
			var resp Response
			err := c.Do(nil, nil, &Request{Method: "PUT", URL: p.url("/"), Stream: tt.stream, StreamLength: tt.length, Retries: 3}, &resp)
			assert.ErrorIs(t, requireKind(t, err, KindRequest, StageWrite), tt.want)
			assert.False(t, <-whole, "the peer must not take it for a whole request")
			assert.EqualValues(t, 1, c.Stats().Dials, "a stream is read once")
		})
	}
}

func TestPanicInStreamLeavesNothing(t *testing.T) {
	p := serve(t, func(w *wire) { w.drain() })
	c := newClient(t, Options{})
	assert.PanicsWithValue(t, "reader", func() {
		var resp Response
		_ = c.Do(nil, nil, &Request{Method: "POST", URL: p.url("/"), Stream: panicReader{}, StreamLength: 1}, &resp)
	})
	assert.Zero(t, c.Stats().Open)
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("reader") }

func TestUnixSocket(t *testing.T) {
	ln := listenUnix(t)
	hosts := make(chan string, 1)
	p := serveOn(t, ln, func(w *wire) {
		if req, _ := w.request(); req != nil {
			hosts <- req.Host
			w.send(hello)
		}
	})
	var resp Response
	require.NoError(t, newClient(t, Options{}).Do(nil, nil, &Request{Addr: "unix:" + p.addr, Target: []byte("/")}, &resp))
	defer resp.Close()
	assert.Equal(t, http.StatusOK, resp.Status)
	assert.Equal(t, "localhost", <-hosts)
}
