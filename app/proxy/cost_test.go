package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// sink answers each request with 1 KB without parsing it, so that the proxy dominates the measurement.
func sink(t testing.TB) string {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	return testrig.Serve(t, func(c net.Conn) {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if n >= 4 && string(buf[n-4:n]) == "\r\n\r\n" {
				if _, err = c.Write(answer); err != nil {
					return
				}
			}
		}
	})
}

const benchRequest = "GET /1k HTTP/1.1\r\nHost: a\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"

// BenchmarkProxy forwards responses of 1 KB over 64 connections. cpu-ns/op is the user and system time of the
// process, including client and upstream, which are the same for both proxies.
func BenchmarkProxy(b *testing.B) {
	b.Run("tafe", func(b *testing.B) {
		f := serve(b, GroupOptions{Servers: to(sink(b))}, Options{})
		benchProxy(b, f.Addr().String())
	})
	b.Run("ReverseProxy", func(b *testing.B) {
		target := &url.URL{Scheme: "http", Host: sink(b)}
		p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
			Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
		s := httptest.NewServer(p)
		b.Cleanup(s.Close)
		benchProxy(b, s.Listener.Addr().String())
	})
	b.Run("direct", func(b *testing.B) { benchProxy(b, sink(b)) })
}

func benchProxy(b *testing.B, addr string) {
	const conns = 64
	jobs := make(chan int)
	done := make(chan error, conns)
	for range conns {
		c, err := net.Dial("tcp", addr)
		require.NoError(b, err)
		go func() {
			defer func() { _ = c.Close() }()
			in := bufio.NewReader(c)
			for range jobs {
				_, err := io.WriteString(c, benchRequest)
				if err == nil {
					var resp *http.Response
					if resp, err = http.ReadResponse(in, nil); err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
					}
				}
				if err != nil {
					b.Error(err)
				}
			}
			done <- nil
		}()
	}
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	for i := range b.N {
		jobs <- i
	}
	close(jobs)
	for range conns {
		<-done
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
