package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/httpparse"
	"tafe/loop"
)

func chunkedOf(s string) string {
	return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + s
}

// Complete responses. Each is followed by a second request; reuse states whether it may use the same connection.
var goodResponses = []struct {
	why    string
	method string
	wire   string
	end    bool // the peer closes after it
	status int
	body   string
	reuse  bool
}{
	{"a length", "GET", hello, false, 200, "hello", true},
	{"length zero", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, "", true},
	{"chunked", "GET", chunkedOf("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), false, 200, "abcde", true},
	{"chunked and empty", "GET", chunkedOf("0\r\n\r\n"), false, 200, "", true},
	{"chunked with trailers", "GET", chunkedOf("1\r\na\r\n0\r\nSum: 1\r\n\r\n"), false, 200, "a", true},
	{"until the end of the connection", "GET", "HTTP/1.1 200 OK\r\n\r\nhello", true, 200, "hello", false},
	{"HTTP/1.0 without keep-alive", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, 200, "hello", false},
	{"HTTP/1.0 with keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello", true},
	{"Connection: close is obeyed although it stays open", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello", false},
	{"HEAD has no body, whatever it says", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, 200, "", true},
	{"HEAD of a chunked one", "HEAD", chunkedOf(""), false, 200, "", true},
	{"HEAD with a body is poison", "HEAD", hello, false, 200, "", false},
	{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", true},
	{"204 that claims a body is not trusted", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false, 204, "", false},
	{"304 describes a body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, 304, "", true},
	{"100 before the response", "GET", "HTTP/1.1 100 Continue\r\n\r\n" + hello, false, 200, "hello", true},
	{"102 and 103 before the response", "GET", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + hello, false, 200, "hello", true},
	{"an error is a response", "GET", "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", false, 500, "no", true},
	{"no reason phrase", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, 200, "", true},
	{"one byte too many", "GET", hello + "!", false, 200, "hello", false},
	{"an unrequested second response", "GET", hello + hello, false, 200, "hello", false},
	{"a second response after a chunked one", "GET", chunkedOf("1\r\na\r\n0\r\n\r\n") + hello, false, 200, "a", false},
	{"an empty line after the response", "GET", hello + "\r\n", false, 200, "hello", false},
	{"a head of many reads and a body of many more", "GET", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20000) +
		"\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("b", 100000), false, 200, strings.Repeat("b", 100000), true},
	{"many chunks", "GET", chunkedOf(strings.Repeat("1\r\nc\r\n", 20000) + "0\r\n\r\n"), false, 200, strings.Repeat("c", 20000), true},
}

// ways are the ways to read a body. All must return the same bytes.
var ways = []struct {
	name string
	read func(r *Response) (string, error)
}{
	{"ReadAll", func(r *Response) (string, error) { b, err := r.ReadAll(1 << 20); return string(b), err }},
	{"Read", func(r *Response) (string, error) { b, err := io.ReadAll(struct{ io.Reader }{r}); return string(b), err }},
	{"Read byte by byte", func(r *Response) (string, error) {
		b, err := io.ReadAll(iotest.OneByteReader(r))
		return string(b), err
	}},
	{"WriteTo", func(r *Response) (string, error) {
		var b strings.Builder
		_, err := r.WriteTo(&b)
		return b.String(), err
	}},
}

func TestGoodResponses(t *testing.T) {
	e := loops(t, 1)
	for _, tt := range goodResponses {
		for _, way := range ways {
			everywhere(t, e, tt.why+"/"+way.name, Options{}, func(t *testing.T, c *Client, task *loop.Task) {
				p := serve(t, func(w *wire) {
					for {
						if req, _ := w.request(); req == nil || !w.send(tt.wire) || tt.end {
							return
						}
					}
				})
				for try := 1; try <= 2; try++ {
					var resp Response
					require.NoError(t, c.Do(task, nil, &Request{Method: tt.method, URL: p.url("/")}, &resp))
					body, err := way.read(&resp)
					require.NoError(t, err)
					assert.Equal(t, tt.status, resp.Status)
					assert.Equal(t, tt.body, body)
					assert.Equal(t, try == 2 && tt.reuse, resp.Reused)
					resp.Close()
				}
				want := int32(2)
				if tt.reuse {
					want = 1
				}
				assert.Equal(t, want, p.conns.Load(), "connections")
			})
		}
	}
}

func TestResponsesInPieces(t *testing.T) {
	for _, tt := range goodResponses {
		if len(tt.wire) > 1000 {
			continue
		}
		t.Run(tt.why, func(t *testing.T) {
			p := serve(t, func(w *wire) {
				if req, _ := w.request(); req == nil {
					return
				}
				for i := range len(tt.wire) {
					if !w.send(tt.wire[i : i+1]) {
						return
					}
				}
				if !tt.end {
					w.drain()
				}
			})
			var resp Response
			require.NoError(t, newClient(t, Options{}).Do(nil, nil, &Request{Method: tt.method, URL: p.url("/")}, &resp))
			defer resp.Close()
			body, err := resp.ReadAll(1 << 20)
			require.NoError(t, err)
			assert.Equal(t, tt.status, resp.Status)
			assert.Equal(t, tt.body, string(body))
		})
	}
}

// The peer sends wire and closes.
func TestBadResponses(t *testing.T) {
	limits := httpparse.DefaultLimits()
	limits.HeadBytesMax, limits.HeaderCountMax, limits.BodyBytesMax = 2000, 10, 100
	tests := []struct {
		why   string
		wire  string
		kind  Kind
		stage Stage
		want  string // part of the error
	}{
		{"nothing", "", KindLost, StageHead, "EOF"},
		{"half a head", "HTTP/1.1 200 OK\r\nA: b\r\n", KindLost, StageHead, "EOF"},
		{"only an interim response", "HTTP/1.1 100 Continue\r\n\r\n", KindLost, StageHead, "EOF"},
		{"another protocol", "SSH-2.0-x\r\n", KindProtocol, StageHead, "bad-status-line"},
		{"HTTP/0.9", "<html>", KindProtocol, StageHead, "bad-status-line"},
		{"HTTP/2 preface", "\x00\x00\x12\x04\x00\x00", KindProtocol, StageHead, ""},
		{"a bare LF", "HTTP/1.1 200 OK\nA: b\n\n", KindProtocol, StageHead, "bare-lf"},
		{"a fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", KindProtocol, StageHead, "obs-fold"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", KindProtocol, StageHead, "duplicate-content-length"},
		{"length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", KindProtocol, StageHead, "length-and-coding"},
		{"a coding of another kind", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", KindProtocol, StageHead, "unknown-transfer-coding"},
		{"a head without end", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 5000), KindProtocol, StageHead, "head-too-large"},
		{"too many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20) + "\r\n", KindProtocol, StageHead, "too-many-headers"},
		{"interim responses without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50_000), KindProtocol, StageHead, "interim"},
		{"an unrequested switch", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", KindProtocol, StageHead, "101"},
		{"a length beyond the bound", "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", KindProtocol, StageHead, "body-too-large"},
		{"a body shorter than its length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", KindLost, StageBody, "unexpected EOF"},
		{"a chunked body without its end", chunkedOf("5\r\nhello\r\n"), KindLost, StageBody, "unexpected EOF"},
		{"a chunked body cut in a chunk", chunkedOf("9\r\nhello"), KindLost, StageBody, "unexpected EOF"},
		{"a chunk size of letters", chunkedOf("5\r\nhello\r\nxyz\r\n"), KindProtocol, StageBody, "bad-chunk-size"},
		{"a chunk longer than its size", chunkedOf("4\r\nhello\r\n0\r\n\r\n"), KindProtocol, StageBody, "bad-chunk-end"},
		{"a chunked body beyond the bound", chunkedOf("65\r\n" + strings.Repeat("x", 0x65) + "\r\n0\r\n\r\n"), KindProtocol, StageBody, "body-too-large"},
		{"a body without length beyond the bound", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 101), KindProtocol, StageBody, "too large"},
	}
	e := loops(t, 1)
	for _, tt := range tests {
		for _, way := range ways {
			everywhere(t, e, tt.why+"/"+way.name, Options{Limits: limits}, func(t *testing.T, c *Client, task *loop.Task) {
				p := serve(t, func(w *wire) {
					if req, _ := w.request(); req != nil {
						w.send(tt.wire)
					}
				})
				var resp Response
				err := c.Do(task, nil, &Request{Method: "POST", URL: p.url("/")}, &resp)
				if tt.stage == StageBody {
					require.NoError(t, err)
					_, err = way.read(&resp)
				}
				e := requireKind(t, err, tt.kind, tt.stage)
				assert.Contains(t, err.Error(), tt.want)
				assert.Equal(t, p.addr, e.Addr)
				assert.Zero(t, c.Stats().Open, "the connection is of no more use")
				resp.Close()
			})
		}
	}
}

func TestReadAllBound(t *testing.T) {
	for why, sent := range map[string]string{
		"by length": hello, "chunked": chunkedOf("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), "to the end": "HTTP/1.1 200 OK\r\n\r\nhello",
	} {
		t.Run(why, func(t *testing.T) {
			p := serve(t, func(w *wire) { _, _ = w.request(); w.send(sent) })
			c := newClient(t, Options{})
			for _, max := range []int64{4, 5} {
				var resp Response
				require.NoError(t, c.Do(nil, nil, &Request{URL: p.url("/")}, &resp))
				body, err := resp.ReadAll(max)
				if max == 4 {
					assert.ErrorIs(t, requireKind(t, err, KindProtocol, StageBody), ErrBodyTooLarge)
				} else {
					assert.NoError(t, err)
					assert.Equal(t, "hello", string(body))
				}
				resp.Close()
			}
		})
	}
}

func TestTrailers(t *testing.T) {
	p := answer(t, chunkedOf("1\r\na\r\n0\r\nSum: 1\r\n\r\n"))
	var resp Response
	require.NoError(t, newClient(t, Options{}).Do(nil, nil, &Request{URL: p.url("/")}, &resp))
	_, err := resp.ReadAll(10)
	require.NoError(t, err)
	require.Len(t, resp.Trailers(), 1)
	assert.Equal(t, "Sum", string(resp.Trailers()[0].Name))
	assert.Equal(t, "1", string(resp.Trailers()[0].Value))
	resp.Close()
	assert.Empty(t, resp.Trailers())
}

func TestClosedResponse(t *testing.T) {
	p := answer(t, hello)
	c := newClient(t, Options{})
	var first, second Response
	require.NoError(t, c.Do(nil, nil, &Request{URL: p.url("/")}, &first))
	copied := first
	first.Close()
	first.Close()
	require.NoError(t, c.Do(nil, nil, &Request{URL: p.url("/")}, &second))
	defer second.Close()
	copied.Close() // of what is second's by now
	_, err := first.ReadAll(10)
	assert.ErrorIs(t, err, ErrClosed)
	_, err = copied.Read(make([]byte, 1))
	assert.ErrorIs(t, err, ErrClosed)
	assert.Nil(t, first.Header("Content-Length"))
	for range first.Values("Content-Length") {
		t.Error("a closed response has no fields")
	}
	assert.Equal(t, "5", string(second.Header("content-length")))
	body, err := second.ReadAll(10)
	assert.NoError(t, err)
	assert.Equal(t, "hello", string(body))
}

func TestUnreadBodies(t *testing.T) {
	tests := []struct {
		why   string
		wire  string
		reuse bool
	}{
		{"it has arrived as a whole", hello, true},
		{"chunked and arrived as a whole", chunkedOf("5\r\nhello\r\n0\r\n\r\n"), true},
		{"it has not", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", false},
		{"its last chunk has not", chunkedOf("5\r\nhello\r\n"), false},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			p := answer(t, tt.wire)
			c := newClient(t, Options{})
			for i := range 3 {
				var resp Response
				require.NoError(t, c.Do(nil, nil, &Request{URL: p.url("/")}, &resp))
				assert.Equal(t, i > 0 && tt.reuse, resp.Reused)
				resp.Close()
			}
		})
	}
}

func TestUpgrade(t *testing.T) {
	p := serve(t, func(w *wire) {
		req, _ := w.request()
		if req == nil || !w.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: "+req.Header.Get("Upgrade")+"\r\n\r\nearly ") {
			return
		}
		line, _ := w.r.ReadString('\n')
		w.send(line)
	})
	c := newClient(t, Options{})
	var resp Response
	require.NoError(t, c.Do(nil, nil, &Request{URL: p.url("/"), Upgrade: "echo"}, &resp))
	assert.Equal(t, 101, resp.Status)
	assert.Equal(t, "echo", string(resp.Header("Upgrade")))
	conn, err := resp.Upgrade()
	require.NoError(t, err)
	_, err = resp.Upgrade()
	assert.ErrorIs(t, err, ErrNoUpgrade, "there is one connection only")
	resp.Close()
	assert.Zero(t, c.Stats().Open, "it is the caller's")
	_, err = io.WriteString(conn, "late\n")
	require.NoError(t, err)
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "early late\n", string(got))
	require.NoError(t, conn.Close())
}

func TestUpgradeRefused(t *testing.T) {
	p := answer(t, hello)
	var resp Response
	require.NoError(t, newClient(t, Options{}).Do(nil, nil, &Request{URL: p.url("/"), Upgrade: "echo"}, &resp))
	defer resp.Close()
	_, err := resp.Upgrade()
	assert.ErrorIs(t, err, ErrNoUpgrade)
	body, err := resp.ReadAll(10)
	assert.NoError(t, err)
	assert.Equal(t, "hello", string(body))
}

// The peer responds before it has read the request, and stops reading.
func TestEarlyResponses(t *testing.T) {
	const large = 64 << 20 // more than sockets hold
	refusal := "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
	bodies := map[string]func(*Request){
		"a body":           func(r *Request) { r.Body = make([]byte, large) },
		"a stream":         func(r *Request) { r.Stream, r.StreamLength = zeroes{}, large },
		"a chunked stream": func(r *Request) { r.Stream, r.StreamLength = zeroes{}, -1 },
	}
	endings := []struct {
		why  string
		then func(w *wire)
	}{
		{"stays open", func(w *wire) { w.hold() }},
		{"ends its side", func(w *wire) { _ = w.Conn.(interface{ CloseWrite() error }).CloseWrite(); w.drain() }},
	}
	e := loops(t, 1)
	for why, set := range bodies {
		for _, ending := range endings {
			everywhere(t, e, why+"/"+ending.why, Options{}, func(t *testing.T, c *Client, task *loop.Task) {
				p := serve(t, func(w *wire) {
					if line, _ := w.r.ReadString('\n'); line != "" {
						w.send(refusal)
						ending.then(w)
					}
				})
				req := Request{Method: "PUT", URL: p.url("/")}
				set(&req)
				var resp Response
				require.NoError(t, c.Do(task, nil, &req, &resp))
				assert.Equal(t, 413, resp.Status)
				body, err := resp.ReadAll(10)
				assert.NoError(t, err)
				assert.Equal(t, "no", string(body))
				assert.Zero(t, c.Stats().Open, "half a request is on this connection")
				resp.Close()
			})
		}
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { return len(p), nil }

func TestSuccessBeforeTheEndOfTheRequest(t *testing.T) {
	const size = 4 << 20
	everywhere(t, loops(t, 1), "an upload", Options{}, func(t *testing.T, c *Client, task *loop.Task) {
		got := make(chan int64, 1)
		p := serve(t, func(w *wire) {
			if line, _ := w.r.ReadString('\n'); line == "" || !w.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") {
				return
			}
			n, _ := readRest(w)
			got <- n
			w.send("4\r\nread\r\n0\r\n\r\n")
			w.drain()
		})
		var resp Response
		require.NoError(t, c.Do(task, nil, &Request{Method: "PUT", URL: p.url("/"), Body: make([]byte, size)}, &resp))
		defer resp.Close()
		body, err := resp.ReadAll(10)
		assert.NoError(t, err)
		assert.Equal(t, "read", string(body))
		assert.EqualValues(t, size, <-got, "a success does not end the upload")
	})
}

// readRest reads a head without its first line, and the body.
func readRest(w *wire) (int64, error) {
	var length int64
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line == "\r\n" {
			return io.CopyN(io.Discard, w.r, length)
		}
		_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
	}
}

func TestTimeouts(t *testing.T) {
	tests := []struct {
		why   string
		talk  func(w *wire)
		o     Options
		req   Request
		stage Stage
	}{
		{"no head", func(w *wire) { w.drain() }, Options{HeadTimeout: 20 * time.Millisecond}, Request{}, StageHead},
		{"half a head", func(w *wire) { w.send("HTTP/1.1 200"); w.drain() }, Options{HeadTimeout: 20 * time.Millisecond}, Request{}, StageHead},
		{"interim responses do not help", func(w *wire) { w.send("HTTP/1.1 102 Processing\r\n\r\n"); w.drain() },
			Options{HeadTimeout: 20 * time.Millisecond}, Request{}, StageHead},
		{"a body that stops", func(w *wire) { w.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"); w.drain() },
			Options{BodyTimeout: 20 * time.Millisecond}, Request{}, StageBody},
		{"the try's own, for the head", func(w *wire) { w.drain() }, Options{}, Request{Timeout: 20 * time.Millisecond}, StageHead},
		{"the try's own, for the body", func(w *wire) { w.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"); w.drain() },
			Options{}, Request{Timeout: 20 * time.Millisecond}, StageBody},
		{"a body that is not read", func(w *wire) { w.hold() }, Options{BodyTimeout: 60 * time.Millisecond},
			Request{Method: "PUT", Body: make([]byte, 64<<20)}, StageWrite},
	}
	e := loops(t, 1)
	for _, tt := range tests {
		everywhere(t, e, tt.why, tt.o, func(t *testing.T, c *Client, task *loop.Task) {
			p := serve(t, tt.talk)
			req := tt.req
			req.URL = p.url("/")
			var resp Response
			err := c.Do(task, nil, &req, &resp)
			if err == nil {
				_, err = resp.ReadAll(100)
			}
			e := requireTimeout(t, err, tt.stage)
			assert.True(t, e.Timeout())
			if e.Stage > StageDial { // a dial goes on without its request
				assert.Zero(t, c.Stats().Open, "its answer could still come")
			}
			resp.Close()
		})
	}
}

func TestDialFailures(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		ln := listenUnix(t)
		addr := ln.Addr().String()
		require.NoError(t, ln.Close())
		_, _, err := newClient(t, Options{}).Get(nil, nil, "http://127.0.0.1:1/", 1)
		requireKind(t, err, KindDial, StageDial)
		var resp Response
		requireKind(t, newClient(t, Options{}).Do(nil, nil, &Request{Addr: "unix:" + addr}, &resp), KindDial, StageDial)
	})
	t.Run("too slow", func(t *testing.T) {
		c := newClient(t, Options{DialTimeout: 10 * time.Millisecond, Dial: dialNever})
		_, _, err := fetch(c, "http://127.0.0.1:1/")
		requireTimeout(t, err, StageDial)
	})
}

func dialNever(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
