package static

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/app"
	"tafe/httpparse"
	"tafe/loop/testrig"
)

func TestMain(m *testing.M) {
	// gnet's worker pool is a package variable and lives as long as the process.
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		// An App's pool ends when the garbage collector finds the App.
		goleak.IgnoreAnyFunction("tafe/loop.(*Pool).work"))
}

var quiet = slog.New(slog.DiscardHandler)

// listening serves a Site on real sockets.
func listening(t testing.TB, o Options) (*Site, string) {
	s, err := New(o)
	require.NoError(t, err)
	a := app.New(app.Options{Log: quiet, Limits: httpparse.Limits{BodyBytesMax: 1 << 30}})
	a.Handle("", "/{path...}", s.Serve)
	server, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 2})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, server.Stop(ctx))
		require.NoError(t, s.Close())
	})
	return s, "http://" + server.Addr().String()
}

var written = time.Date(2020, 2, 2, 20, 20, 20, 0, time.UTC)

func writeFile(t testing.TB, name string, content []byte) {
	require.NoError(t, os.WriteFile(name, content, 0o644))
	require.NoError(t, os.Chtimes(name, written, written))
}

func fetch(t testing.TB, method, url string, header http.Header) (*http.Response, string) {
	req, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	req.Header = header
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	_ = resp.Body.Close()
	return resp, string(body)
}

const date = "Sun, 02 Feb 2020 20:20:20 GMT"

// asked are requests sent to this server, net/http's and nginx, with their own tag in place of ETAG.
var asked = []struct {
	name, method, target string
	header               [2]string
	// divergent names the servers that respond differently, and why.
	divergent string
}{
	{"whole", "GET", "/ten.txt", [2]string{}, ""},
	{"head", "HEAD", "/ten.txt", [2]string{}, ""},
	{"absent", "GET", "/absent", [2]string{}, ""},
	{"same tag", "GET", "/ten.txt", [2]string{"If-None-Match", "ETAG"}, ""},
	{"weak tag", "GET", "/ten.txt", [2]string{"If-None-Match", "W/ETAG"}, ""},
	{"tags", "GET", "/ten.txt", [2]string{"If-None-Match", `"x", ETAG`}, ""},
	{"any tag", "GET", "/ten.txt", [2]string{"If-None-Match", "*"}, ""},
	{"other tag", "GET", "/ten.txt", [2]string{"If-None-Match", `"x"`}, ""},
	{"not since", "GET", "/ten.txt", [2]string{"If-Modified-Since", date}, ""},
	{"since later", "GET", "/ten.txt", [2]string{"If-Modified-Since", "Sun, 02 Feb 2020 20:20:21 GMT"}, "nginx: compares dates exactly by default"},
	{"since", "GET", "/ten.txt", [2]string{"If-Modified-Since", "Sun, 02 Feb 2020 20:20:19 GMT"}, ""},
	{"no date", "GET", "/ten.txt", [2]string{"If-Modified-Since", "yesterday"}, ""},
	{"must match", "GET", "/ten.txt", [2]string{"If-Match", "ETAG"}, ""},
	{"must match weakly", "GET", "/ten.txt", [2]string{"If-Match", "W/ETAG"}, ""},
	{"must match another", "GET", "/ten.txt", [2]string{"If-Match", `"x"`}, ""},
	{"must be unmodified", "GET", "/ten.txt", [2]string{"If-Unmodified-Since", "Sun, 02 Feb 2020 20:20:19 GMT"}, ""},
	{"range", "GET", "/ten.txt", [2]string{"Range", "bytes=2-4"}, ""},
	{"open range", "GET", "/ten.txt", [2]string{"Range", "bytes=7-"}, ""},
	{"suffix", "GET", "/ten.txt", [2]string{"Range", "bytes=-3"}, ""},
	{"long suffix", "GET", "/ten.txt", [2]string{"Range", "bytes=-30"}, ""},
	{"beyond", "GET", "/ten.txt", [2]string{"Range", "bytes=10-"}, ""},
	{"to beyond", "GET", "/ten.txt", [2]string{"Range", "bytes=8-99"}, ""},
	{"backward", "GET", "/ten.txt", [2]string{"Range", "bytes=4-2"}, "nginx, net/http: a range that is none does not count (RFC 9110 section 14.2); both answer 416"},
	{"no unit", "GET", "/ten.txt", [2]string{"Range", "lines=1-2"}, "net/http: a unit that is not known does not count, and it answers 416"},
	{"range of a large one", "GET", "/large.bin", [2]string{"Range", "bytes=1000000-1000009"}, ""},
	{"whole of a large one", "GET", "/large.bin", [2]string{}, ""},
	{"directory", "GET", "/dir", [2]string{}, ""},
	{"index", "GET", "/dir/", [2]string{}, ""},
}

