package static

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

func TestServe(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o644))
	}
	write(filepath.Join(outside, "secret"), "secret")
	write(filepath.Join(dir, "a.txt"), "0123456789")
	write(filepath.Join(dir, ".hidden"), "secret")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	write(filepath.Join(dir, "d", "index.html"), "index")
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink("a.txt", filepath.Join(dir, "in")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	s, err := New(Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler)})
	a.Handle("", "/{path...}", s.Serve)
	ask := func(method, target string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, nil)
		for i := 0; i < len(headers); i += 2 {
			if headers[i] != "" {
				r.Header.Set(headers[i], headers[i+1])
			}
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w
	}
	etag := ask("GET", "/a.txt").Header().Get("ETag")
	require.NotEmpty(t, etag)
	for _, c := range []struct {
		method, target, header, value string
		status                        int
		body, why                     string
	}{
		{"GET", "/a.txt", "", "", 200, "0123456789", "a file"},
		{"HEAD", "/a.txt", "", "", 200, "", "its head"},
		{"POST", "/a.txt", "", "", 405, "", "nothing is written"},
		{"GET", "/in", "", "", 200, "0123456789", "a link within"},
		{"GET", "/out", "", "", 404, "", "a link that leads out"},
		{"GET", "/fifo", "", "", 404, "", "would block"},
		{"GET", "/.hidden", "", "", 404, "", "a dotfile"},
		{"GET", "/%2e%2e/%2e%2e/etc/passwd", "", "", 400, "", "encoded dots, above the root"},
		{"GET", "/..%2f..%2fetc/passwd", "", "", 400, "", "dots beside encoded slashes"},
		{"GET", "/d%2findex.html", "", "", 404, "", "an escaped slash separates nothing, and no name holds one"},
		{"GET", "/d%2Findex.html", "", "", 404, "", "in capitals too"},
		{"GET", "/d%252Findex.html", "", "", 404, "", "nor is one that is encoded twice"},
		{"GET", "/d%5Cindex.html", "", "", 404, "", "nor a backslash"},
		{"GET", "//d/index.html", "", "", 404, "", "an empty segment is one"},
		{"GET", "/d//index.html", "", "", 404, "", "in the middle too"},
		{"GET", "/d;x/index.html", "", "", 404, "", "a parameter belongs to the name"},
		{"GET", "/..;/d/index.html", "", "", 404, "", "also behind dots"},
		{"GET", "/./d/%2e/index.html", "", "", 200, "index", "dot segments go before all else"},
		{"GET", "/d%2F", "", "", 404, "", "an escaped slash ends no directory"},
		{"GET", "/a.txt%00.html", "", "", 400, "", "a NUL"},
		{"GET", "/a.txt/../.hidden", "", "", 404, "", "a dotfile, by a detour"},
		{"GET", "/%252e%252e/a.txt", "", "", 404, "", "encoded twice"},
		{"GET", "/..%5ca.txt", "", "", 404, "", "a backslash"},
		{"GET", "/%c0%ae%c0%ae/a.txt", "", "", 404, "", "overlong UTF-8"},
		{"GET", "/d", "", "", 301, "", "to the slash"},
		{"GET", "/d/", "", "", 200, "index", "the index"},
		{"GET", "/a.txt/", "", "", 404, "", "no directory"},
		{"GET", "/a.txt", "If-None-Match", etag, 304, "", "unchanged"},
		{"GET", "/a.txt", "If-Match", `"other"`, 412, "", "another"},
		{"GET", "/a.txt", "Range", "bytes=2-3", 206, "23", "a range"},
		{"GET", "/a.txt", "Range", "bytes=0-1,1-3", 206, "0123", "ranges that overlap are one"},
		{"GET", "/a.txt", "Range", "bytes=10-", 416, "", "beyond the end"},
		{"GET", "/a.txt", "Range", "bytes=3-2", 200, "0123456789", "no range"},
	} {
		w := ask(c.method, c.target, c.header, c.value)
		require.Equal(t, c.status, w.Code, "%s %s: %s", c.method, c.target, c.why)
		if c.status < 400 {
			require.Equal(t, c.body, w.Body.String(), c.why)
		}
		require.NotContains(t, w.Body.String(), "secret", c.why)
	}
	require.Equal(t, "bytes */10", ask("GET", "/a.txt", "Range", "bytes=10-").Header().Get("Content-Range"))
	require.Equal(t, http.StatusNotFound, ask("GET", "/absent").Code)
	require.NotZero(t, s.Stats().Hits)
}
