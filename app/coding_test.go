package app

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

// shout is a Coder whose work can be seen, and waited for.
type shout struct{ ops []CodeOp }

func (s *shout) Code(c *Context, dst, p []byte, op CodeOp) ([]byte, error) {
	s.ops = append(s.ops, op)
	if bytes.Contains(p, []byte("unspeakable")) {
		return nil, errors.New("no")
	}
	if err := c.Sleep(time.Millisecond); err != nil {
		return nil, err
	}
	dst = append(dst, bytes.ToUpper(p)...)
	if op == CodeEnd {
		dst = append(dst, '!')
	}
	return dst, nil
}

func TestCodeBody(t *testing.T) {
	var coder *shout
	var asked []int64
	a := New(Options{Log: quiet})
	a.Use(func(next Handler) Handler {
		return func(c *Context) error {
			CodeBody(c, func(c *Context, status int, contentType string, length int64) Coder {
				asked = append(asked, length)
				if status != 200 || !strings.HasPrefix(contentType, "text/") {
					return nil
				}
				c.SetHeader("Content-Encoding", "shout")
				coder = &shout{}
				return coder
			})
			return next(c)
		}
	})
	a.Get("/whole", func(c *Context) error { return c.String(200, "hello") })
	a.Get("/typed", func(c *Context) error {
		c.SetHeader("Content-Type", "text/html")
		return c.Bytes(200, "application/octet-stream", []byte("hello"))
	})
	a.Get("/other", func(c *Context) error { return c.JSON(200, "hello") })
	a.Get("/missing", func(c *Context) error { return c.String(404, "hello") })
	a.Get("/none", func(c *Context) error { return c.NoContent(204) })
	a.Get("/nothing", func(c *Context) error { return nil })
	a.Get("/fails", func(c *Context) error { return Error(500, "hello") })
	a.Get("/stream", func(c *Context) error {
		c.SetHeader("Content-Length", "10")
		s := c.Stream(200, "text/plain")
		_, _ = s.Write([]byte("hello"))
		_ = s.Flush()
		_, err := s.Write([]byte("world"))
		return err
	})
	a.Get("/unbegun", func(c *Context) error { c.Stream(200, "text/plain"); return nil })
	a.Get("/whole-fails", func(c *Context) error { return c.String(200, "unspeakable") })
	a.Get("/stream-fails", func(c *Context) error {
		s := c.Stream(200, "text/plain")
		_, _ = s.Write([]byte("hello"))
		_, err := s.Write([]byte("unspeakable"))
		return err
	})
	a.Handle("", "/mounted", Mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", "5")
		_, _ = w.Write([]byte("hello"))
	})))
	for _, c := range []struct {
		target   string
		length   []int64
		coded    bool
		contains string
		ends     string
		why      string
	}{
		{"GET /whole HTTP/1.1", []int64{5}, true, "Content-Length: 6\r\n", "\r\n\r\nHELLO!", "a whole answer has a length"},
		{"HEAD /whole HTTP/1.1", []int64{5}, true, "Transfer-Encoding: chunked\r\n", "\r\n\r\n", "HEAD gets the headers of GET"},
		{"GET /typed HTTP/1.1", []int64{5}, true, "Content-Type: text/html\r\n", "HELLO!", "the type of a header counts"},
		{"GET /other HTTP/1.1", []int64{7}, false, "", "\"hello\"", "refused"},
		{"GET /missing HTTP/1.1", []int64{5}, false, "", "hello", "by status"},
		{"GET /none HTTP/1.1", nil, false, "", "\r\n\r\n", "no body, no question"},
		{"GET /nothing HTTP/1.1", nil, false, "", "\r\n\r\n", "nor here"},
		{"GET /fails HTTP/1.1", nil, false, "500", "", "failures are as they are"},
		{"GET /stream HTTP/1.1", []int64{10}, true, "Transfer-Encoding: chunked\r\n", "\r\n\r\n5\r\nHELLO\r\n5\r\nWORLD\r\n1\r\n!\r\n0\r\n\r\n", "an announced length is void"},
		{"HEAD /stream HTTP/1.1", []int64{10}, true, "Transfer-Encoding: chunked\r\n", "\r\n\r\n", ""},
		{"GET /stream HTTP/1.0", []int64{10}, true, "Connection: close\r\n", "\r\n\r\nHELLOWORLD!", "without chunks the end is the connection's"},
		{"GET /unbegun HTTP/1.1", nil, false, "", "0\r\n\r\n", "an empty stream has nothing to code"},
		{"GET /whole-fails HTTP/1.1", []int64{11}, false, " 500 ", "", "nothing was sent yet"},
		{"GET /stream-fails HTTP/1.1", []int64{-1}, true, "", "5\r\nHELLO\r\n", "no last chunk: the client sees that it is not complete"},
	} {
		coder, asked = nil, nil
		r := newRig(t, a, reactor.Limits{})
		p := r.dial()
		p.send(c.target + "\r\nHost: a\r\n\r\n")
		r.advance(time.Second)
		got := p.taken()
		require.Equal(t, c.length, asked, "%s: %s", c.target, c.why)
		require.Equal(t, c.coded, strings.Contains(got, "Content-Encoding: shout"), "%s: %s\n%s", c.target, c.why, got)
		require.Contains(t, got, c.contains, "%s: %s", c.target, c.why)
		require.True(t, strings.HasSuffix(got, c.ends), "%s: %s\n%s", c.target, c.why, got)
		if strings.HasPrefix(c.target, "GET /stream ") {
			require.Equal(t, []CodeOp{CodeMore, CodeFlush, CodeMore, CodeEnd}, coder.ops)
		}
		if strings.HasPrefix(c.target, "HEAD") {
			require.Empty(t, coder.ops, "its output would not be sent")
		}
	}

	resp, err := http.Get("http://" + serve(t, a, 1).Addr().String() + "/mounted")
	require.NoError(t, err)
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "HELLO!", body.String(), "a mounted handler's answer")
}

// A client that leaves while a Coder waits ends the request and nothing else.
func TestCodeBodyOfAClientThatLeaves(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/", func(c *Context) error {
		CodeBody(c, func(c *Context, _ int, _ string, _ int64) Coder { return &shout{} })
		return c.String(200, "hello")
	})
	r := newRig(t, a, reactor.Limits{})
	p := r.dial()
	p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	p.hangUp()
	r.advance(time.Second)
	require.EqualValues(t, 1, r.state.reasons.snapshot()["client-gone"])
}

func TestServerTiming(t *testing.T) {
	a := New(Options{Log: quiet, ServerTiming: true})
	a.Get("/", func(c *Context) error {
		if err := c.Sleep(1500 * time.Microsecond); err != nil {
			return err
		}
		t := c.Timing()
		if t.Total != t.Queued+t.Slices+t.Backend {
			return Error(500, "the parts are not the whole")
		}
		return c.String(200, hello)
	})
	r := newRig(t, a, reactor.Limits{})
	p := r.dial()
	p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n")
	r.advance(time.Second)
	got := p.taken()
	require.Regexp(t, `Server-Timing: queue;dur=0(\.\d+)?, slice;dur=0(\.\d+)?, backend;dur=1\.[4-8]\d*\r\n`, got)
	require.Equal(t, 2, strings.Count(got, "Server-Timing: "), got)
}
