package app

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

// stamp is what the server adds to every answer, at the rig's time.
const stamp = "Server: tafe\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

// text is a text answer in full.
func text(status, body string, headers ...string) string {
	return "HTTP/1.1 " + status + "\r\n" + stamp + "Content-Type: text/plain; charset=utf-8\r\nContent-Length: " +
		itoa(len(body)) + "\r\n" + strings.Join(headers, "") + "\r\n" + body
}

// refusal is the answer to what is no request.
func refusal(status, detail string) string {
	body := status[len("400 "):] + ": " + detail + "\n"
	return "HTTP/1.1 " + status + "\r\n" + stamp + "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " +
		itoa(len(body)) + "\r\n\r\n" + body
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

const (
	hello  = "Hello, World!"
	closes = "Connection: close\r\n"
)

// wireApp answers in every way there is.
func wireApp() *App {
	o := Options{Limits: httpparse.Limits{HeadBytesMax: 1024, TargetBytesMax: 256, HeaderCountMax: 8, BodyBytesMax: 100 << 10}}
	a := demo(o)
	a.Post("/small", func(c *Context) error {
		body, err := c.Body()
		if err != nil {
			return err
		}
		return c.String(200, itoa(len(body)))
	}, BodyMax(10))
	a.Post("/read", func(c *Context) error {
		b, err := io.ReadAll(c.BodyReader())
		if err != nil {
			return err
		}
		rest, err := c.Body()
		if err != nil || len(rest) > 0 {
			return errors.New("a body that was read is not there any more")
		}
		return c.Bytes(200, "", b)
	})
	a.Get("/teapot", func(*Context) error { return Error(418, "short and stout") })
	a.Get("/secret", func(*Context) error { return errors.New("password is hunter2") })
	a.Get("/wrapped", func(*Context) error { return errors.Join(errors.New("x"), &HTTPError{Status: 502}) })
	a.Get("/goexit", func(*Context) error { runtime.Goexit(); return nil })
	a.Get("/nothing", func(*Context) error { return nil })
	a.Get("/status", func(c *Context) error { c.Status(202); return nil })
	a.Get("/late-error", func(c *Context) error { _ = c.String(200, hello); return errors.New("too late") })
	a.Get("/late-panic", func(c *Context) error { _ = c.String(200, hello); panic("too late") })
	a.Get("/twice", func(c *Context) error {
		_ = c.String(200, hello)
		require.ErrorIs(nil2t, c.String(200, "again"), ErrWritten)
		_, err := c.Stream(200, "").Write([]byte("again"))
		require.ErrorIs(nil2t, err, ErrWritten)
		return nil
	})
	a.Get("/inject", func(c *Context) error { c.SetHeader("X-A", "1\r\nX-B: 2"); return c.String(200, hello) })
	a.Get("/inject-type", func(c *Context) error { return c.Bytes(200, c.Query("type"), nil) })
	a.Get("/inject-stream", func(c *Context) error { return c.Stream(200, c.Query("type")).Flush() })
	a.Get("/bad-status", func(c *Context) error { return c.String(100, "") })
	a.Get("/headers", func(c *Context) error {
		c.SetHeader("X-A", "1")
		c.SetHeader("X-B", "2")
		c.SetHeader("x-a", "3")
		c.AddHeader("X-B", "4")
		c.SetHeader("Content-Type", "text/html")
		c.SetHeader("Server", "other")
		c.SetHeader("Connection", "keep-alive")
		c.SetHeader("Transfer-Encoding", "gzip")
		return c.String(200, c.ResponseHeader("X-A"))
	})
	a.Get("/close", func(c *Context) error { c.SetHeader("Connection", "close"); return c.String(200, hello) })
	a.Get("/empty", func(c *Context) error { return c.Bytes(204, "text/plain", []byte("no body goes with 204")) })
	a.Get("/unchanged", func(c *Context) error { c.SetHeader("ETag", `"1"`); return c.NoContent(304) })
	a.Get("/moved", func(c *Context) error { return c.Redirect(302, "/there") })
	a.Get("/stream", func(c *Context) error {
		s := c.Stream(0, "text/csv")
		for _, piece := range []string{"a,", "", "b\n"} {
			if _, err := io.WriteString(s, piece); err != nil {
				return err
			}
		}
		return s.Flush()
	})
	a.Get("/known", func(c *Context) error {
		c.SetHeader("Content-Length", "4")
		_, err := io.WriteString(c.Stream(0, "text/csv"), "a,b\n")
		return err
	})
	a.Get("/unused-stream", func(c *Context) error { c.Stream(0, "text/csv"); return Error(503, "") })
	return a
}

// nil2t lets a handler assert: its panic fails the test by its answer.
var nil2t = panicking{}

type panicking struct{}

func (panicking) Errorf(format string, _ ...any) { panic(format) }
func (panicking) FailNow()                       {}

type wireCase struct {
	why, send, want string
	eof             bool // the server ends the connection
}

const get = " HTTP/1.1\r\nHost: a\r\n\r\n"

var wireCases = []wireCase{
	{"the plain path", "GET /plaintext" + get, text("200 OK", hello), false},
	{"two in a row", "GET /plaintext" + get + "GET /users/7" + get, text("200 OK", hello) + text("200 OK", "user 7"), false},
	{"empty lines before a request", "\r\n\r\nGET /plaintext" + get, text("200 OK", hello), false},
	{"absolute form", "GET http://a/plaintext" + get, text("200 OK", hello), false},
	{"1.1 that asks to close", "GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /ignored" + get,
		text("200 OK", hello, closes), true},
	{"1.0 closes", "GET /plaintext HTTP/1.0\r\n\r\n", text("200 OK", hello, closes), true},
	{"1.0 that asks to stay", "GET /plaintext HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		text("200 OK", hello, "Connection: keep-alive\r\n"), false},
	{"HEAD is GET without a body", "HEAD /plaintext" + get + "GET /plaintext" + get,
		strings.TrimSuffix(text("200 OK", hello), hello) + text("200 OK", hello), false},
	{"a handler that closes", "GET /close" + get, text("200 OK", hello, closes), true},
	{"a handler that writes nothing", "GET /nothing" + get, "HTTP/1.1 200 OK\r\n" + stamp + "Content-Length: 0\r\n\r\n", false},
	{"a handler that sets a status only", "GET /status" + get, "HTTP/1.1 202 Accepted\r\n" + stamp + "Content-Length: 0\r\n\r\n", false},
	{"headers: the last counts, hop-by-hop ones do not", "GET /headers" + get,
		"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1\r\nX-B: 2\r\nx-a: 3\r\nX-B: 4\r\n" +
			"Content-Type: text/html\r\nServer: other\r\n\r\n3", false},
	{"204 has no body and no length", "GET /empty" + get, "HTTP/1.1 204 No Content\r\n" + stamp + "Content-Type: text/plain\r\n\r\n", false},
	{"304 neither", "GET /unchanged" + get, "HTTP/1.1 304 Not Modified\r\n" + stamp + "ETag: \"1\"\r\n\r\n", false},
	{"a redirect", "GET /moved" + get, "HTTP/1.1 302 Found\r\n" + stamp + "Content-Length: 0\r\nLocation: /there\r\n\r\n", false},

	{"404", "GET /nowhere" + get, text("404 Not Found", "Not Found\n"), false},
	{"404 as JSON", "GET /nowhere HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nX-Request-ID: r1\r\n\r\n",
		"HTTP/1.1 404 Not Found\r\n" + stamp + "Content-Type: application/json\r\nContent-Length: 66\r\n\r\n" +
			`{"error":"Not Found","request_id":"{id}","status":404}`, false},
	{"405 says what is allowed", "PUT /plaintext" + get, text("405 Method Not Allowed", "Method Not Allowed\n", "Allow: GET, HEAD, OPTIONS\r\n"), false},
	{"OPTIONS by itself", "OPTIONS /plaintext" + get, "HTTP/1.1 204 No Content\r\n" + stamp + "Allow: GET, HEAD, OPTIONS\r\n\r\n", false},
	{"OPTIONS of the server", "OPTIONS *" + get, "HTTP/1.1 204 No Content\r\n" + stamp + "Allow: GET, HEAD, OPTIONS, POST\r\n\r\n", false},
	{"an error with a status", "GET /teapot" + get, text("418 I'm a teapot", "short and stout\n"), false},
	{"an error without one tells nothing", "GET /secret" + get, text("500 Internal Server Error", "Internal Server Error (request {id})\n"), false},
	{"a wrapped HTTPError", "GET /wrapped" + get, text("502 Bad Gateway", "Bad Gateway (request {id})\n"), false},
	{"a panic, and life goes on", "GET /panic" + get + "GET /plaintext" + get,
		text("500 Internal Server Error", "Internal Server Error (request {id})\n") + text("200 OK", hello), false},
	{"Goexit likewise", "GET /goexit" + get + "GET /plaintext" + get,
		text("500 Internal Server Error", "Internal Server Error (request {id})\n") + text("200 OK", hello), false},
	{"an error after a complete answer", "GET /late-error" + get + "GET /plaintext" + get, text("200 OK", hello) + text("200 OK", hello), false},
	{"a panic after a complete answer", "GET /late-panic" + get + "GET /plaintext" + get, text("200 OK", hello) + text("200 OK", hello), false},
	{"one answer only", "GET /twice" + get, text("200 OK", hello), false},
	{"headers cannot be injected", "GET /inject" + get, text("500 Internal Server Error", "Internal Server Error (request {id})\n"), false},

	{"nor by a content type", "GET /inject-type?type=a%0d%0aX-B:2" + get, text("500 Internal Server Error", "Internal Server Error (request {id})\n"), false},
	{"nor by that of a stream", "GET /inject-stream?type=a%0d%0aX-B:2" + get, text("500 Internal Server Error", "Internal Server Error (request {id})\n"), false},
	{"an interim status is no answer", "GET /bad-status" + get, text("500 Internal Server Error", "Internal Server Error (request {id})\n"), false},

	{"a body with its length", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nabc" + "GET /plaintext" + get,
		text("200 OK", "abc") + text("200 OK", hello), false},
	{"a chunked body", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
		"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer-A: 1\r\n\r\n" + "GET /plaintext" + get,
		text("200 OK", "abc") + text("200 OK", hello), false},
	{"a body read piece by piece", "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + stamp + "Content-Length: 3\r\n\r\nabc", false},
	{"an unread body", "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + "GET /plaintext" + get,
		text("200 OK", "not read") + text("200 OK", hello), false},
	{"an unread chunked body", "POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + "GET /plaintext" + get,
		text("200 OK", "not read") + text("200 OK", hello), false},
	{"as long as the route takes", "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789", text("200 OK", "10"), false},
	{"longer than the route takes", "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890",
		refusal("413 Request Entity Too Large", "the body exceeds the limit of the route"), true},
	{"chunked, longer than the route takes", "POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n8\r\n01234567\r\n0\r\n\r\n",
		text("413 Request Entity Too Large", "the body exceeds the limit of the route\n", closes), true},
	{"a broken chunk", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		text("400 Bad Request", "a chunk-size line is malformed (RFC 9112 section 7.1)\n", closes), true},
	{"a broken chunk of an unread body", "POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		text("200 OK", "not read"), true},

	{"a stream", "GET /stream" + get + "GET /plaintext" + get, "HTTP/1.1 200 OK\r\n" + stamp +
		"Content-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na,\r\n2\r\nb\n\r\n0\r\n\r\n" + text("200 OK", hello), false},
	{"a stream to 1.0", "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK\r\n" + stamp +
		"Content-Type: text/csv\r\nConnection: close\r\n\r\na,b\n", true},
	{"a stream to HEAD", "HEAD /stream" + get + "GET /plaintext" + get, "HTTP/1.1 200 OK\r\n" + stamp +
		"Content-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n" + text("200 OK", hello), false},
	{"a stream of known length", "GET /known" + get + "GET /plaintext" + get, "HTTP/1.1 200 OK\r\n" + stamp +
		"Content-Type: text/csv\r\nContent-Length: 4\r\n\r\na,b\n" + text("200 OK", hello), false},
	{"a stream that failed before it began", "GET /unused-stream" + get, text("503 Service Unavailable", "Service Unavailable (request {id})\n"), false},

	{"TLS", "\x16\x03\x01\x02\x00\x01", refusal("400 Bad Request", "TLS handshake on a plain HTTP connection"), true},
	{"no HTTP at all", "{\"json\":1}\r\n", refusal("400 Bad Request", "the method is not a token (RFC 9110 section 9.1)"), true},
	{"another version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", refusal("505 HTTP Version Not Supported", "only HTTP/1.x is supported (RFC 9110 section 15.6.6)"), true},
	{"length and coding", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		refusal("400 Bad Request", "both Content-Length and Transfer-Encoding are present (RFC 9112 section 6.3)"), true},
	{"a coding we do not know", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		refusal("501 Not Implemented", "a transfer coding other than chunked (RFC 9112 section 6.1)"), true},
	{"an expectation we do not know", "GET /plaintext HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n",
		refusal("417 Expectation Failed", "an expectation other than 100-continue (RFC 9110 section 10.1.1)"), true},
	{"a declared body beyond the limit", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n",
		refusal("413 Request Entity Too Large", "the body exceeds BodyBytesMax"), true},
	{"too many headers", "GET /plaintext HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 8) + "\r\n",
		refusal("431 Request Header Fields Too Large", "the number of field lines exceeds HeaderCountMax"), true},
	{"a bad escape in the path", "GET /%zz" + get, refusal("400 Bad Request", "a percent sign is not followed by two hexadecimal digits (RFC 3986 section 2.1)"), true},
	{"a refused HEAD has no body", "HEAD /%zz" + get,
		strings.SplitAfter(refusal("400 Bad Request", "a percent sign is not followed by two hexadecimal digits (RFC 3986 section 2.1)"), "\r\n\r\n")[0], true},
	{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", refusal("501 Not Implemented", "CONNECT is not supported"), true},
	{"good, then bad: the good one is answered", "GET /plaintext" + get + "NOT HTTP\r\n\r\n",
		text("200 OK", hello) + refusal("400 Bad Request", "the request line ends before its HTTP version (RFC 9112 section 3)"), true},
}

// Every case gives the same bytes, whether it comes whole or byte by byte.
func TestWire(t *testing.T) {
	for _, c := range wireCases {
		for _, slow := range []bool{false, true} {
			r := newRig(t, wireApp(), reactor.Limits{})
			p := r.dial()
			if slow {
				p.sendSlowly(c.send)
			} else {
				p.send(c.send)
			}
			r.advance(0)
			ids := string(r.state.ids[:])
			want := strings.ReplaceAll(c.want, "{id}", ids)
			if strings.Contains(c.send, "/panic") || strings.Contains(c.send, "/goexit") {
				want = strings.ReplaceAll(c.want, "{id}", ids[:len(ids)-1]+"1")
			}
			want = fixLength(want)
			require.Equal(t, want, p.taken(), "%s (slow: %t)", c.why, slow)
			require.Equal(t, c.eof, p.eof, "%s (slow: %t): the end of the connection", c.why, slow)
			r.advance(time.Minute) // whatever lingers
			require.Empty(t, p.taken(), c.why)
		}
	}
}

// fixLength sets the lengths of bodies that hold a generated request id, which the table cannot know.
func fixLength(answers string) string {
	head, body, ok := strings.Cut(answers, "\r\n\r\n")
	at := strings.Index(head, "Content-Length: ")
	if !ok || at < 0 || !strings.Contains(body, "-0000") {
		return answers
	}
	this, rest, more := strings.Cut(body, "HTTP/1.1")
	end := at + strings.Index(head[at:]+"\r\n", "\r\n")
	head = head[:at] + "Content-Length: " + itoa(len(this)) + head[end:]
	if more {
		rest = "HTTP/1.1" + rest
	}
	return head + "\r\n\r\n" + this + rest
}
