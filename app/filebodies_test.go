package app

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop/reactor"
)

// fileApp serves a file of size bytes at /file.
func fileApp(t *testing.T, size int64) (a *App, path, digest string) {
	t.Helper()
	content := newPattern(size)
	path = filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.Copy(f, content)
	require.NoError(t, err)
	require.NoError(t, unix.Fdatasync(int(f.Fd())))
	require.NoError(t, f.Close())
	a = New(Options{Log: quiet})
	a.Get("/file", func(c *Context) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		c.SetHeader("Content-Length", strconv.FormatInt(size, 10))
		_, err = io.Copy(c.Stream(200, ""), f)
		return err
	})
	return a, path, content.digest()
}

// A file arrives whole by sendfile, by TLS and by HTTP/2, whether or not it is in the page cache, or in parts.
func TestFilesFromCacheAndDisk(t *testing.T) {
	const size = 5<<20 + 123
	a, path, digest := fileApp(t, size)
	s, client := serveBoth(t, a)
	both := client.Transport.(*http.Transport).Clone()
	both.ForceAttemptHTTP2 = true
	client2 := &http.Client{Transport: both}
	t.Cleanup(client2.CloseIdleConnections)
	for _, x := range []struct {
		scheme, proto string
		address       int
		client        *http.Client
	}{{"http", "HTTP/1.1", 0, client}, {"https", "HTTP/1.1", 1, client}, {"https", "HTTP/2.0", 1, client2}} {
		for _, c := range []struct {
			why      string
			from, to int64 // the part that is dropped from the page cache
		}{
			{"in the page cache", 0, 0},
			{"not in the page cache", 0, size},
			{"its first half is not", 0, size / 2},
			{"its second half is not", size / 2, size},
		} {
			f, err := os.Open(path)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, f)
			require.NoError(t, err)
			if c.to > c.from {
				require.NoError(t, unix.Fadvise(int(f.Fd()), c.from, c.to-c.from, unix.FADV_DONTNEED))
			}
			require.NoError(t, f.Close())
			resp, err := x.client.Get(x.scheme + "://" + s.Addrs()[x.address].String() + "/file")
			require.NoError(t, err)
			require.Equal(t, x.proto, resp.Proto)
			sum := sha256.New()
			_, err = io.Copy(sum, resp.Body)
			require.NoError(t, err, "%s: %s", x.proto, c.why)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, digest, hex.EncodeToString(sum.Sum(nil)), "%s: %s", x.proto, c.why)
		}
	}
}

// Clients that request a large file by TLS and do not read it hold a bounded part of it each.
func TestFilesToClientsThatDoNotRead(t *testing.T) {
	const clients, eachMax = 40, 640 << 10
	a, _, _ := fileApp(t, 16<<20)
	s, client := serveBoth(t, a)
	terms := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	terms.ServerName, terms.NextProtos = "example.com", nil
	base := heap()
	for range clients {
		raw, err := net.Dial("tcp", s.Addrs()[1].String())
		require.NoError(t, err)
		defer func() { _ = raw.Close() }()
		require.NoError(t, raw.(*net.TCPConn).SetReadBuffer(4<<10))
		c := tls.Client(raw, terms)
		_, err = io.WriteString(c, "GET /file"+get)
		require.NoError(t, err)
	}
	most := reactor.DefaultLimits().OutboundMax
	require.Eventually(t, func() bool { return waitingForReaders(s, most) == clients }, patience, 5*time.Millisecond)
	require.Less(t, (heap()-base)/clients, int64(eachMax))
}

// waitingForReaders returns the number of connections of the first loop whose handler waits for their client: from most unsent bytes on,
// until half of them are left.
func waitingForReaders(s *Server, most int) (n int) {
	state, done := s.states[0].Load(), make(chan int)
	state.loop.Post(func() {
		for _, p := range state.conns {
			if hc, ok := p.conn.(*http1Conn); ok && hc.conn.Unsent() > most/2 {
				n++
			}
		}
		done <- n
	})
	return <-done
}
