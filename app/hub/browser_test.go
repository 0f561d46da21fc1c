// Event streams and WebSockets in a browser.

package hub

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"tafe/app"
)

const page = `<!DOCTYPE html><title>hub</title><script>
window.got = [];
const events = new EventSource("/events");
events.onmessage = (e) => got.push("event " + e.lastEventId + " " + e.data);
const ws = new WebSocket("ws://" + location.host + "/ws");
ws.onopen = () => got.push("open " + ws.extensions);
ws.onmessage = (e) => got.push("message " + e.data);
ws.onclose = (e) => got.push("close " + e.code + " " + e.wasClean);
</script>`

func TestBrowser(t *testing.T) {
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			require.Fail(t, "no chromium, which CI must have")
		}
		t.Skip("no chromium is installed")
	}
	h := New(Options{})
	a := appOf(h)
	a.Get("/", func(c *app.Context) error { return c.Bytes(200, "text/html", []byte(page)) })
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 2})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(patience), chromedp.Flag("disable-dev-shm-usage", true),
	}
	for _, name := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(name, true))
	}
	allocator, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	browser, _ := chromedp.NewContext(allocator)
	met := func(expression string) chromedp.Action {
		return chromedp.Poll(expression, nil, chromedp.WithPollingTimeout(patience))
	}
	do := func(f func() error) chromedp.Action {
		return chromedp.ActionFunc(func(context.Context) error { return f() })
	}
	require.NoError(t, chromedp.Run(browser,
		chromedp.Navigate("http://"+s.Addr().String()+"/"),
		met(`got.includes("open permessage-deflate; server_no_context_takeover; client_no_context_takeover") && events.readyState === 1`),
		do(func() error { return h.Publish(Message{Event: app.Event{ID: "7", Data: "two\nlines"}}) }),
		met(`got.includes("event 7 two\nlines") && got.includes("message two\nlines")`),
		chromedp.Evaluate(`ws.send("κόσμε".repeat(1000))`, nil), // it is long enough for compression in both directions
		met(`got.includes("message " + "κόσμε".repeat(1000))`),
		do(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return s.Drain(ctx)
		}),
		met(`got.includes("close 1001 true")`),
	))
	require.NoError(t, chromedp.Cancel(browser))
}
