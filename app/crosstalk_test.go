package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const crosstalkTime = 2 * time.Second

// hostile are openings that a server must survive: refused, cut off, abandoned, or answered and not read.
var hostile = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\tfolded: x\r\n\r\n",
	"GET /\r\nHost: a\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
	"foo\r\n\r\nGET /echo/evil HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST /echo/evil HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /echo/evil HTTP/1.1\r\n\r\n",
	"POST /echo/evil HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nshort",
	"POST /echo/evil HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nevil",
	"POST /echo/evil HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\nzz\r\n",
	"POST /panic/evil HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nevil",
	"GET /goexit/evil HTTP/1.1\r\nHost: a\r\n\r\nGET /echo/evil HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /slow/evil HTTP/1.1\r\nHost: a\r\n\r\nGET /slow/evil HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /cut/evil HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /large/evil HTTP/1.1\r\nHost: a\r\n\r\n",
	strings.Repeat("GET /echo/evil HTTP/1.1\r\nHost: a\r\n\r\n", 200),
	strings.Repeat("X", 40<<10),
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	"GET /echo/evil HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("evil", 20000) + "\r\n\r\n",
	"\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
	"GET /echo/ev",
}

// crosstalkApp answers with everything that it sees of the request, read at different times.
func crosstalkApp() *App {
	a := New(Options{Log: quiet})
	echo := func(c *Context) error {
		path, who := c.Path(), c.Header("X-Who")
		if len(who)%2 == 0 {
			if err := c.Yield(); err != nil {
				return err
			}
		}
		body, err := c.Body()
		if err != nil {
			return err
		}
		if len(body)%3 == 0 {
			if err := c.Sleep(time.Millisecond); err != nil {
				return err
			}
		}
		c.SetHeader("X-Who", who)
		return c.String(200, path+"|"+c.Param("name")+"|"+who+"|"+string(body))
	}
	a.Get("/echo/{name}", echo)
	a.Post("/echo/{name}", echo)
	a.Post("/panic/{name}", func(c *Context) error { _, _ = c.Body(); panic("evil") })
	a.Get("/goexit/{name}", func(c *Context) error { return Error(500, c.Param("name")) })
	a.Get("/slow/{name}", func(c *Context) error { return c.Sleep(50 * time.Millisecond) })
	a.Get("/cut/{name}", func(c *Context) error {
		_, _ = io.WriteString(c.Stream(200, ""), "evil")
		return io.ErrUnexpectedEOF
	})
	a.Get("/large/{name}", func(c *Context) error {
		_, err := io.WriteString(c.Stream(200, ""), strings.Repeat("evil", 2<<20))
		return err
	})
	return a
}

// Honest clients get their own answers, whatever others do on the same loops.
func TestNoCrossTalk(t *testing.T) {
	s := serve(t, crosstalkApp(), 2)
	ctx, cancel := context.WithTimeout(t.Context(), crosstalkTime)
	defer cancel()
	var wg sync.WaitGroup
	var answers atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			n, err := honest(ctx, s.Addr().String(), i)
			answers.Add(int64(n))
			if err != nil {
				t.Errorf("client %d after %d answers: %v", i, n, err)
				cancel()
			}
		})
	}
	var attacks atomic.Int64
	for i := range 2 {
		wg.Go(func() { attacks.Add(int64(attack(ctx, s.Addr().String(), uint64(i)))) })
	}
	wg.Wait()
	require.Positive(t, answers.Load())
	require.Positive(t, attacks.Load())
	t.Logf("%d honest answers, %d attacks", answers.Load(), attacks.Load())
}

// honest sends small pipelines of requests that identify it, and compares every response.
func honest(ctx context.Context, addr string, id int) (answers int, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	random := rand.New(rand.NewPCG(1, uint64(id)))
	for ctx.Err() == nil {
		var wants []string
		var out strings.Builder
		for range 1 + random.IntN(5) {
			name := fmt.Sprintf("c%d-%d", id, random.IntN(1_000_000))
			who := strings.Repeat(string(rune('a'+id)), 1+random.IntN(40))
			body := strings.Repeat(name, random.IntN(400))
			wants = append(wants, "/echo/"+name+"|"+name+"|"+who+"|"+body)
			fmt.Fprintf(&out, "POST /echo/%s HTTP/1.1\r\nHost: a\r\nX-Who: %s\r\n", name, who)
			if random.IntN(2) == 0 {
				fmt.Fprintf(&out, "Content-Length: %d\r\n\r\n%s", len(body), body)
			} else {
				out.WriteString("Transfer-Encoding: chunked\r\n\r\n")
				if body != "" {
					fmt.Fprintf(&out, "%x\r\n%s\r\n", len(body), body)
				}
				out.WriteString("0\r\n\r\n")
			}
		}
		text := out.String()
		cut := random.IntN(len(text))
		go func() {
			_, _ = io.WriteString(conn, text[:cut])
			_, _ = io.WriteString(conn, text[cut:])
		}()
		for _, want := range wants {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return answers, err
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || string(got) != want {
				return answers, fmt.Errorf("want %.100q, got %.100q (%v)", want, got, err)
			}
			answers++
		}
	}
	return answers, nil
}

// attack opens connections, says something from the hostile list, reads a bit of the answer or none, and leaves.
func attack(ctx context.Context, addr string, seed uint64) (attacks int) {
	random := rand.New(rand.NewPCG(2, seed))
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = io.WriteString(conn, hostile[random.IntN(len(hostile))])
		if random.IntN(2) == 0 {
			_, _ = conn.Read(make([]byte, 512))
		}
		if tcp, ok := conn.(*net.TCPConn); ok && random.IntN(2) == 0 {
			_ = tcp.SetLinger(0) // a reset instead of an end
		}
		_ = conn.Close()
		attacks++
	}
	return attacks
}
