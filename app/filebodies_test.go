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

// A file arrives whole by sendfile and by TLS, whether or not it is in the page cache, or in parts.
func TestFilesFromCacheAndDisk(t *testing.T) {
	const size = 5<<20 + 123
	a, path, digest := fileApp(t, size)
	s, client := serveBoth(t, a)
	for i, scheme := range []string{"http", "https"} {
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
			resp, err := client.Get(scheme + "://" + s.Addrs()[i].String() + "/file")
			require.NoError(t, err)
			sum := sha256.New()
			_, err = io.Copy(sum, resp.Body)
			require.NoError(t, err, "%s: %s", scheme, c.why)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, digest, hex.EncodeToString(sum.Sum(nil)), "%s: %s", scheme, c.why)
		}
	}
}

// Clients that request a large file by TLS and do not read it hold a bounded part of it each.
func TestFilesToClientsThatDoNotRead(t *testing.T) {
	const clients, eachMax = 40, 640 << 10
	a, _, _ := fileApp(t, 16<<20)
	s, client := serveBoth(t, a)
	terms := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	terms.ServerName = "example.com"
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

// waitingForReaders returns the number of connections of the first loop with at least most unsent bytes.
func waitingForReaders(s *Server, most int) (n int) {
	state, done := s.states[0].Load(), make(chan int)
	state.loop.Post(func() {
		for _, hc := range state.conns {
			if hc.conn.Unsent() >= most {
				n++
			}
		}
		done <- n
	})
	return <-done
}
