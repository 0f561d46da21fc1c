package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"tafe/app/websocket"
	"tafe/loop/reactor"
)

// tool finds a program. It is required if CI=true.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", names[0])
	}
	t.Skipf("%s is not installed", names[0])
	return ""
}

// readingApp answers after it has read the body. An answer before that is allowed, but h2spec takes its RST_STREAM for a missing error.
func readingApp() *App {
	a := New(Options{Log: quiet})
	read := func(c *Context) error {
		if _, err := io.Copy(io.Discard, c.BodyReader()); err != nil {
			return err
		}
		return c.String(200, strings.Repeat("tafe ", 20))
	}
	a.Get("/", read)
	a.Post("/", read)
	a.Post("/refuse", func(*Context) error { return Error(http.StatusForbidden, "") }) // without having read
	return a
}

// serveTLS serves a with HTTPS for a.test, and by prior knowledge.
func serveTLS(t *testing.T, a *App) *Server {
	t.Helper()
	cert, _ := selfSigned(t, "a.test")
	return serveWith(t, a, ServerConfig{Loops: 1, Listeners: []Listener{
		{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{cert}}}},
		{Addr: "127.0.0.1:0", H2C: true},
	}})
}

// h2spec checks RFC 7540, RFC 7541 and some of RFC 9113, which differs from the former where priorities are concerned: a stream that depends
// on itself is an error in RFC 7540 only, and is one here.
func TestHTTP2Conforms(t *testing.T) {
	program := filepath.Join(t.TempDir(), "h2spec")
	build := exec.Command("go", "build", "-o", program, "github.com/summerwind/h2spec/cmd/h2spec")
	build.Dir = "testdata/h2spec"
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("h2spec: %v\n%s", err, out)
		}
		t.Skipf("h2spec cannot be built: %v", err)
	}
	s := serveTLS(t, readingApp())
	_, port, err := net.SplitHostPort(s.Addrs()[0].String())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "-h", "127.0.0.1", "-p", port, "-t", "-k", "-o", "5").CombinedOutput()
	text := string(out)
	if at := strings.Index(text, "Failures:"); at >= 0 {
		text = text[at:]
	}
	require.NoError(t, err, text)
	require.Contains(t, string(out), "145 tests, 145 passed, 0 skipped, 0 failed")
}

func TestHTTP2Tools(t *testing.T) {
	s := serveTLS(t, readingApp())
	secure, plain := "https://"+s.Addrs()[0].String()+"/", "http://"+s.Addrs()[1].String()+"/"
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, make([]byte, 3<<20), 0o600))
	for _, c := range []struct {
		command, want string
	}{
		{"curl -sS --http2 -k -o /dev/null -w %{http_version}-%{http_code}-%{size_download} " + secure, "2-200-100"},
		{"curl -sS --http1.1 -k -o /dev/null -w %{http_version}-%{http_code} " + secure, "1.1-200"},
		{"curl -sS --http2-prior-knowledge -o /dev/null -w %{http_version}-%{http_code} " + plain, "2-200"},
		{"curl -sS -o /dev/null -w %{http_version}-%{http_code} " + plain, "1.1-200"},
		{"curl -sS --http2 -k -o /dev/null -w %{http_version}-%{http_code}-%{size_upload} --data-binary @" + large + " " + secure, "2-200-3145728"},
		{"curl -sS --http2 -k -o /dev/null -w %{http_version}-%{http_code} --data-binary @" + large + " " + secure + "refuse", "2-403"},
		{"curl -sS --http2-prior-knowledge -o /dev/null -w %{http_version}-%{http_code} --data-binary @" + large + " " + plain + "refuse", "2-403"},
		{"nghttp -nsa " + plain, "200"},
		{"nghttp -nsa --header-table-size=0 " + plain, "200"},
		{"nghttp -n -y -d " + large + " " + secure, ""},
		{"h2load -n 2000 -c 4 -m 50 " + plain, "2000 succeeded"},
		{"h2load -n 500 -c 2 -m 20 -d " + large + " -w 16 -W 18 " + plain, "500 succeeded"},
	} {
		t.Run(strings.Fields(c.command)[0], func(t *testing.T) {
			args := strings.Fields(c.command)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, tool(t, args[0]), args[1:]...).CombinedOutput()
			require.NoError(t, err, "%s: %s", c.command, out)
			require.Contains(t, string(out), c.want, c.command)
		})
	}
}

// browserTab opens a tab of Chromium.
func browserTab(t *testing.T) context.Context {
	path := tool(t, "chromium", "chromium-browser", "google-chrome", "chrome")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	allocator, stop := chromedp.NewExecAllocator(ctx, options...)
	tab, end := chromedp.NewContext(allocator)
	t.Cleanup(func() { end(); stop(); cancel() })
	return tab
}

// A WebSocket of Chromium is a stream of the connection that the page came over (RFC 8441).
func TestHTTP2BrowserWebSocket(t *testing.T) {
	a := socketApp(websocket.Options{}, Options{})
	a.Get("/", func(c *Context) error {
		return c.Bytes(200, "text/html", []byte("<!doctype html><title>socket</title>"))
	})
	s := serveTLS(t, a)
	tab := browserTab(t)
	var got string
	require.NoError(t, chromedp.Run(tab, chromedp.Navigate("https://"+s.Addrs()[0].String()+"/"),
		chromedp.Evaluate(`new Promise((done, failed) => {
			const s = new WebSocket("wss://"+location.host+"/serve")
			s.onopen = () => s.send("hello")
			s.onmessage = e => { done(e.data); s.close() }
			s.onerror = () => failed("error")
		})`, &got, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) })))
	require.Equal(t, "hello", got)
	require.Zero(t, s.Stats().Protos[1], "no request of HTTP/1.1")
	counted(t, s, func(now Stats) bool { return now.WebSockets.Open == 0 && now.Active == 0 })
}

// A page with 200 images in Chromium: all arrive, over one connection; Chromium may have opened a second one in advance.
func TestHTTP2Browser(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/", func(c *Context) error {
		var page strings.Builder
		page.WriteString("<!doctype html><title>200</title>")
		for i := range 200 {
			fmt.Fprintf(&page, `<img src="/img/%d.svg">`, i)
		}
		return c.Bytes(200, "text/html", []byte(page.String()))
	})
	a.Get("/img/{name}", func(c *Context) error {
		if c.Proto() != "HTTP/2.0" || c.Header("Priority") == "" {
			return Error(http.StatusBadRequest, "")
		}
		return c.Bytes(200, "image/svg+xml", []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`))
	})
	s := serveTLS(t, a)
	tab := browserTab(t)
	var loaded int
	var protocol string
	require.NoError(t, chromedp.Run(tab, chromedp.Navigate("https://"+s.Addrs()[0].String()+"/"),
		chromedp.Poll(`[...document.images].every(i => i.complete)`, nil),
		chromedp.Evaluate(`[...document.images].filter(i => i.naturalWidth === 9).length`, &loaded),
		chromedp.Evaluate(`performance.getEntriesByType("navigation")[0].nextHopProtocol`, &protocol)))
	require.Equal(t, 200, loaded)
	require.Equal(t, "h2", protocol)
	require.LessOrEqual(t, s.Stats().ConnsHTTP2, 2)
}
