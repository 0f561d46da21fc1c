//go:build !race

package app

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app/internal/poison"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

// A plain request costs no allocation, from the bytes that arrive to those that leave; nor do its relatives.
func TestNoAllocations(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("a handoff allocates")
	}
	a := demo(Options{AccessLog: func(*Entry) {}, RequestIDHeader: "X-Request-ID"})
	a.Get("/query", func(c *Context) error { return c.String(200, c.QueryView("q")) })
	a.Get("/headers", func(c *Context) error {
		c.SetHeader("Cache-Control", "no-store")
		c.AddHeader("Vary", "Accept")
		c.Set(formKey{}, nil)
		return c.NoContent(204)
	})
	a.Get("/stream", func(c *Context) error {
		s := c.Stream(200, "text/plain")
		_, _ = s.Write([]byte("one"))
		_, err := s.Write([]byte("two"))
		return err
	})
	a.Host("www.example.com", "*.example.org").Get("/plaintext", func(c *Context) error { return c.String(200, c.Site()) })
	a.Get("/when", func(c *Context) error { return c.NoContent(204) }, When(Match{
		Query: []FieldMatch{{Name: "q", Values: []string{"a"}}}, Cookies: []FieldMatch{{Name: "c"}}, Headers: []FieldMatch{{Name: "Host"}},
		Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}))
	for _, c := range []struct{ why, request string }{
		{"the plain path", "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"HEAD", "HEAD /plaintext HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"a host", "GET /plaintext HTTP/1.1\r\nHost: WWW.Example.com:80\r\n\r\n"},
		{"a host of a wildcard", "GET /plaintext HTTP/1.1\r\nHost: a.b.example.org\r\n\r\n"},
		{"a route with conditions", "GET /when?q=a HTTP/1.1\r\nHost: a\r\nCookie: c=d\r\n\r\n"},
		{"a parameter that is decoded", "GET /users/a%20b HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"a query", "GET /query?a=1&q=x HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"headers and values", "GET /headers HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"a stream", "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"a body that came with its head", "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"},
		{"an unread chunked body", "POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"no keep-alive by default", "GET /plaintext HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"},
		{"two at once", "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\nGET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		r := newRig(t, a, reactor.Limits{})
		p := r.dial()
		p.got = make([]byte, 0, 1<<20)
		request := []byte(c.request)
		got := testing.AllocsPerRun(100, func() {
			p.got = p.got[:0]
			p.deliver(request)
			if !bytes.HasPrefix(p.got, []byte("HTTP/1.1 2")) {
				t.Fatalf("no answer: %q", p.got)
			}
		})
		require.Zero(t, got, "%s: %s", c.why, p.got)
		require.False(t, p.eof, c.why)
	}
}

func BenchmarkPlaintext(b *testing.B) {
	r := newRig(b, demo(Options{}), reactor.Limits{})
	p := r.dial()
	request := []byte("GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		p.got = p.got[:0]
		p.deliver(request)
	}
}

func BenchmarkPlaintextPipelined(b *testing.B) {
	r := newRig(b, demo(Options{}), reactor.Limits{})
	p := r.dial()
	var request []byte
	for range 16 {
		request = append(request, "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"...)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.got = p.got[:0]
		p.deliver(request)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/16, "ns/request")
}

// hostsRouted is an App with n sites. All of them, and the App, have the same 200 routes.
func hostsRouted(n int) *App {
	a := New(Options{Log: quiet})
	a.router = twoHundred()
	for i := range n {
		a.Host(fmt.Sprintf("site%d.example.com", i), fmt.Sprintf("*.site%d.example.org", i)).router = a.router
	}
	a.freeze()
	return a
}

// BenchmarkHosts measures the lookup of host and path, against that of the path alone: the case without hosts.
func BenchmarkHosts(b *testing.B) {
	for _, n := range []int{0, 1, 100, 10_000} {
		a := hostsRouted(n)
		for _, c := range []struct{ name, host string }{{"exact", "site%d.example.com:8080"}, {"wildcard", "www.a.site%d.example.org"}, {"none", "other%d.example.net"}} {
			b.Run(fmt.Sprintf("%d/%s", n, c.name), func(b *testing.B) {
				hosts := make([][]byte, 64)
				for i := range hosts {
					hosts[i] = fmt.Appendf(nil, c.host, i*max(n, 1)/len(hosts))
				}
				method, path := []byte("GET"), []byte("/api/v1/service17/items/12345")
				ctx := &Context{app: a}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					ctx.host = a.hostFor(hosts[i%len(hosts)])
					if route, _ := ctx.lookUp(method, path); route == nil {
						b.Fatal("no route")
					}
				}
			})
		}
	}
}

// A request over HTTP/2 whose fields are in the tables of HPACK costs no allocation either.
func TestNoAllocationsHTTP2(t *testing.T) {
	if looptest.HandsOffAlways() || poison.On() {
		t.Skip("a handoff allocates, and so do fields that can be poisoned")
	}
	a := demo(Options{AccessLog: func(*Entry) {}, RequestIDHeader: "X-Request-ID"})
	r := newRig(t, a, reactor.Limits{})
	p := r.dialAs(&Listener{H2C: true})
	p.got = make([]byte, 0, 1<<20)
	p.deliver([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00"))
	id := uint32(1)
	section := "\x82\x86\x41\x01h\x44\x0a/plaintext" // :path and :authority into the table
	request := func() []byte {
		b := []byte{0, 0, byte(len(section)), 1, 5, 0, 0, byte(id >> 8), byte(id)}
		id += 2
		return append(b, section...)
	}
	p.deliver(request())
	section = "\x82\x86\xbe\xbf"
	requests := make([][]byte, 202)
	for i := range requests {
		requests[i] = request()
	}
	next := 0
	got := testing.AllocsPerRun(200, func() {
		p.got = p.got[:0]
		p.deliver(requests[next])
		next++
		if !bytes.Contains(p.got, []byte("Hello, World!")) {
			t.Fatalf("no answer: %q", p.got)
		}
	})
	require.Zero(t, got, "%q", p.got)
}
