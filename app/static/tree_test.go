package static

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

// asking serves a Site without sockets.
func asking(t *testing.T, o Options) (*Site, func(target string, headers ...string) *httptest.ResponseRecorder) {
	s, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	a := app.New(app.Options{Log: quiet})
	a.Handle("", "/{path...}", s.Serve)
	return s, func(target string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", target, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w
	}
}

// The directory is the one at the path now, not the one at the start.
func TestANewReleaseIsServed(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	release := func(name, content string, files ...string) {
		require.NoError(t, os.Mkdir(filepath.Join(base, name), 0o755))
		for _, f := range append(files, "index.html") {
			writeFile(t, filepath.Join(base, name, f), []byte(content)) // all of one time and size
		}
	}
	current := filepath.Join(base, "current")
	link := func(name string) {
		require.NoError(t, os.Symlink(name, current+".new"))
		require.NoError(t, os.Rename(current+".new", current))
	}
	release("one", "release 1", "old.txt")
	release("two", "release 2", "new.txt")
	link("one")
	for _, interval := range []time.Duration{time.Nanosecond, time.Hour} {
		s, ask := asking(t, Options{Dir: current, CheckInterval: interval})
		for _, c := range []struct {
			why        string
			swap       func()
			old, index string
			new        int
		}{
			{"the first release", func() {}, "release 1", "release 1", 404},
			{"another one", func() { link("two") }, "", "release 2", 200},
			{"back again", func() { link("one") }, "release 1", "release 1", 404},
			{"a link that leads nowhere leaves things as they are", func() { link("none") }, "release 1", "release 1", 404},
			{"another one after that", func() { link("two") }, "", "release 2", 200},
			{"the first one, for what comes next", func() { link("one") }, "release 1", "release 1", 404},
		} {
			c.swap()
			if interval == time.Hour { // else the next request finds out by itself
				s.Refresh()
			}
			w := ask("/")
			require.Equal(t, 200, w.Code, c.why)
			require.Equal(t, c.index, w.Body.String(), c.why)
			require.Equal(t, c.new, ask("/new.txt").Code, c.why)
			if w = ask("/old.txt"); c.old != "" {
				require.Equal(t, c.old, w.Body.String(), c.why)
			} else {
				require.Equal(t, 404, w.Code, c.why)
			}
		}
	}

	_, ask := asking(t, Options{Dir: filepath.Join(base, "one"), CheckInterval: time.Nanosecond})
	require.Equal(t, "release 1", ask("/").Body.String())
	require.NoError(t, os.Rename(filepath.Join(base, "one"), filepath.Join(base, "gone")))
	require.NoError(t, os.Rename(filepath.Join(base, "two"), filepath.Join(base, "one")))
	require.Equal(t, "release 2", ask("/").Body.String(), "a directory that was renamed into place")
}

// A replaced file has a new validator, whatever its modification time and size.
func TestValidatorsRestOnNoTimeThatCanBeSet(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 300 << 10, 2 << 20} { // in memory, read, sent by the kernel
		for _, replace := range []string{"rename", "in place"} {
			dir := t.TempDir()
			name := filepath.Join(dir, "a.txt")
			writeFile(t, name, []byte(strings.Repeat("1", size)))
			_, ask := asking(t, Options{Dir: dir, CheckInterval: time.Nanosecond})
			first := ask("/a.txt").Header().Get("ETag")
			require.Equal(t, 304, ask("/a.txt", "If-None-Match", first).Code)
			into := name
			if replace == "rename" {
				into += ".new"
			}
			before, err := os.Stat(name)
			require.NoError(t, err)
			for after := before; changeTime(after) == changeTime(before); { // a file system's clock may have ticks of some ms
				writeFile(t, into, []byte(strings.Repeat("2", size))) // and the same time
				after, err = os.Stat(into)
				require.NoError(t, err)
			}
			require.NoError(t, os.Rename(into, name))
			w := ask("/a.txt", "If-None-Match", first)
			require.Equal(t, 200, w.Code, "%d bytes, %s", size, replace)
			require.Equal(t, strings.Repeat("2", size), w.Body.String(), "%d bytes, %s", size, replace)
			require.NotEqual(t, first, w.Header().Get("ETag"))
			w = ask("/a.txt", "Range", "bytes=0-1", "If-Range", first)
			require.Equal(t, 200, w.Code, "%d bytes, %s: a part of the old one must not be completed by the new one", size, replace)
		}
	}
}

func TestTimesThatSayNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, ask := asking(t, Options{Dir: dir, CheckInterval: time.Nanosecond})
	for i, c := range []struct {
		time  time.Time
		dated bool
		why   string
	}{
		{written, true, "a time"},
		{time.Unix(0, 0), false, "the beginning of time"},
		{time.Unix(-1000, 0), false, "before it"},
		{time.Unix(1, 0), false, "what some build tools write"},
		{time.Now().Add(24 * time.Hour), false, "the future"},
	} {
		name := string(rune('a'+i)) + ".txt"
		writeFile(t, filepath.Join(dir, name), []byte("0123456789"))
		require.NoError(t, os.Chtimes(filepath.Join(dir, name), c.time, c.time))
		w := ask("/" + name)
		date := c.time.UTC().Format(http.TimeFormat)
		if c.dated {
			require.Equal(t, date, w.Header().Get("Last-Modified"), c.why)
		} else {
			require.Empty(t, w.Header().Values("Last-Modified"), c.why)
		}
		want := map[bool]int{true: 304, false: 200}[c.dated]
		require.Equal(t, want, ask("/"+name, "If-Modified-Since", date).Code, c.why)
		require.Equal(t, want, ask("/"+name, "If-Modified-Since", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat)).Code, c.why)
		want = map[bool]int{true: 412, false: 200}[c.dated]
		require.Equal(t, want, ask("/"+name, "If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT").Code, c.why)
		want = map[bool]int{true: 206, false: 200}[c.dated]
		require.Equal(t, want, ask("/"+name, "Range", "bytes=0-1", "If-Range", date).Code, c.why)
		require.Equal(t, 304, ask("/"+name, "If-None-Match", w.Header().Get("ETag")).Code, "%s: the tag says enough", c.why)
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, ask := asking(t, Options{Dir: dir, Types: map[string]string{".foo": "text/x-foo", ".MD": "text/plain"}})
	_, other := asking(t, Options{Dir: dir, DefaultType: "text/plain; charset=utf-8"})
	for name, want := range map[string]string{
		"a.html": "text/html; charset=utf-8", "a.css": "text/css; charset=utf-8", "a.js": "text/javascript; charset=utf-8",
		"a.mjs": "text/javascript; charset=utf-8", "a.json": "application/json", "a.txt": "text/plain; charset=utf-8",
		"a.webmanifest": "application/manifest+json", "a.wasm": "application/wasm", "a.woff2": "font/woff2", "a.ttf": "font/ttf",
		"a.webm": "video/webm", "a.svg": "image/svg+xml; charset=utf-8", "a.avif": "image/avif", "a.ico": "image/vnd.microsoft.icon",
		"a.xml": "text/xml; charset=utf-8", "a.PNG": "image/png", "a.pdf": "application/pdf", "a.tar.gz": "application/gzip",
		"a.foo": "text/x-foo", "a.FOO": "text/x-foo", "a.md": "text/plain", "b.unheard": "application/octet-stream", "LICENSE": "application/octet-stream",
	} {
		writeFile(t, filepath.Join(dir, name), []byte("x"))
		require.Equal(t, want, ask("/"+name).Header().Get("Content-Type"), name)
	}
	require.Equal(t, "text/plain; charset=utf-8", other("/LICENSE").Header().Get("Content-Type"))
	require.Equal(t, "text/markdown; charset=utf-8", other("/a.md").Header().Get("Content-Type"))
	for extension, want := range types {
		require.Equal(t, strings.ToLower(extension), extension)
		require.True(t, validType(want), extension)
	}
	for _, o := range []Options{
		{Types: map[string]string{"foo": "text/plain"}}, {Types: map[string]string{".": "text/plain"}}, {Types: map[string]string{".a.b": "text/plain"}},
		{Types: map[string]string{".foo": "text"}}, {Types: map[string]string{".foo": "text/a\nb"}}, {DefaultType: "none"},
	} {
		o.Dir = dir
		_, err := New(o)
		require.Error(t, err, "%v", o)
	}
}
