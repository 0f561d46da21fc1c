package client

import (
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// plain is a peer that answers each read with the same bytes and allocates nothing.
func plain(t testing.TB, response string) *peer {
	return serve(t, func(w *wire) {
		reply, buf := []byte(response), make([]byte, 4096)
		for {
			if _, err := w.Conn.Read(buf); err != nil {
				return
			}
			if _, err := w.Conn.Write(reply); err != nil {
				return
			}
		}
	})
}

func kilobyte() string {
	return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: plain\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nContent-Length: 1024\r\n\r\n" +
		strings.Repeat("x", 1024)
}

// reportCPU reports the CPU time of the process per operation, including the peer's. On a busy machine it is more
// precise than the wall clock.
func reportCPU(b *testing.B) func() {
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := cpu()
	return func() { b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op") }
}

// Sequential requests for 1 KB over loopback, outside tasks.
func BenchmarkGet(b *testing.B) {
	p := plain(b, kilobyte())
	c := newClient(b, Options{})
	req := Request{URL: p.url("/path")}
	var resp Response
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		if err := c.Do(nil, nil, &req, &resp); err != nil {
			b.Fatal(err)
		}
		buf, _ = resp.AppendBody(buf[:0], 2048)
		resp.Close()
	}
}

// The same with net/http's client.
func BenchmarkGetNetHTTP(b *testing.B) {
	p := plain(b, kilobyte())
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		resp, err := c.Get(p.url("/path"))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

// The lower bound: the same bytes without a client.
func BenchmarkGetRaw(b *testing.B) {
	p := plain(b, kilobyte())
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	defer reportCPU(b)()
	out, in := []byte("GET /path HTTP/1.1\r\nHost: "+p.addr+"\r\n\r\n"), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(out)
		_, _ = conn.Read(in)
	}
}

// The cost of the check for unexpected data.
func BenchmarkArrived(b *testing.B) {
	p := answer(b, hello)
	raw, err := net.Dial("tcp", p.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	c := newConn(raw, nil)
	for b.Loop() {
		if c.arrived() {
			b.Fatal("nothing was sent")
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	c := New(Options{})
	x := c.shared.newCall(nil)
	req := Request{URL: "http://127.0.0.1:8080/path?query", Headers: fields("Accept", "*/*", "User-Agent", "bench", "X-Request-Id", "42")}
	b.ReportAllocs()
	for b.Loop() {
		if err := x.prepare(&req, ""); err != nil {
			b.Fatal(err)
		}
	}
}
