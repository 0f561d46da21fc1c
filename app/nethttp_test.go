package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/httpparse"
)

func TestServeHTTP(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(demo(Options{}))
		if s.EnableHTTP2 = http2; http2 {
			s.StartTLS()
		} else {
			s.Start()
		}
		client := s.Client()
		client.Timeout = patience
		answersGoClient(t, client, s.URL)
		resp, err := client.Get(s.URL + "/plaintext")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http2, resp.ProtoMajor == 2)
		require.Equal(t, "tafe", resp.Header.Get("Server"))
		require.EqualValues(t, len(hello), resp.ContentLength)
		s.Close()
	}
}

// Interim responses reach the client before the final one, and their fields are not repeated in it.
func TestServeHTTPInterim(t *testing.T) {
	a := New(Options{})
	a.Get("/", func(c *Context) error {
		for _, link := range []string{"</a.css>; rel=preload", "</b.js>; rel=preload"} {
			if err := c.Interim(http.StatusEarlyHints, []httpparse.Header{{Name: []byte("Link"), Value: []byte(link)}}); err != nil {
				return err
			}
		}
		return c.String(http.StatusOK, hello)
	})
	for _, http2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Outer", "1")
			a.ServeHTTP(w, r)
		}))
		if s.EnableHTTP2 = http2; http2 {
			s.StartTLS()
		} else {
			s.Start()
		}
		var links []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			require.Equal(t, http.StatusEarlyHints, code)
			links = append(links, header.Values("Link")...)
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
		require.NoError(t, err)
		client := s.Client()
		client.Timeout = patience
		resp, err := client.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, hello, string(body))
		require.Equal(t, []string{"</a.css>; rel=preload", "</b.js>; rel=preload"}, links)
		require.Empty(t, resp.Header["Link"])
		require.Equal(t, "1", resp.Header.Get("X-Outer"), "a field of the handler around the App")
		s.Close()
	}
}

func TestServeHTTPWithRecorder(t *testing.T) {
	a := wireApp()
	for _, c := range []struct {
		why, method, target, body string
		status                    int
		want                      string
	}{
		{"plain", "GET", "/plaintext", "", 200, hello},
		{"HEAD", "HEAD", "/plaintext", "", 200, ""},
		{"a stream", "GET", "/stream", "", 200, "a,b\n"},
		{"no body", "GET", "/empty", "", 204, ""},
		{"an error", "GET", "/teapot", "", 418, "short and stout\n"},
		{"a body", "POST", "/read", "abc", 200, "abc"},
		{"a body beyond the route's limit", "POST", "/small", "01234567890", 413, "Request Entity Too Large: the body exceeds the limit of the route\n"},
	} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(c.method, c.target, strings.NewReader(c.body)))
		require.Equal(t, c.status, w.Code, c.why)
		require.Equal(t, c.want, w.Body.String(), c.why)
		require.Empty(t, w.Header()["Connection"], c.why)
	}
}

// A body that breaks off reaches the client as one that breaks off.
func TestServeHTTPTruncates(t *testing.T) {
	s := httptest.NewServer(crosstalkApp())
	defer s.Close()
	resp, err := s.Client().Get(s.URL + "/cut/x")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, "evil", string(body))
}

// A client that leaves cancels the handler, also while that waits for the body.
func TestServeHTTPClientLeaves(t *testing.T) {
	for _, path := range []string{"/sleep", "/read"} {
		started, ended := make(chan struct{}), make(chan error, 1)
		a := New(Options{Log: quiet})
		a.Post("/sleep", func(c *Context) error {
			close(started)
			err := c.Sleep(time.Hour)
			ended <- err
			return err
		})
		a.Post("/read", func(c *Context) error {
			close(started)
			_, err := c.Body()
			ended <- err
			return err
		})
		s := httptest.NewServer(a)
		ctx, cancel := context.WithCancel(t.Context())
		body, sending := io.Pipe()
		req, err := http.NewRequestWithContext(ctx, "POST", s.URL+path, body)
		require.NoError(t, err)
		if path == "/sleep" { // net/http looks for a client that leaves only once it has the whole body
			req.Body, req.ContentLength = http.NoBody, 0
		}
		go func() {
			<-started
			cancel()
			_ = sending.CloseWithError(errors.New("gone"))
		}()
		_, err = s.Client().Do(req)
		require.Error(t, err)
		require.ErrorIs(t, <-ended, ErrClientGone, path)
		s.Close()
	}
}

func BenchmarkServeHTTP(b *testing.B) {
	a := demo(Options{})
	r := httptest.NewRequest("GET", "/plaintext", nil)
	b.ReportAllocs()
	for b.Loop() {
		a.ServeHTTP(httptest.NewRecorder(), r)
	}
}
