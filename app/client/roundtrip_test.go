package client

// http.Client on a Client, compared with http.Client on http.Transport.

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// described is what a server knows of a request.
type described struct {
	Method, URI, Host, Body string
	Length                  int64
	Chunked, Close          bool
	Header, Trailer         http.Header
}

// describing answers with a description of the request. Some paths have another answer.
func describing() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		r.Header.Del("Connection")
		w.Header().Add("X-Twice", "1")
		w.Header().Add("X-Twice", "2")
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes"})
		_ = json.NewEncoder(w).Encode(described{r.Method, r.RequestURI, r.Host, string(body), r.ContentLength, len(r.TransferEncoding) > 0, r.Close, r.Header, r.Trailer})
	})
	m.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/target?a=b", http.StatusFound) })
	m.HandleFunc("/kept", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/target", http.StatusTemporaryRedirect)
	})
	m.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "4")
	})
	m.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		code := 0
		_, _ = fmt.Sscan(r.URL.RawQuery, &code)
		w.WriteHeader(code)
	})
	m.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) })
	m.HandleFunc("/last", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "bye")
	})
	return m
}

// received is what an http.Client makes of a response.
type received struct {
	Status           string
	Code             int
	Proto            string
	Length           int64
	TransferEncoding []string
	Header, Trailer  http.Header
	Close            bool
	Body             string
}