func compareWith(t *testing.T, peer, ours, theirs string) {
	tag := func(url string) string {
		resp, _ := fetch(t, "GET", url, nil)
		return resp.Header.Get("ETag")
	}
	for _, c := range asked {
		type answer struct {
			status               int
			body, length, ranges string
		}
		ask := func(base string) answer {
			h := http.Header{}
			if c.header[0] != "" {
				value := strings.ReplaceAll(c.header[1], "ETAG", tag(base+c.target))
				if strings.Contains(c.header[1], "ETAG") && tag(base+c.target) == "" {
					return answer{}
				}
				h.Set(c.header[0], value)
			}
			resp, body := fetch(t, c.method, base+c.target, h)
			a := answer{status: resp.StatusCode, ranges: resp.Header.Get("Content-Range")}
			if a.status < 300 {
				a.body, a.length = body, resp.Header.Get("Content-Length")
			}
			return a
		}
		their := ask(theirs)
		if their == (answer{}) {
			continue // net/http makes no tags of its own
		}
		if peers, _, _ := strings.Cut(c.divergent, ":"); strings.Contains(peers, peer) {
			require.NotEqual(t, their, ask(ours), "%s: %v: they agree: %s", c.name, c.header, c.divergent)
			continue
		}
		require.Equal(t, their, ask(ours), "%s: %v", c.name, c.header)
	}
}

