// The routes of the demo, which serve runs without a configuration file. /bid is in bidding.go, /hog in hog.go,
// /events and /ws in live.go.

package main

import (
	"flag"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"tafe/app"
	"tafe/app/edge"
	"tafe/cmd/tafe/internal/backend"
	"tafe/loop/reactor"
)

// Bounds of the parameters of a request.
const (
	demoSleepMax = time.Minute
	demoHogMax   = 2 * time.Minute
)

// demo is the demo with its flags and backends.
type demo struct {
	store, bidders string // flags; empty: embedded
	addresses      []string
	backends       *backend.Set // for those that the flags do not name
	bidding        *bidding
	clock          *clock
}

func (d *demo) Flags(fs *flag.FlagSet) {
	fs.StringVar(&d.store, "store", "", "`address` of a memcached-protocol store for /bid (default: embedded)")
	fs.StringVar(&d.bidders, "bidders", "", "`addresses` of HTTP bidders for /bid, separated by commas (default: embedded)")
}

func (d *demo) Check() (err error) {
	if d.bidders != "" {
		if d.addresses, err = splitAddresses(d.bidders); err != nil {
			return edge.Usagef("--bidders: %v", err)
		}
	}
	if d.store != "" {
		if err := edge.CheckAddress(d.store); err != nil {
			return edge.Usagef("--store: %v", err)
		}
	}
	return nil
}

// Start starts the backends that no flag names, and prepares /bid.
func (d *demo) Start(loops int, log *slog.Logger) error {
	store := d.store
	if store == "" || len(d.addresses) == 0 {
		config := backend.Config{Store: "127.0.0.1:0", Seed: 1, Delay: backend.Delay{Mean: 5 * time.Millisecond, Deviation: 2 * time.Millisecond}}
		if len(d.addresses) == 0 {
			config.Bidders = []string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}
		}
		set, err := backend.Start(config)
		if err != nil {
			return edge.ListenError("", err)
		}
		d.backends = set
	}
	if store == "" {
		store = d.backends.StoreAddr
	}
	var bidders []bidder
	for _, address := range d.addresses {
		bidders = append(bidders, bidder{address, address})
	}
	if len(d.addresses) == 0 {
		for i, address := range d.backends.BidderAddrs {
			bidders = append(bidders, bidder{backend.BidderName(i), address})
		}
	}
	d.bidding = newBidding(loops, store, bidders, log)
	d.clock = startClock()
	return nil
}

// App returns the routes. The front page links to the admin listener at adminAddr.
func (d *demo) App(options app.Options, adminAddr string) *app.App {
	a := app.New(options)
	a.Get("/", frontPage(adminAddr))
	a.Get("/plaintext", plaintext)
	a.Get("/json", hello)
	a.Post("/echo", echo)
	a.Get("/sleep", sleep)
	a.Get("/bid", d.bidding.handle)
	a.Get("/hog", hog)
	a.Get("/events", d.clock.handle)
	a.Get("/ws", echoMessages)
	return a
}

func (d *demo) Bind(engine *reactor.Engine) { d.bidding.bind(engine) }

func (d *demo) Close() error {
	if d.clock != nil {
		d.clock.close()
	}
	if d.bidding != nil {
		d.bidding.close()
	}
	if d.backends != nil {
		return d.backends.Close()
	}
	return nil
}

func frontPage(adminAddr string) app.Handler {
	page := fmt.Appendf(nil, frontPageHTML, html.EscapeString(adminAddr))
	return func(c *app.Context) error {
		return c.Bytes(http.StatusOK, "text/html; charset=utf-8", page)
	}
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
	contentType := c.Header("Content-Type")
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