func receive(c *http.Client, req *http.Request) (received, error) {
	resp, err := c.Do(req)
	if err != nil {
		return received{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	resp.Header.Del("Connection") // a field that net/http removes
	return received{resp.Status, resp.StatusCode, resp.Proto, resp.ContentLength, resp.TransferEncoding, resp.Header, resp.Trailer, resp.Close, string(body)}, err
}

func TestRoundTripperIsLikeTransport(t *testing.T) {
	server := httptest.NewServer(describing())
	t.Cleanup(server.Close)
	e := loops(t, 1)
	d := &reactor.Dialer{}
	d.Bind(e)
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	for _, x := range []struct {
		why, method, path string
		body              func() io.Reader
		change            func(*http.Request)
	}{
		{"a query and fields", "GET", "/a%2Fb?x=1&y=%20", nil, func(r *http.Request) { r.Header.Add("X-A", "1"); r.Header.Add("X-A", "2") }},
		{"no path", "GET", "", nil, nil},
		{"an empty method", "", "/", nil, nil},
		{"another host", "GET", "/", nil, func(r *http.Request) { r.Host = "other.test:81" }},
		{"a body that can be replayed", "POST", "/", func() io.Reader { return strings.NewReader("hello") }, nil},
		{"a body of known length that cannot", "POST", "/", func() io.Reader { return struct{ io.Reader }{strings.NewReader("hello")} }, func(r *http.Request) { r.ContentLength = 5 }},
		{"a body of unknown length", "PUT", "/", func() io.Reader { return struct{ io.Reader }{strings.NewReader("hello")} }, nil},
		{"a body beyond what is replayed", "PUT", "/", func() io.Reader { return strings.NewReader(strings.Repeat("x", replayBytesMax+1)) }, nil},
		{"no body where one is usual", "POST", "/", nil, nil},
		{"http.NoBody", "POST", "/", func() io.Reader { return http.NoBody }, nil},
		{"trailers of the request", "POST", "/", func() io.Reader { return struct{ io.Reader }{strings.NewReader("hello")} }, func(r *http.Request) { r.Trailer = http.Header{"X-Sum": {"5"}} }},
		{"a User-Agent", "GET", "/", nil, func(r *http.Request) { r.Header.Set("User-Agent", "test") }},
		{"no User-Agent", "GET", "/", nil, func(r *http.Request) { r.Header["User-Agent"] = []string{""} }},
		{"fields that frame", "GET", "/", nil, func(r *http.Request) { r.Header.Set("Content-Length", "7"); r.Header.Set("Host", "x") }},
		{"the last request of a connection", "GET", "/", nil, func(r *http.Request) { r.Close = true }},
		{"user information", "GET", "/", nil, func(r *http.Request) { r.URL.User = url.UserPassword("ann", "secret") }},
		{"HEAD", "HEAD", "/large", nil, nil},
		{"no content", "GET", "/status?204", nil, nil},
		{"not modified", "GET", "/status?304", nil, nil},
		{"an empty body", "GET", "/status?404", nil, nil},
		{"an unknown status", "GET", "/status?599", nil, nil},
		{"a large body", "GET", "/large", nil, nil},
		{"trailers of the response", "GET", "/trailers", nil, nil},
		{"the last response of a connection", "GET", "/last", nil, nil},
		{"a redirect", "POST", "/moved", func() io.Reader { return strings.NewReader("hello") }, nil},
		{"a redirect with the body", "POST", "/kept", func() io.Reader { return strings.NewReader("hello") }, nil},
	} {
		request := func() *http.Request {
			var body io.Reader
			if x.body != nil {
				body = x.body()
			}
			r, err := http.NewRequest(x.method, server.URL+x.path, body)
			require.NoError(t, err)
			if x.change != nil {
				x.change(r)
			}
			return r
		}
		jar, _ := cookiejar.New(nil)
		want, err := receive(&http.Client{Transport: transport, Jar: jar}, request())
		require.NoError(t, err, x.why)
		if want.Code == 599 {
			want.Status = "599 " // net/http has the text of the server, which nothing reads
		}
		everywhere(t, e, x.why, Options{}, func(t *testing.T, c *Client, task *loop.Task) {
			jar, _ := cookiejar.New(nil)
			got, err := receive(&http.Client{Transport: c.RoundTripper(d), Jar: jar}, request())
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

// All requests wait at once, in tasks of one loop that is never handed over.
func TestRoundTripperWaitsCooperatively(t *testing.T) {
	const tasks = 10
	var inside sync.WaitGroup
	inside.Add(tasks)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside.Done()
		inside.Wait()
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	t.Cleanup(server.Close)
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Handoff: -1, Open: func(c *reactor.Conn) reactor.Handler { c.Close(); return mute{} }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Stop(context.Background())) })
	d := &reactor.Dialer{}
	d.Bind(e)
	httpClient := &http.Client{Transport: newClient(t, Options{}).RoundTripper(d), Timeout: time.Minute}
	var jobs []*job
	for i := range tasks {
		jobs = append(jobs, start(t, e.Loops()[0], func(*loop.Task) {
			path := fmt.Sprint("/", i)
			req, err := http.NewRequest("GET", server.URL+path, nil)
			assert.NoError(t, err)
			got, err := receive(httpClient, req)
			assert.NoError(t, err)
			assert.Equal(t, path, got.Body)
		}))
	}
	for _, j := range jobs {
		j.wait(t)
	}
}

func TestRoundTripperErrors(t *testing.T) {
	waiting := make(chan bool, 1)
	p := serve(t, func(w *wire) {
		req, _ := w.request()
		if req == nil {
			return
		}
		if req.URL.Path == "/body" {
			w.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		}
		waiting <- true
		w.drain()
	})
	e := loops(t, 1)
	d := &reactor.Dialer{}
	d.Bind(e)
	everywhere(t, e, "cancelled before the head", Options{}, func(t *testing.T, c *Client, _ *loop.Task) {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-waiting; cancel() }()
		req, err := http.NewRequestWithContext(ctx, "GET", p.url("/head"), nil)
		require.NoError(t, err)
		_, err = c.RoundTripper(d).RoundTrip(req)
		require.ErrorIs(t, err, context.Canceled)
	})
	everywhere(t, e, "cancelled in the body", Options{}, func(t *testing.T, c *Client, _ *loop.Task) {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, "GET", p.url("/body"), nil)
		require.NoError(t, err)
		resp, err := c.RoundTripper(d).RoundTrip(req)
		require.NoError(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, len("hello")))
		require.NoError(t, err)
		go func() { <-waiting; cancel() }()
		_, err = resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, resp.Body.Close())
		_, err = resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
		require.NoError(t, resp.Body.Close())
	})
	everywhere(t, e, "Client.Timeout", Options{}, func(t *testing.T, c *Client, _ *loop.Task) {
		httpClient := &http.Client{Transport: c.RoundTripper(d), Timeout: 50 * time.Millisecond}
		_, err := httpClient.Get(p.url("/head"))
		var failed *url.Error
		require.ErrorAs(t, err, &failed)
		require.True(t, failed.Timeout(), "%v", err)
		<-waiting
	})
	everywhere(t, e, "the body of the request is closed", Options{}, func(t *testing.T, c *Client, _ *loop.Task) {
		for _, x := range []struct {
			why, url string
			length   int64
			want     string
		}{
			{"no connection", "http://127.0.0.1:1/", 5, "connection refused"},
			{"no scheme", "ftp://127.0.0.1:1/", 5, ErrURL.Error()},
			{"less than the length", "http://127.0.0.1:1/", 9, "another length"},
			{"more than the length", "http://127.0.0.1:1/", 3, "another length"},
		} {
			body := &closing{Reader: strings.NewReader("hello")}
			req, err := http.NewRequest("POST", x.url, body)
			require.NoError(t, err)
			req.ContentLength, req.GetBody = x.length, func() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }
			_, err = c.RoundTripper(d).RoundTrip(req)
			require.ErrorContains(t, err, x.want, x.why)
			require.True(t, body.closed, x.why)
		}
	})
}

