package httpparse

import (
	"strings"
	"testing"

	"github.com/evanphx/wildcat"
)

// Heads for all benchmarks: from a load generator, from a browser, and from a browser with cookies.
var (
	shortHead   = []byte("GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n")
	browserHead = []byte("GET /articles/2024/hello-world?ref=home&lang=en HTTP/1.1\r\n" +
		"Host: www.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\n" +
		"Referer: https://www.example.com/\r\n" +
		"Connection: keep-alive\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"Priority: u=0, i\r\n\r\n")
	cookieHead = []byte("GET /account HTTP/1.1\r\n" +
		"Host: www.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Cookie: " + strings.Repeat("session=0123456789abcdef0123456789abcdef; theme=dark; ", 35) + "\r\n\r\n")
)

var heads = []struct {
	name string
	head []byte
}{
	{"short", shortHead},
	{"browser", browserHead},
	{"cookies", cookieHead},
}

func BenchmarkFindHead(b *testing.B) {
	for _, h := range heads {
		b.Run(h.name, func(b *testing.B) {
			b.SetBytes(int64(len(h.head)))
			b.ReportAllocs()
			lim := DefaultLimits()
			for b.Loop() {
				if _, end, _, err := FindHead(h.head, 0, &lim); err != nil || end != len(h.head) {
					b.Fatal(end, err)
				}
			}
		})
	}
}

func benchmarkGuard(b *testing.B, head []byte) {
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	lim := DefaultLimits()
	var g guard
	for b.Loop() {
		g = guard{}
		if why := g.validate(head, &lim); why != accepted {
			b.Fatal(why.inRequest())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(head)), "ns/byte")
}

func BenchmarkGuardShort(b *testing.B)   { benchmarkGuard(b, shortHead) }
func BenchmarkGuardBrowser(b *testing.B) { benchmarkGuard(b, browserHead) }
func BenchmarkGuardCookies(b *testing.B) { benchmarkGuard(b, cookieHead) }

func BenchmarkWildcat(b *testing.B) {
	for _, h := range heads {
		b.Run(h.name, func(b *testing.B) {
			b.SetBytes(int64(len(h.head)))
			b.ReportAllocs()
			p := wildcat.NewSizedHTTPParser(32)
			for b.Loop() {
				if _, err := p.Parse(h.head); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, h := range heads {
		b.Run(h.name, func(b *testing.B) {
			b.SetBytes(int64(len(h.head)))
			b.ReportAllocs()
			lim := DefaultLimits()
			var r Request
			for b.Loop() {
				if err := r.Parse(h.head, &lim); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	head := []byte("HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: nginx\r\n" +
		"Content-Type: application/json\r\nContent-Length: 27\r\nConnection: keep-alive\r\n\r\n")
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	lim := DefaultLimits()
	var r Response
	for b.Loop() {
		if err := r.Parse(head, "GET", &lim); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendResponseHead(b *testing.B) {
	b.ReportAllocs()
	var dates DateCache
	var out []byte
	for b.Loop() {
		out = AppendStatusLine(out[:0], 200)
		out = AppendDate(out, dates.At(1700000000))
		var err error
		if out, err = AppendHeader(out, "Content-Type", "text/plain; charset=utf-8"); err != nil {
			b.Fatal(err)
		}
		out = AppendContentLength(out, 13)
		out = AppendHeadEnd(out)
	}
	b.SetBytes(int64(len(out)))
}

func BenchmarkAppendChunk(b *testing.B) {
	b.ReportAllocs()
	data := make([]byte, 4096)
	b.SetBytes(int64(len(data)))
	var out []byte
	for b.Loop() {
		out = AppendChunk(out[:0], data)
	}
}

func BenchmarkChunkedDecode(b *testing.B) {
	for _, size := range []int{1, 64, 4096} {
		b.Run(map[int]string{1: "bytes", 64: "small", 4096: "large"}[size], func(b *testing.B) {
			var body, out []byte
			for len(body) < 64<<10 {
				body = AppendChunk(body, make([]byte, size))
			}
			body = AppendLastChunk(body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			var d Body
			for b.Loop() {
				d.BeginRequest(chunkedRequest, nil)
				var err error
				if out, _, err = d.Decode(out[:0], body); err != nil || !d.Done() {
					b.Fatal(d.Done(), err)
				}
			}
		})
	}
}
