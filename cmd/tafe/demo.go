// The handlers of the demo. demo.toml has its routes; /bid is in bidding.go, /hog in hog.go, /events and /ws
// are in live.go.

package main

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
	"time"

	"tafe/app"
	"tafe/app/edge"
)

// Bounds of the parameters of a request.
const (
	demoSleepMax = time.Minute
	demoHogMax   = 2 * time.Minute
)

// frontPage makes a page that links to the admin listener.
func frontPage(_ *struct{}, env *edge.Env) (app.Handler, error) {
	page := fmt.Appendf(nil, frontPageHTML, html.EscapeString(env.Admin))
	return func(c *app.Context) error {
		return c.Bytes(http.StatusOK, "text/html; charset=utf-8", page)
	}, nil
}

const frontPageHTML = `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>tafe</title>
<meta name="viewport" content="width=device-width">
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:42em;margin:3em auto;padding:0 1em}code{background:#8882;padding:0 .2em}</style>
<h1>tafe</h1>
<p>An HTTP edge application server: handlers are straight-line code on event loops, and a watchdog names the code that
holds a loop. This is its demo.</p>
<p><a href="http://%s/">The live page</a> shows the loops at work.</p>
<ul>
<li><a href="/plaintext"><code>/plaintext</code></a> and <a href="/json"><code>/json</code></a>: as short as answers get
<li><code>POST /echo</code>: the body back
<li><a href="/sleep?ms=500"><code>/sleep?ms=500</code></a>: waits and gives the loop to others meanwhile
<li><a href="/bid?user=7"><code>/bid?user=7</code></a>: a profile from a store, then three bidders in parallel under a deadline of 50 ms
<li><a href="/hog?ms=200&amp;how=spin"><code>/hog?ms=200&amp;how=spin</code></a>: holds its loop on purpose; also
<code>sleep</code>, <code>mutex</code>, <code>channel</code>, <code>syscall</code>, <code>read</code>
<li><a href="/events"><code>/events</code></a>: server-sent events, one a second
<li><code>/ws</code>: a WebSocket that sends every message back
</ul>
`

func plaintext(c *app.Context) error { return c.String(http.StatusOK, "Hello, World!") }

func hello(c *app.Context) error {
	return c.JSON(http.StatusOK, struct {
		Message string `json:"message"`
	}{"Hello, World!"})
}

func echo(c *app.Context) error {
	body, err := c.Body()
	if err != nil {
		return err
	}
	contentType := c.HeaderView("Content-Type")
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	return c.Bytes(http.StatusOK, contentType, body)
}

func sleep(c *app.Context) error {
	d, err := milliseconds(c.Query("ms"), demoSleepMax)
	if err != nil {
		return err
	}
	if err := c.Sleep(d); err != nil {
		return err
	}
	return c.String(http.StatusOK, fmt.Sprintf("slept %d ms", d.Milliseconds()))
}

func hog(c *app.Context) error {
	d, err := milliseconds(c.Query("ms"), demoHogMax)
	if err != nil {
		return err
	}
	how := c.Query("how")
	hold, ok := holds()[how]
	if !ok {
		return app.Error(http.StatusBadRequest, "how must be spin, sleep, mutex, channel, syscall or read")
	}
	if err := hold(d); err != nil {
		return err
	}
	return c.String(http.StatusOK, fmt.Sprintf("held the loop %d ms by %s", d.Milliseconds(), how))
}

// milliseconds parses a whole number of milliseconds between 0 and most.
func milliseconds(query string, most time.Duration) (time.Duration, error) {
	n, err := strconv.ParseInt(query, 10, 64)
	if err != nil || n < 0 || n > most.Milliseconds() {
		return 0, app.Error(http.StatusBadRequest, fmt.Sprintf("ms must be a whole number from 0 to %d", most.Milliseconds()))
	}
	return time.Duration(n) * time.Millisecond, nil
}
