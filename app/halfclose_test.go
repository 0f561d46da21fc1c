package app

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

// A client may end its direction of the stream when it has sent what it wants to: it gets the answers to all that it has sent as a
// whole, and then the end of the connection.
func TestClientEndsItsStream(t *testing.T) {
	const post = "POST /echo HTTP/1.1\r\nHost: a\r\n"
	cut := text("400 Bad Request", "the connection ended before the body did\n", closes)
	a := wireApp()
	a.Post("/late", func(c *Context) error {
		if err := c.Sleep(time.Second); err != nil {
			return err
		}
		b, err := c.Body()
		if err != nil {
			return err
		}
		return c.Bytes(200, "", b)
	})
	a.Get("/ticks", func(c *Context) error {
		s := c.Stream(200, "text/plain")
		for range 3 {
			if _, err := io.WriteString(s, "tick\n"); err != nil {
				return err
			}
			if err := c.Sleep(time.Second); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range []struct {
		why, send, want string
		reason          string
	}{
		{"nothing at all", "", "", ""},
		{"one request", "GET /plaintext" + get, text("200 OK", hello), ""},
		{"of HTTP/1.0", "GET /plaintext HTTP/1.0\r\n\r\n", text("200 OK", hello, closes), ""},
		{"HEAD", "HEAD /plaintext" + get, strings.TrimSuffix(text("200 OK", hello), hello), ""},
		{"one whose handler waits: the answer tells that it is the last", "GET /sleep?ms=5" + get, text("200 OK", "slept 5", closes), ""},
		{"several", strings.Repeat("GET /plaintext"+get, 100), strings.Repeat(text("200 OK", hello), 100), ""},
		{"several whose handlers wait", strings.Repeat("GET /sleep?ms=5"+get, 3),
			text("200 OK", "slept 5") + text("200 OK", "slept 5") + text("200 OK", "slept 5", closes), ""},
		{"several, and part of a head", "GET /sleep?ms=5" + get + "GET /plaintext" + get + "GET /plain",
			text("200 OK", "slept 5") + text("200 OK", hello), ""},
		{"part of a head", "GET /plain", "", ""},
		{"a body", post + "Content-Length: 3\r\n\r\nabc", echoed, ""},
		{"a chunked body", post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", echoed, ""},
		{"part of a body", post + "Content-Length: 3\r\n\r\nab", cut, "incomplete-body"},
		{"a head without its body", post + "Content-Length: 3\r\n\r\n", cut, "incomplete-body"},
		{"a chunked body without its end", post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", cut, "incomplete-body"},
		{"part of a chunk", post + "Transfer-Encoding: chunked\r\n\r\n3\r\na", cut, "incomplete-body"},
		{"part of a body that is read in pieces", "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", cut, "incomplete-body"},
		{"part of an unread body", "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", text("200 OK", "not read"), ""},
		{"part of a body, before its handler reads", "POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", cut, "incomplete-body"},
		{"a body, before its handler reads", "POST /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + stamp + "Content-Length: 3\r\nConnection: close\r\n\r\nabc", ""},
		{"a stream goes on", "GET /ticks" + get, "HTTP/1.1 200 OK\r\n" + stamp + "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat("5\r\ntick\n\r\n", 3) + "0\r\n\r\n", ""},
		{"what is no request", "GET /plaintext" + get + "NOT HTTP\r\n\r\n",
			text("200 OK", hello) + refusal("400 Bad Request", "the request line ends before its HTTP version (RFC 9112 section 3)"), "missing-version"},
	} {
		for _, slow := range []bool{false, true} {
			r := newRig(t, a, reactor.Limits{})
			p := r.dial()
			if slow {
				p.sendSlowly(c.send)
			} else {
				p.send(c.send)
			}
			p.finish()
			r.advance(5 * time.Second)
			got := p.taken()
			for _, line := range []string{"38", "39", "40", "41", "42"} { // the clock has moved
				got = strings.ReplaceAll(got, "08:49:"+line, "08:49:37")
			}
			require.Equal(t, c.want, got, "%s (slow: %t)", c.why, slow)
			require.True(t, p.closed, "%s (slow: %t)", c.why, slow)
			require.Empty(t, r.state.conns, c.why)
			if c.reason != "" {
				require.EqualValues(t, 1, r.state.reasons.snapshot()[c.reason], "%s: %v", c.why, r.state.reasons.snapshot())
			} else {
				require.Empty(t, r.state.reasons.snapshot(), c.why)
			}
		}
	}
}

// As TestClientEndsItsStream, by sockets: what printf '...' | nc -N does, and the same by TLS.
func TestClientEndsItsStreamOverTheWire(t *testing.T) {
	s, client := serveBoth(t, wireApp())
	terms := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	terms.ServerName = "example.com"
	for _, c := range []struct {
		why, send string
		want      []string // the bodies of the answers
	}{
		{"one request", "GET /plaintext" + get, []string{hello}},
		{"one whose handler waits", "GET /sleep?ms=50" + get, []string{"slept 50"}},
		{"several", "GET /sleep?ms=20" + get + "GET /plaintext" + get + "GET /sleep?ms=20" + get, []string{"slept 20", hello, "slept 20"}},
		{"part of a body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nabc", []string{"the connection ended before the body did\n"}},
	} {
		for i, addr := range s.Addrs() {
			raw, err := net.DialTimeout("tcp", addr.String(), patience)
			require.NoError(t, err)
			require.NoError(t, raw.SetDeadline(time.Now().Add(patience)))
			conn, secure := raw.(interface {
				net.Conn
				CloseWrite() error
			}), i == 1
			if secure {
				conn = tls.Client(raw, terms)
			}
			_, err = io.WriteString(conn, c.send)
			require.NoError(t, err)
			require.NoError(t, conn.CloseWrite())
			all, err := io.ReadAll(conn)
			require.NoError(t, err, "%s: the end is no reset (TLS: %t)", c.why, secure)
			answers := strings.Split(string(all), "HTTP/1.1 ")[1:]
			require.Len(t, answers, len(c.want), "%s: %s (TLS: %t)", c.why, all, secure)
			for i, want := range c.want {
				_, body, _ := strings.Cut(answers[i], "\r\n\r\n")
				require.Equal(t, want, body, "%s (TLS: %t)", c.why, secure)
			}
			_ = conn.Close()
		}
	}
}
