package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FuzzHTTP2Requests sends the same request to this server and to that of net/http. A request that net/http refuses is refused here, and one
// that both accept is understood equally. This server refuses more: it has the rules of its HTTP/1 parser for targets, hosts and expectations.
func FuzzHTTP2Requests(f *testing.F) {
	for _, c := range [][6]string{
		{"GET", "/a?b=c", "h:80", "x", "y", ""}, {"POST", "/", "h", "content-length", "3", "abc"}, {"POST", "/", "h", "content-length", "4", "abc"},
		{"PUT", "/%20", "h", "X", "y", "abc"}, {"GET", "*", "h", "te", "trailers", ""}, {"OPTIONS", "*", "h", "te", "gzip", ""},
		{"GET", "/", "h", "connection", "close", ""}, {"GET", "/", "", "host", "h", ""}, {"GET", "/", "a", "host", "b", ""},
		{"HEAD", "/", "h", ":path", "/", ""}, {"G T", "/", "h", "a b", "c", ""}, {"GET", "//a/../b", "[::1]:1", "cookie", "a=b", ""},
		{"GET", "/\x7f", "h", "x", "a\nb", ""}, {"CONNECT", "/", "h:1", "x", "y", ""}, {"GET", "/", "h", "transfer-encoding", "chunked", "abc"},
	} {
		f.Add(c[0], c[1], c[2], c[3], c[4], c[5])
	}
	a := New(Options{Log: quiet})
	for _, method := range []string{"GET", "POST", "PUT", "OPTIONS", "HEAD", "DELETE"} {
		a.Handle(method, "/{path...}", func(c *Context) error {
			body, err := c.Body()
			if err != nil {
				return err
			}
			return c.String(200, fmt.Sprintf("%s %s %s %s %s", c.Method(), c.RawTarget(), c.Host(), c.Header("X"), body))
		})
	}
	s, err := Listen(a, ServerConfig{Loops: 1, Listeners: []Listener{{Addr: "127.0.0.1:0", H2C: true}}})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, s.Stop(context.Background())) })
	reference := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.RequestURI, r.Host, r.Header.Get("X"), body)
	}))
	reference.Config.Protocols = new(http.Protocols)
	reference.Config.Protocols.SetUnencryptedHTTP2(true)
	reference.Config.ErrorLog = quietLog
	reference.Start()
	f.Cleanup(reference.Close)
	f.Fuzz(func(t *testing.T, method, path, host, name, value, body string) {
		if len(method)+len(path)+len(host)+len(name)+len(value)+len(body) > 4096 {
			return
		}
		fields := []string{":method", method, ":scheme", "http", ":path", path}
		if host != "" {
			fields = append(fields, ":authority", host)
		}
		fields = append(fields, name, value)
		ours := requestOnce(t, s.Addr().String(), fields, body)
		if !strings.HasPrefix(ours, "200 ") {
			return // as strict as over HTTP/1
		}
		require.Equal(t, requestOnce(t, reference.Listener.Addr().String(), fields, body), ours, "%q", fields)
	})
}

// requestOnce sends a request on a connection of its own. It returns status and body, or how the request was refused.
func requestOnce(t *testing.T, addr string, fields []string, body string) string {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	w := &rawClient{t: t, conn: conn, framer: xhttp2.NewFramer(conn, conn), lenient: true}
	w.encoder = hpack.NewEncoder(&w.encoded)
	w.framer.AllowIllegalWrites = true
	w.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, _ = io.WriteString(conn, xhttp2.ClientPreface)
	w.wrote(w.framer.WriteSettings())
	w.headers(1, body == "", fields...)
	if body != "" {
		w.wrote(w.framer.WriteData(1, true, []byte(body)))
	}
	status, got := "", ""
	for {
		frame, err := w.framer.ReadFrame()
		if err != nil {
			return "closed"
		}
		ended := false
		switch frame := frame.(type) {
		case *xhttp2.MetaHeadersFrame:
			if v := frame.PseudoValue("status"); v >= "200" {
				status = v
			}
			ended = frame.StreamEnded()
		case *xhttp2.DataFrame:
			got += string(frame.Data())
			ended = frame.StreamEnded()
		case *xhttp2.RSTStreamFrame, *xhttp2.GoAwayFrame:
			return "refused"
		}
		if ended {
			return status + " " + got
		}
	}
}
