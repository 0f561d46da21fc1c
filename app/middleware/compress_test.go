package middleware

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/httpparse"
)

// plain undoes a coding.
func plain(t testing.TB, coding string, r io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case "gzip":
		r, err := gzip.NewReader(r)
		require.NoError(t, err)
		return r
	case "br":
		return brotli.NewReader(r)
	case "zstd":
		r, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		require.NoError(t, err)
		return r.IOReadCloser()
	}
	require.Empty(t, coding)
	return r
}

// prose is text that compresses, of n bytes, and differs from that of other seeds.
func prose(n, seed int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of %d: the quick brown fox jumps over %d lazy dogs\n", i, seed, i*i*seed)
	}
	return b.String()[:n]
}

func compressApp(o CompressOptions) *app.App {
	a := app.New(app.Options{Log: quiet})
	a.Use(Compress(o))
	size := func(c *app.Context) int {
		n, _ := strconv.Atoi(c.Query("n"))
		return n
	}
	a.Get("/text", func(c *app.Context) error {
		for _, name := range []string{"ETag", "Cache-Control", "Content-Encoding", "Content-Type", "Vary", "Accept-Ranges"} {
			if v := c.Query(name); v != "" {
				c.SetHeader(name, v)
			}
		}
		return c.String(200, prose(size(c), 1))
	})
	a.Get("/stream", func(c *app.Context) error {
		s := c.Stream(200, "application/json; charset=utf-8")
		text := prose(size(c), 2)
		for at, step := 0, 1; at < len(text); at, step = min(at+step, len(text)), step*3 {
			if _, err := io.WriteString(s, text[at:min(at+step, len(text))]); err != nil {
				return err
			}
			if err := s.Flush(); err != nil {
				return err
			}
		}
		return nil
	})
	a.Get("/fails", func(*app.Context) error { return app.Error(500, prose(5000, 3)) })
	return a
}

