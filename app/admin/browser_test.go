// Tests of the page in a browser, with its stream, while a loop is held and afterwards.

package admin

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// browse opens the page in a new Chromium and returns a function that runs actions in it.
func browse(t *testing.T, url string) (run func(...chromedp.Action)) {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		testrig.Lacks(t, "no chromium is installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(patience), chromedp.Flag("disable-dev-shm-usage", true),
		// By default the browser is killed with the thread that started it, and the watchdog's thread ends with the watchdog.
		chromedp.ModifyCmdFunc(func(*exec.Cmd) {}),
	}
	for _, name := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(name, true))
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, _ = chromedp.NewContext(ctx)
	var mu sync.Mutex
	var complaints []string
	chromedp.ListenTarget(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			complaints = append(complaints, fmt.Sprint(e.Type))
		}
	})
	t.Cleanup(func() {
		require.NoError(t, chromedp.Cancel(ctx), "the browser ends")
		mu.Lock()
		defer mu.Unlock()
		require.Empty(t, complaints, "errors and console output of the page")
	})
	run = func(actions ...chromedp.Action) {
		t.Helper()
		require.NoError(t, chromedp.Run(ctx, actions...))
	}
	run(chromedp.EmulateViewport(1200, 900), chromedp.Navigate(url))
	return run
}

// met waits until an expression is true in the page.
func met(expression string) chromedp.Action {
	return chromedp.Poll(expression, nil, chromedp.WithPollingTimeout(patience))
}

// shows waits until the text of an element contains text.
func shows(selector, text string) chromedp.Action {
	return met(fmt.Sprintf("(document.querySelector(%q)?.textContent ?? '').includes(%q)", selector, text))
}

// fits is true if nothing is wider than the screen.
const fits = "document.documentElement.scrollWidth <= innerWidth"

func TestPageInABrowser(t *testing.T) {
	r := newRig(t, func() []Upstream {
		return []Upstream{{Name: "bidders", Addr: "127.0.0.1:1", Up: false, State: "down", Active: 3}}
	})
	require.Equal(t, 200, r.request("/plaintext"))
	run := browse(t, r.page())
	run(
		shows("#status", "serving"), shows("#no-culprits", "No code has run for longer"),
		shows("#loops", "loop 0"), shows("#routes", "/plaintext"), shows("#upstreams", "down"),
		shows("#certificates tbody tr", "no <b>answer</b>"), shows("#certificates tbody tr:nth-child(2)", "-1.0"),
	)
	run(met("document.documentElement.dataset.frames >= 3"))                                                     // frames arrive
	run(met(`/^(\d+ µs|[\d.]+ ms)/.test(document.querySelector("#routes tbody tr td:last-child").textContent)`)) // expected slices

	answered := r.hold("<img src=x onerror=alert(1)>")
	run(
		shows("#loops .overrun .now", "held for"), shows("#loops .overrun .now", "<img src=x onerror=alert(1)>"),
		met("document.querySelector('#loops canvas').getAttribute('aria-label').includes('held for')"),
		met("!document.querySelector('img[src=x]')"), // request data stays text
		shows("#culprits", "running for"),
	)
	// By keyboard: from the last link of the header to the first culprit's row and its stack.
	run(
		chromedp.Focus("nav a:last-child"), chromedp.KeyEvent(kb.Tab),
		met("document.activeElement.matches('.culprits summary')"),
		chromedp.KeyEvent(kb.Enter),
		shows(".culprits details[open] .stack .culprit", "waitBadly"),
		shows(".culprits details[open] .more", "Stack, innermost call first"),
	)
	before := 0
	run(chromedp.Evaluate("Number(document.documentElement.dataset.frames)", &before))
	run(
		met(fmt.Sprintf("document.documentElement.dataset.frames > %d + 2", before)),
		met("document.activeElement.matches('.culprits details[open] summary')"), // updates keep the focus and open rows
	)
	r.release()
	answered()
	run(
		shows("#culprits .cost", "1 overrun"), shows("#overruns", "channel"),
		chromedp.Click(".culprits summary"), met("!document.querySelector('.culprits details[open]')"),
		chromedp.Click(".culprits summary"), shows(".culprits details[open] .stack .culprit", "waitBadly"),
	)
	// Dark colours and narrow screens.
	light, dark := "", ""
	background := "getComputedStyle(document.body).backgroundColor"
	scheme := func(name string) chromedp.Action {
		return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}})
	}
	run(scheme("light"), chromedp.Evaluate(background, &light), scheme("dark"), chromedp.Evaluate(background, &dark))
	require.NotEqual(t, light, dark)
	run(met(fits), chromedp.EmulateViewport(390, 800), met(fits), chromedp.EmulateViewport(320, 600), met(fits))
}

func TestPageSaysWhenTheServerIsGone(t *testing.T) {
	r := newRig(t, nil)
	run := browse(t, r.page())
	run(shows("#status", "serving"))
	r.stop()
	run(shows("#status", "no connection"))
}
