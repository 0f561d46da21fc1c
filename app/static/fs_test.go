package static

import (
	"archive/zip"
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

//go:embed static.go types.go
var source embed.FS

const large = 3 << 20

// served is a Site of fsys that keeps files of up to 1 KiB in memory, and how to ask it.
func served(t *testing.T, fsys fs.FS) (ask func(method, target string, headers ...string) *httptest.ResponseRecorder) {
	s, err := New(Options{FS: fsys, FileCachedMax: 1 << 10, Precompressed: true, List: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler), Files: s})
	t.Cleanup(a.Close)
	a.Handle("", "/{path...}", s.Serve)
	a.Handle("", "/report", func(c *app.Context) error {
		c.SetHeader("Content-Disposition", "attachment")
		return c.File(c.Query("name"))
	})
	return func(method, target string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, nil)
		for i := 0; i+1 < len(headers) && headers[i] != ""; i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w
	}
}

func TestServeFS(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789", large/10+1)[:large]
	modified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ask := served(t, fstest.MapFS{
		"a.txt": {Data: []byte("0123456789")}, "dated.txt": {Data: []byte("x"), ModTime: modified}, ".hidden": {Data: []byte("secret")},
		"big.bin": {Data: []byte(big)}, "big.dated": {Data: []byte(big), ModTime: modified},
		"d/index.html": {Data: []byte("index")}, "list/one": {Data: []byte("1")},
		"style.css": {Data: []byte("plain")}, "style.css.gz": {Data: []byte("packed")},
	})
	for _, c := range []struct {
		why, method, target, headers string
		status                       int
		body                         string
	}{
		{"a file", "GET", "/a.txt", "", 200, "0123456789"},
		{"its head", "HEAD", "/a.txt", "", 200, ""},
		{"a range", "GET", "/a.txt", "Range: bytes=2-3", 206, "23"},
		{"a large file, in pieces", "GET", "/big.bin", "", 200, big},
		{"a range of it", "GET", "/big.bin", "Range: bytes=3000000-3000003", 206, big[3000000:3000004]},
		{"ranges of it", "GET", "/big.bin", "Range: bytes=0-1,3000000-", 206, big[3000000:]},
		{"no range", "GET", "/big.bin", "Range: bytes=4000000-", 416, ""},
		{"the index", "GET", "/d/", "", 200, "index"},
		{"to the slash", "GET", "/d", "", 301, ""},
		{"a listing", "GET", "/list/", "", 200, "./one"},
		{"a coded variant", "GET", "/style.css", "Accept-Encoding: gzip", 200, "packed"},
		{"a date", "GET", "/dated.txt", "If-Modified-Since: Fri, 02 Jan 2026 03:04:05 GMT", 304, ""},
		{"a file without a date ignores one", "GET", "/a.txt", "If-Modified-Since: Fri, 02 Jan 2026 03:04:05 GMT", 200, "0123456789"},
		{"a dotfile", "GET", "/.hidden", "", 404, ""},
		{"out of it", "GET", "/..%5ca.txt", "", 404, ""},
		{"absent", "GET", "/b.txt", "", 404, ""},
		{"nothing is written", "POST", "/a.txt", "", 405, ""},
		{"by a handler", "GET", "/report?name=a.txt", "", 200, "0123456789"},
		{"by a handler, a range", "GET", "/report?name=big.bin", "Range: bytes=0-3", 206, "0123"},
		{"by a handler, a name that leads out", "GET", "/report?name=../a.txt", "", 404, ""},
		{"by a handler, a rooted name", "GET", "/report?name=/a.txt", "", 404, ""},
		{"by a handler, a directory: not a redirect, which would lead elsewhere", "GET", "/report?name=d", "", 404, ""},
		{"by a handler, a dotfile", "GET", "/report?name=.hidden", "", 404, ""},
	} {
		name, value, _ := strings.Cut(c.headers, ": ")
		w := ask(c.method, c.target, name, value)
		require.Equal(t, c.status, w.Code, c.why)
		if c.status < 300 {
			require.Contains(t, w.Body.String(), c.body, c.why)
		}
		require.Equal(t, strings.HasPrefix(c.target, "/report"), w.Header().Get("Content-Disposition") != "", c.why)
	}
}

// Entity tags of files without a date are those of the content: equal in every build that has the same content, and in none that has not.
func TestTagsOfFS(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tag := func(content string, modified time.Time) string {
		ask := served(t, fstest.MapFS{"f": {Data: []byte(content), ModTime: modified}})
		first := ask("GET", "/f").Header().Get("ETag")
		require.NotEmpty(t, first)
		require.Equal(t, 304, ask("GET", "/f", "If-None-Match", first).Code)
		return first
	}
	a, b := strings.Repeat("a", 5000), strings.Repeat("b", 5000)
	for _, c := range []struct {
		why, x, y string
		same      bool
	}{
		{"small, of one content", tag("a", time.Time{}), tag("a", time.Time{}), true},
		{"small, of two", tag("a", time.Time{}), tag("b", time.Time{}), false},
		{"large, of one content", tag(a, time.Time{}), tag(a, time.Time{}), true},
		{"large, of two with the same size", tag(a, time.Time{}), tag(b, time.Time{}), false},
		{"large, with two dates", tag(a, at), tag(a, at.Add(time.Second)), false},
	} {
		require.Equal(t, c.same, c.x == c.y, c.why)
	}
}

func TestKindsOfFS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/f.go", bytes.Repeat([]byte("x"), large), 0o644))
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for name, n := range map[string]int{"small": 10, "big": 5000} {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = w.Write(bytes.Repeat([]byte("z"), n))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	zipped, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	require.NoError(t, err)
	content, err := source.ReadFile("static.go")
	require.NoError(t, err)
	for _, c := range []struct {
		why    string
		fsys   fs.FS
		name   string
		status int
		bytes  int
	}{
		{"embedded files", source, "static.go", 200, len(content)},
		{"a directory as a file system", os.DirFS(dir), "f.go", 200, large},
		{"a small file of an archive", zipped, "small", 200, 10},
		{"a large one, of which parts cannot be read", zipped, "big", 500, 0},
	} {
		ask := served(t, c.fsys)
		for range 2 {
			w := ask("GET", "/"+c.name)
			require.Equal(t, c.status, w.Code, c.why)
			if c.status == 200 {
				require.Equal(t, c.bytes, w.Body.Len(), c.why)
				require.Equal(t, "bytes 1-2/"+fmt.Sprint(c.bytes), ask("GET", "/"+c.name, "Range", "bytes=1-2").Header().Get("Content-Range"), c.why)
			}
		}
	}
	_, err = New(Options{})
	require.ErrorContains(t, err, "either")
	_, err = New(Options{FS: source, Dir: dir})
	require.ErrorContains(t, err, "either")
}

// A program with its files in the binary.
func Example() {
	site, err := New(Options{FS: source})
	if err != nil {
		fmt.Println(err)
		return
	}
	a := app.New(app.Options{Files: site})
	defer a.Close()
	a.Get("/source/{path...}", site.Serve)
	a.Get("/types", func(c *app.Context) error { return c.File("types.go") })
	for _, target := range []string{"/source/types.go", "/types", "/source/absent"} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("HEAD", target, nil))
		fmt.Println(w.Code, w.Header().Get("Accept-Ranges"))
	}
	// Output:
	// 200 bytes
	// 200 bytes
	// 404
}