func TestCompress(t *testing.T) {
	addr := "http://" + serve(t, compressApp(CompressOptions{Types: []string{"application/x-own"}}))
	for _, c := range []struct {
		target, accept, coding string
		headers                []string // "Name: value" that must be there; "Name:" that must not
		why                    string
	}{
		{"/text?n=5000", "gzip", "gzip", []string{"Vary: Accept-Encoding", "Content-Type: text/plain; charset=utf-8"}, "a short one, on the loop"},
		{"/text?n=5000", "br", "br", nil, ""},
		{"/text?n=5000", "zstd", "zstd", nil, ""},
		{"/text?n=3000000", "gzip", "gzip", nil, "a long one, beside it"},
		{"/text?n=3000000", "br", "br", nil, ""},
		{"/text?n=3000000", "zstd", "zstd", nil, ""},
		{"/text?n=5000", "gzip, deflate, br, zstd", "zstd", nil, "a browser: the first of ours among equals"},
		{"/text?n=5000", "zstd;q=0.5, br;q=0.9, gzip;q=0.1", "br", nil, "the client's preference"},
		{"/text?n=5000", "deflate", "", []string{"Vary: Accept-Encoding"}, "none that we know; caches must still tell clients apart"},
		{"/text?n=5000", "identity, gzip;q=0.5", "", nil, "as it is, if you please"},
		{"/text?n=5000", "gzip;q=0", "", nil, "refused"},
		{"/text?n=1023", "gzip", "", []string{"Vary:"}, "too short"},
		{"/text?n=1024", "gzip", "gzip", nil, "just long enough"},
		{"/text?n=5000&Content-Type=image/png", "gzip", "", nil, "does not compress"},
		{"/text?n=5000&Content-Type=text/event-stream", "gzip", "", nil, "is not for compression"},
		{"/text?n=5000&Content-Type=application/x-own", "gzip", "gzip", nil, "one that was named"},
		{"/text?n=5000&Content-Type=Image/SVG%2bXML;a=b", "gzip", "gzip", nil, "in any case, with parameters"},
		{"/text?n=5000&Content-Encoding=br", "gzip", "br!", nil, "what is coded already"},
		{"/text?n=5000&Cache-Control=public,+No-Transform", "gzip", "", nil, "no-transform"},
		{"/text?n=5000&ETag=%22x%22&Accept-Ranges=bytes", "gzip", "gzip", []string{`Etag: W/"x"`, "Accept-Ranges:"}, "of other bytes"},
		{"/text?n=5000&ETag=W/%22x%22", "gzip", "gzip", []string{`Etag: W/"x"`}, "a weak tag stays"},
		{"/text?n=5000&ETag=%22x%22", "identity", "", []string{`Etag: "x"`}, "untouched"},
		{"/text?n=5000&Vary=Origin,+accept-encoding", "gzip", "gzip", []string{"Vary: Origin, accept-encoding"}, "said already"},
		{"/stream?n=200000", "gzip", "gzip", nil, "pieces of growing sizes, each flushed"},
		{"/stream?n=200000", "br", "br", nil, ""},
		{"/stream?n=200000", "zstd", "zstd", nil, ""},
		{"/stream?n=200000", "identity", "", nil, ""},
		{"/fails", "gzip", "", []string{"Content-Encoding:"}, "a failure"},
	} {
		req, err := http.NewRequest("GET", addr+c.target, nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", c.accept)
		resp, err := http.DefaultTransport.RoundTrip(req) // which leaves bodies alone where it did not ask itself
		require.NoError(t, err)
		raw, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		what := c.target + " for " + c.accept + ": " + c.why
		coding, opaque := strings.CutSuffix(c.coding, "!")
		require.Equal(t, coding, resp.Header.Get("Content-Encoding"), what)
		for _, h := range c.headers {
			name, value, _ := strings.Cut(h, ":")
			require.Equal(t, strings.TrimSpace(value), strings.Join(resp.Header.Values(name), ", "), what)
		}
		if opaque || c.target == "/fails" {
			continue
		}
		body, err := io.ReadAll(plain(t, coding, bytes.NewReader(raw)))
		require.NoError(t, err, what)
		var n, seed = 0, 1
		if strings.HasPrefix(c.target, "/stream") {
			seed = 2
		}
		_, err = fmt.Sscanf(c.target[strings.Index(c.target, "n="):], "n=%d", &n)
		require.NoError(t, err)
		require.Equal(t, prose(n, seed), string(body), what)
		if coding != "" && strings.HasPrefix(c.target, "/text") {
			require.Less(t, 2*len(raw), n, what)
			require.EqualValues(t, len(raw), resp.ContentLength, "%s: a whole answer has a length", what)
		}
	}
	mustPanic(t, "unknown coding", "deflate", func() { Compress(CompressOptions{Codings: []string{"deflate"}}) })
}

// A client can read flushed data before the rest is written.
func TestCompressFlushes(t *testing.T) {
	for _, coding := range []string{"gzip", "br", "zstd"} {
		a := app.New(app.Options{Log: quiet})
		a.Use(Compress(CompressOptions{}))
		more := make(chan struct{})
		a.Get("/", func(c *app.Context) error {
			s := c.Stream(200, "text/plain")
			if _, err := io.WriteString(s, "first\n"); err != nil {
				return err
			}
			if err := s.Flush(); err != nil {
				return err
			}
			_, err := app.Offload(c, func() (struct{}, error) { <-more; return struct{}{}, nil })
			_, _ = io.WriteString(s, "second\n")
			return err
		})
		req, err := http.NewRequest("GET", "http://"+serve(t, a)+"/", nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", coding)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		r := plain(t, resp.Header.Get("Content-Encoding"), resp.Body)
		first := make([]byte, len("first\n"))
		_, err = io.ReadFull(r, first)
		require.NoError(t, err, coding)
		require.Equal(t, "first\n", string(first))
		close(more)
		rest, err := io.ReadAll(r)
		require.NoError(t, err, coding)
		require.Equal(t, "second\n", string(rest))
		_ = resp.Body.Close()
	}
}

// Encoders go from answer to answer and from loop to loop: none must carry anything over. Some clients leave in the middle.
func TestCompressKeepsAnswersApart(t *testing.T) {
	a := app.New(app.Options{Log: quiet})
	a.Use(Compress(CompressOptions{BytesMin: 1}))
	a.Get("/{n}/{seed}", func(c *app.Context) error {
		n, _ := strconv.Atoi(c.Param("n"))
		seed, _ := strconv.Atoi(c.Param("seed"))
		return c.String(200, prose(n, seed))
	})
	addr := serve(t, a)
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() {
			for j := range 40 {
				n, seed := 1+(i*7919+j*104729)%60_000, i*100+j
				request := fmt.Sprintf("GET /%d/%d\nAccept-Encoding: %s", n, seed, []string{"gzip", "br", "zstd"}[j%3])
				if j%8 == 7 {
					_ = begin(t, addr, request).Close()
					continue
				}
				resp, body := ask(t, addr, request)
				got, err := io.ReadAll(plain(t, resp.Header.Get("Content-Encoding"), strings.NewReader(body)))
				if err != nil || string(got) != prose(n, seed) {
					t.Errorf("%s: %v, %d bytes", request, err, len(got))
				}
			}
		})
	}
	clients.Wait()
}

// Files that the kernel sends are left to it; smaller ones are compressed.
func TestCompressMountedFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "small.txt"), []byte(prose(20_000, 4)), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large.txt"), []byte(prose(3<<20, 5)), 0o600))
	a := app.New(app.Options{Log: quiet})
	a.Use(Compress(CompressOptions{}))
	a.Handle("", "/{path...}", app.Mount(http.FileServer(http.Dir(dir))))
	addr := serve(t, a)
	for name, want := range map[string]string{"small.txt": prose(20_000, 4), "large.txt": prose(3<<20, 5)} {
		resp, body := ask(t, addr, "GET /"+name+"\nAccept-Encoding: gzip")
		got, err := io.ReadAll(plain(t, resp.Header.Get("Content-Encoding"), strings.NewReader(body)))
		require.NoError(t, err)
		require.True(t, want == string(got), name)
		resp, body = ask(t, addr, "GET /"+name+"\nAccept-Encoding: gzip\nRange: bytes=5-9")
		require.Equal(t, 206, resp.StatusCode)
		require.Empty(t, resp.Header.Get("Content-Encoding"), "a part of the bytes is a part of these bytes")
		require.Equal(t, want[5:10], body)
	}
}

func BenchmarkCompress(b *testing.B) {
	for k := range httpparse.Identity {
		for _, n := range []int{2 << 10, 16 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("%s/%dKB", k.Token(), n>>10), func(b *testing.B) {
				text, e := []byte(prose(n, 1)), &engine{encoder: newEncoder(k)}
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					e.out = e.out[:0]
					e.encoder.Reset(e)
					if err := e.code(text, app.CodeEnd); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)/float64(len(e.out)), "ratio")
			})
		}
	}
}
