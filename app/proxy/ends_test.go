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

	"tafe/loop/testrig"
)

// An upstream that rejects a body and closes with unread bytes resets its connection. The client receives the
// response sent before the reset.
func TestAnswerBeforeTheRequestEnds(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	addr := testrig.Serve(t, func(c net.Conn) {
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
