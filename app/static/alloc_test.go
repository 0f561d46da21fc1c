//go:build !race

package static

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/looptest"
)

// A cached file and a 304 allocate nothing.
func TestHitsAllocateNothing(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("a handoff allocates")
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.txt"), []byte(strings.Repeat("x", 1024)))
	s, url := listening(t, Options{Dir: dir, CheckInterval: time.Hour})
	resp, _ := fetch(t, "GET", url+"/a.txt", nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	for _, condition := range []string{"", "If-None-Match: " + resp.Header.Get("ETag") + "\r\n"} {
		request, answer := []byte("GET /a.txt HTTP/1.1\r\nHost: a\r\n"+condition+"\r\n"), make([]byte, 8<<10)
		once := func() {
			_, err := c.Write(request)
			if err == nil {
				_, err = c.Read(answer)
			}
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		for range 100 {
			once()
		}
		require.Less(t, testing.AllocsPerRun(2000, once), 0.5, condition)
	}
	require.Greater(t, s.Stats().Hits, uint64(4000))
}