func sample(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	writeFile(t, filepath.Join(dir, "ten.txt"), []byte("0123456789"))
	writeFile(t, filepath.Join(dir, "large.bin"), bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
	writeFile(t, filepath.Join(dir, "dir", "index.html"), []byte("index"))
	return dir
}

func TestAsNetHTTP(t *testing.T) {
	dir := sample(t)
	_, ours := listening(t, Options{Dir: dir})
	theirs := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer theirs.Close()
	compareWith(t, "net/http", ours, theirs.URL)
	http.DefaultClient.CloseIdleConnections()
}

func TestAsNginx(t *testing.T) {
	path := testrig.Program(t, "nginx")
	dir, work := sample(t), t.TempDir()
	require.NoError(t, os.Chmod(work, 0o755))
	addr := "127.0.0.1:" + testrig.Port(t)
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log /dev/null;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; root %[3]s; index index.html; }
}`, work, addr, dir)
	file := filepath.Join(work, "nginx.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o644))
	cmd := exec.Command(path, "-p", work, "-c", file, "-e", "/dev/null")
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 20*time.Second, 5*time.Millisecond)
	_, ours := listening(t, Options{Dir: dir})
	compareWith(t, "nginx", ours, "http://"+addr)
	http.DefaultClient.CloseIdleConnections()
}

func TestSeveralRanges(t *testing.T) {
	_, ours := listening(t, Options{Dir: sample(t)})
	for _, c := range []struct {
		target, ranges string
		pieces         []string
	}{
		{"/ten.txt", "bytes=0-1,4-5,-1", []string{"bytes 0-1/10", "01", "bytes 4-5/10", "45", "bytes 9-9/10", "9"}},
		{"/large.bin", "bytes=0-3,1048576-1048579", []string{"bytes 0-3/3145728", "0123", "bytes 1048576-1048579/3145728", "0123"}},
	} {
		resp, body := fetch(t, "GET", ours+c.target, http.Header{"Range": {c.ranges}})
		require.Equal(t, 206, resp.StatusCode)
		require.Contains(t, resp.Header.Get("Content-Type"), "multipart/byteranges; boundary=")
		require.EqualValues(t, len(body), resp.ContentLength)
		for _, p := range c.pieces {
			i := strings.Index(body, p)
			require.GreaterOrEqual(t, i, 0, "%s in %s", p, body)
			body = body[i+len(p):]
		}
	}
	resp, _ := fetch(t, "GET", ours+"/ten.txt", http.Header{"Range": {"bytes=" + strings.Repeat("0-0,", 17) + "0-0"}})
	require.Equal(t, 200, resp.StatusCode, "more than anybody needs")
	http.DefaultClient.CloseIdleConnections()
}

func TestSiblings(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"a.js": "0123456789", "a.js.gz": "gz", "a.js.br": "b", "b.js": "01", "b.js.gz": "gz"} {
		writeFile(t, filepath.Join(dir, name), []byte(content))
	}
	require.NoError(t, os.Chtimes(filepath.Join(dir, "b.js.gz"), written.Add(-time.Hour), written.Add(-time.Hour)))
	_, ours := listening(t, Options{Dir: dir, Precompressed: true})
	for _, c := range []struct{ target, accept, coding, body, why string }{
		{"/a.js", "gzip, br", "br", "b", "the smaller of two equals"},
		{"/a.js", "gzip, br;q=0.5", "gzip", "gz", "the client's preference"},
		{"/a.js", "*", "br", "b", "whatever"},
		{"/a.js", "br;q=0, gzip;q=0", "", "0123456789", "refused"},
		{"/a.js", "identity", "", "0123456789", ""},
		{"/b.js", "gzip", "", "01", "a sibling older than its file was made of another"},
	} {
		resp, body := fetch(t, "GET", ours+c.target, http.Header{"Accept-Encoding": {c.accept}})
		require.Equal(t, c.coding, resp.Header.Get("Content-Encoding"), "%s: %s", c.accept, c.why)
		require.Equal(t, c.body, body)
		require.Equal(t, c.target == "/a.js", resp.Header.Get("Vary") == "Accept-Encoding")
		require.Contains(t, resp.Header.Get("Content-Type"), "javascript")
	}
	http.DefaultClient.CloseIdleConnections()
}

// A cached file is served without revalidation for CheckInterval; then a replacement is detected.
func TestReplacedFiles(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.txt")
	writeFile(t, name, []byte("old"))
	s, ours := listening(t, Options{Dir: dir, CheckInterval: time.Millisecond})
	_, body := fetch(t, "GET", ours+"/a.txt", nil)
	require.Equal(t, "old", body)
	require.NoError(t, os.WriteFile(name+".new", []byte("new"), 0o644))
	require.NoError(t, os.Rename(name+".new", name))
	require.Eventually(t, func() bool { _, body := fetch(t, "GET", ours+"/a.txt", nil); return body == "new" }, 20*time.Second, time.Millisecond)
	require.NoError(t, os.Remove(name))
	require.Eventually(t, func() bool { resp, _ := fetch(t, "GET", ours+"/a.txt", nil); return resp.StatusCode == 404 }, 20*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return s.Stats().Files == 0 }, 20*time.Second, time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
}

func TestListing(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, `<b>&"'.txt`), nil)
	writeFile(t, filepath.Join(dir, ".hidden"), nil)
	_, off := listening(t, Options{Dir: dir})
	resp, _ := fetch(t, "GET", off+"/", nil)
	require.Equal(t, 404, resp.StatusCode, "off by default")
	_, on := listening(t, Options{Dir: dir, List: true})
	resp, body := fetch(t, "GET", on+"/", nil)
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, body, `<a href="./%3Cb%3E%26%22%27.txt">&lt;b&gt;&amp;&#34;&#39;.txt</a>`)
	require.NotContains(t, body, "hidden")
	http.DefaultClient.CloseIdleConnections()
}

func FuzzRanges(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-1", "bytes=1-", "bytes=0-1,2-3", "bytes=5-4", "lines=1", "bytes=,,1-2,", "bytes=99999999999999999999-", "bytes=-0"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		spans, _ := parseRanges(header, size, 16, nil)
		total := int64(0)
		for i, s := range spans {
			if s.start < 0 || s.end <= s.start || s.end > size {
				t.Fatalf("%q of %d: %v", header, size, s)
			}
			for _, o := range spans[:i] {
				if s.start <= o.end && o.start <= s.end {
					t.Fatalf("%q of %d: %v and %v overlap", header, size, s, o)
				}
			}
			total += s.end - s.start
		}
		if total > size {
			t.Fatalf("%q of %d: %d bytes", header, size, total)
		}
	})
}