// closing is a body that knows whether it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// A response of a task cannot be read by a goroutine that the handler has started.
func TestRoundTripperForeignGoroutine(t *testing.T) {
	server := httptest.NewServer(describing())
	t.Cleanup(server.Close)
	e := loops(t, 1)
	d := &reactor.Dialer{}
	d.Bind(e)
	c := newClient(t, Options{})
	start(t, e.Loops()[0], func(*loop.Task) {
		resp, err := (&http.Client{Transport: c.RoundTripper(d)}).Get(server.URL + "/large")
		if !assert.NoError(t, err) {
			return
		}
		done := make(chan error, 2)
		go func() {
			_, err := resp.Body.Read(make([]byte, 1))
			done <- err
			done <- resp.Body.Close()
		}()
		assert.ErrorIs(t, <-done, loop.ErrForeignGoroutine)
		assert.ErrorIs(t, <-done, loop.ErrForeignGoroutine)
		n, err := io.Copy(io.Discard, resp.Body)
		assert.NoError(t, err)
		assert.EqualValues(t, 1<<20, n)
		assert.NoError(t, resp.Body.Close())
	}).wait(t)
}

func TestRoundTripperUpgrade(t *testing.T) {
	p := serve(t, func(w *wire) {
		_, _ = w.request()
		w.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly\n")
		line, _ := w.r.ReadString('\n')
		w.send(line)
	})
	e := loops(t, 1)
	d := &reactor.Dialer{}
	d.Bind(e)
	everywhere(t, e, "101", Options{}, func(t *testing.T, c *Client, _ *loop.Task) {
		req, err := http.NewRequest("GET", p.url("/"), nil)
		require.NoError(t, err)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		resp, err := (&http.Client{Transport: c.RoundTripper(d)}).Do(req)
		require.NoError(t, err)
		conn := resp.Body.(io.ReadWriteCloser)
		in := bufio.NewReader(conn)
		_, err = io.WriteString(conn, "hello\n")
		require.NoError(t, err)
		for _, want := range []string{"early\n", "hello\n"} {
			got, err := in.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		require.NoError(t, conn.Close())
	})
}
