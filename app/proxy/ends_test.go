package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// upstreamOf starts a server that calls play for each connection, and returns its address.
func upstreamOf(t testing.TB, play func(c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				play(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// An upstream that rejects a body and closes with unread bytes resets its connection. The client receives the
// response sent before the reset.
func TestAnswerBeforeTheRequestEnds(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	addr := upstreamOf(t, func(c net.Conn) {
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil && req.Method == "PUT" {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		}
	})
	f := serve(t, GroupOptions{Servers: to(addr), FailuresMax: -1}, Options{})
	head := fmt.Sprintf("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
	for i := range 60 {
		c, err := net.Dial("tcp", f.Addr().String())
		require.NoError(t, err)
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, head+strings.Repeat("x", size)) // it fails if the answer comes first
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.Equal(t, "403 no", fmt.Sprintf("%d %s", resp.StatusCode, body), "try %d", i)
	}
}
