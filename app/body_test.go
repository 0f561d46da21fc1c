package app

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Bodies arrive whole, however they are cut and read: part of them comes from the input of the connection, part of them was read straight
// into the memory of the handler. The next request on the connection, which may arrive with the end of a body, is not touched.
func TestBodiesInPieces(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	a := New(Options{Log: quiet})
	sum := func(c *Context, body []byte) error {
		return c.String(200, fmt.Sprint(len(body), " ", crc32.ChecksumIEEE(body)))
	}
	a.Post("/whole", func(c *Context) error {
		body, err := c.Body()
		if err != nil {
			return err
		}
		return sum(c, body)
	})
	a.Post("/read/{step}", func(c *Context) error {
		var step int
		_, _ = fmt.Sscan(c.Param("step"), &step)
		var all []byte
		for p := make([]byte, step); ; {
			n, err := c.BodyReader().Read(p)
			all = append(all, p[:n]...)
			if err == io.EOF {
				return sum(c, all)
			}
			if err != nil {
				return err
			}
		}
	})
	a.Post("/late", func(c *Context) error { // all of it is in the input of the connection
		if err := c.Sleep(5 * time.Millisecond); err != nil {
			return err
		}
		body, err := c.Body()
		if err != nil {
			return err
		}
		return sum(c, body)
	})
	conn := dial(t, serve(t, a, 1))
	_ = conn.SetDeadline(time.Now().Add(patience))
	answers := bufio.NewReader(conn)
	var sent bytes.Buffer
	var want []string
	for i := range 60 {
		body := make([]byte, random.IntN(1<<(4+i%18)))
		for k := range body {
			body[k] = byte(random.Uint32())
		}
		path := []string{"/whole", "/late", "/read/7", "/read/30000", "/read/1000000"}[random.IntN(5)]
		if len(body) > 64<<10 {
			path = strings.Replace(path, "/7", "/7000", 1)
		}
		if random.IntN(4) == 0 {
			fmt.Fprintf(&sent, "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", path)
			for rest := body; len(rest) > 0; {
				n := 1 + random.IntN(len(rest))
				fmt.Fprintf(&sent, "%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			sent.WriteString("0\r\n\r\n")
		} else {
			fmt.Fprintf(&sent, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
		}
		want = append(want, fmt.Sprint(len(body), " ", crc32.ChecksumIEEE(body)))
	}
	go func() {
		for sent.Len() > 0 {
			if _, err := conn.Write(sent.Next(1 + random.IntN(300_000))); err != nil {
				return
			}
		}
	}()
	for i, w := range want {
		resp, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, w, string(body), "request %d", i)
	}
}
