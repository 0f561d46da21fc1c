package app

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

// Every way to put a value into a head is given what would be another line, another head or another answer there. None of it may reach
// the wire as such.
func TestNoAPIInjectsLines(t *testing.T) {
	var evil string
	var mountedEvil atomic.Value // for handlers on goroutines of their own
	a := New(Options{Log: quiet, ServerTiming: true, RequestIDHeader: "X-Request-ID", TrustRequestID: true})
	for name, h := range map[string]Handler{
		"set-value":  func(c *Context) error { c.SetHeader("X-A", evil); return c.NoContent(200) },
		"set-name":   func(c *Context) error { c.SetHeader(evil, "x"); return c.NoContent(200) },
		"add-value":  func(c *Context) error { c.AddHeader("X-A", "1"); c.AddHeader("X-A", evil); return c.NoContent(200) },
		"add-name":   func(c *Context) error { c.AddHeader(evil, ""); return c.String(200, "") },
		"type":       func(c *Context) error { c.SetHeader("Content-Type", evil); return c.String(200, "x") },
		"connection": func(c *Context) error { c.SetHeader("Connection", evil); return c.String(200, "x") },
		"length":     func(c *Context) error { c.SetHeader("Content-Length", evil); return c.String(200, "x") },
		"encoding":   func(c *Context) error { c.SetHeader("Transfer-Encoding", evil); return c.String(200, "x") },
		"date":       func(c *Context) error { c.SetHeader("Date", evil); return c.String(200, "x") },
		"server":     func(c *Context) error { c.SetHeader("Server", evil); return c.String(200, "x") },
		"bytes":      func(c *Context) error { return c.Bytes(200, evil, []byte("x")) },
		"stream":     func(c *Context) error { _, err := c.Stream(200, evil).Write([]byte("x")); return err },
		"redirect":   func(c *Context) error { return c.Redirect(302, evil) },
		"interim-value": func(c *Context) error {
			if err := c.Interim(103, []httpparse.Header{{Name: []byte("Link"), Value: []byte(evil)}}); err != nil {
				return err
			}
			return c.NoContent(200)
		},
		"interim-name": func(c *Context) error {
			if err := c.Interim(103, []httpparse.Header{{Name: []byte(evil), Value: []byte("x")}}); err != nil {
				return err
			}
			return c.NoContent(200)
		},
		"error": func(c *Context) error { c.SetHeader("X-A", evil); return Error(400, evil) },
		"failed-answer": func(c *Context) error {
			_ = c.Bytes(200, evil, []byte("x"))
			return c.String(200, "x")
		},
		"upgrade": func(c *Context) error {
			c.SetHeader("Sec-WebSocket-Protocol", evil)
			conn, err := c.Hijack()
			if err != nil {
				return err
			}
			_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			return errors.Join(err, conn.Close())
		},
		"coded": func(c *Context) error {
			CodeBody(c, func(c *Context, _ int, _ string, _ int64) Coder {
				c.SetHeader("Content-Encoding", evil)
				return &shout{}
			})
			return c.String(200, "x")
		},
	} {
		a.Get("/"+name, h)
	}
	a.Handle("", "/mounted-value", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-A"] = []string{mountedEvil.Load().(string)}
		w.WriteHeader(200)
	})))
	a.Handle("", "/mounted-name", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()[mountedEvil.Load().(string)] = []string{"x"}
		_, _ = w.Write([]byte("x"))
	})))
	a.Handle("", "/mounted-interim", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Link"] = []string{mountedEvil.Load().(string)}
		w.WriteHeader(103)
		w.WriteHeader(200)
	})))
	a.Get("/files/{name}", func(c *Context) error {
		c.SetHeader("Content-Disposition", `attachment; filename="`+c.Param("name")+`"`)
		return c.String(200, c.Query("q"))
	})
	for _, evil = range []string{
		"a\r\nInjected: yes", "a\nInjected: yes", "a\rInjected: yes", "a\r\n\r\nInjected: yes", "a\r\n\r\nHTTP/1.1 200 OK\r\nInjected: yes\r\n\r\n",
		"\r\nInjected: yes", "a\x00\r\nInjected: yes", "a\r\n Injected: yes", "a\r\n\tInjected: yes",
	} {
		var targets []string
		for _, r := range a.Routes() {
			targets = append(targets, strings.Replace(strings.TrimSuffix(r.Pattern, "{path...}"), "{name}", url.PathEscape(evil), 1))
		}
		targets = append(targets, "/files/x?q="+url.QueryEscape(evil))
		for _, target := range targets {
			if strings.HasPrefix(target, "/mounted") {
				continue // below, with a goroutine of its own
			}
			r := newRig(t, a, reactor.Limits{})
			p := r.dial()
			p.send("GET " + target + " HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + strings.Map(visible, evil) + "\r\n\r\n")
			r.advance(time.Second)
			head, _, _ := strings.Cut(p.taken(), "\r\n\r\n")
			for _, line := range strings.FieldsFunc(head, func(r rune) bool { return r == '\r' || r == '\n' }) {
				require.NotRegexp(t, `^[ \t]*Injected`, line, "%s with %q:\n%s", target, evil, head)
			}
			require.Equal(t, 1, strings.Count(head, "HTTP/1.1 ")-strings.Count(head, "HTTP/1.1 103"), "%s with %q:\n%s", target, evil, head)
		}
	}
	s := serve(t, a, 1)
	for _, evil := range []string{"a\r\nInjected: yes", "a\nInjected: yes", "a\r\n\r\nInjected: yes"} {
		mountedEvil.Store(evil)
		for _, target := range []string{"/mounted-value", "/mounted-name", "/mounted-interim"} {
			resp, err := http.Get("http://" + s.Addr().String() + target)
			require.NoError(t, err, "the client's parser is happy")
			require.Empty(t, resp.Header.Get("Injected"), "%s with %q", target, evil)
			_ = resp.Body.Close()
		}
	}
	for _, evil := range []string{"a\r\nInjected: yes", "a\nb"} {
		require.Panics(t, func() { New(Options{ServerName: evil}) })
		require.Panics(t, func() { New(Options{RequestIDHeader: evil}) })
	}
}

// visible keeps what a request's head can hold.
func visible(r rune) rune {
	if r < ' ' {
		return '.'
	}
	return r
}
