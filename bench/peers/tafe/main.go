// Command peer-tafe serves the handlers of the seed experiment and of the feeds on tafe's packages: the binary of the project has no
// such routes. It is set up as the binary is: one loop, and the client of app/client.
//
//	peer-tafe --listen 127.0.0.1:8080 --backend 127.0.0.1:9000 --rounds N --hold inline|yield|offload --order light-first|arrival --handoff=true --recorder=false
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime/trace"
	"time"

	"tafe/app"
	"tafe/app/client"
	"tafe/app/websocket"
	"tafe/bench/peers/work"
	"tafe/loop"
)

// handlers are the routes with what they share. All of it may be used from any loop.
type handlers struct {
	client  *client.Client
	backend string
	url     string
	rounds  int
	pool    *loop.Pool
}

// The pool has as many workers as the server has cores: more would only share them.
const (
	offloadWorkers = 1
	offloadQueue   = 4096
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve")
	backend := flag.String("backend", "127.0.0.1:9000", "address of the delay backend")
	rounds := flag.Int("rounds", 0, "rounds of computation that make a millisecond; 0 measures")
	hold := flag.String("hold", "inline", "how /hold computes: inline, yield or offload")
	order := flag.String("order", "light-first", "in what order ready requests run: light-first or arrival")
	handoff := flag.Bool("handoff", true, "hand held loops over")
	recorder := flag.Bool("recorder", false, "run the flight recorder of the Go runtime")
	flag.Parse()
	if *recorder {
		if err := trace.NewFlightRecorder(trace.FlightRecorderConfig{}).Start(); err != nil {
			fmt.Fprintln(os.Stderr, "peer-tafe:", err)
			os.Exit(1)
		}
	}
	if *rounds == 0 {
		*rounds = work.RoundsPerMilli()
	}
	h := &handlers{
		client:  client.New(client.Options{ConnsPerHostMax: 4096, IdlePerHostMax: 4096, LateTimeout: time.Second}),
		backend: *backend, url: "http://" + *backend + "/delay", rounds: *rounds, pool: loop.NewPool(offloadWorkers, offloadQueue),
	}
	holds := map[string]app.Handler{"inline": h.hold, "yield": h.holdYielding, "offload": h.holdOffloaded}
	if holds[*hold] == nil {
		fmt.Fprintf(os.Stderr, "peer-tafe: --hold %s is none of inline, yield, offload\n", *hold)
		os.Exit(2)
	}
	a := app.New(app.Options{})
	a.Get("/plaintext", func(c *app.Context) error { return c.String(http.StatusOK, work.Plaintext) })
	a.Get("/work", h.work)
	a.Get("/hold", holds[*hold])
	a.Get("/light", func(c *app.Context) error { return finish(c, work.Burn(work.Light(h.rounds))) })
	a.Get("/heavy", func(c *app.Context) error { return finish(c, work.Burn(work.Heavy(h.rounds))) })
	a.Get("/nap", func(c *app.Context) error { time.Sleep(work.Nap); return finish(c, 1) })
	a.Get("/fan", h.fan)
	a.Get("/ws", echoMessages)
	addFeed(a)
	config := app.ServerConfig{Addr: *listen, Loops: 1}
	config.Limits.FIFO = *order == "arrival"
	if !*handoff {
		config.Handoff = -1
	}
	if _, err := app.Listen(a, config); err != nil {
		fmt.Fprintln(os.Stderr, "peer-tafe:", err)
		os.Exit(1)
	}
	select {} // until SIGTERM, at once
}

// echoMessages sends messages back, by a task that reads and writes.
func echoMessages(c *app.Context) error {
	ws, err := c.WebSocket(websocket.Options{})
	if err != nil {
		return err
	}
	for {
		kind, p, err := ws.Read()
		if err != nil {
			return err
		}
		if err := ws.Write(kind, p); err != nil {
			return err
		}
	}
}

// work asks the backend three times, one after the other, and computes for a millisecond.
func (h *handlers) work(c *app.Context) error {
	for range work.Calls {
		if err := h.fetch(c); err != nil {
			return app.Error(http.StatusBadGateway, err.Error())
		}
	}
	return finish(c, work.Burn(h.rounds))
}

func (h *handlers) fetch(c *app.Context) error {
	_, _, err := h.client.Get(c.Task(), nil, h.url, 1<<10)
	return err
}

// hold is what a handler should not do: it keeps its loop for all of its computation.
func (h *handlers) hold(c *app.Context) error { return finish(c, work.Burn(work.HoldMillis*h.rounds)) }

// holdYielding computes as much, and offers the loop to others after every millisecond.
func (h *handlers) holdYielding(c *app.Context) error {
	var x uint64
	for range work.HoldMillis {
		x |= work.Burn(h.rounds)
		if err := c.YieldIfDue(); err != nil {
			return err
		}
	}
	return finish(c, x)
}

// holdOffloaded computes off the loop.
func (h *handlers) holdOffloaded(c *app.Context) error {
	x, err := loop.Offload(c.Task(), h.pool, func() (uint64, error) { return work.Burn(work.HoldMillis * h.rounds), nil })
	if err != nil {
		return err
	}
	return finish(c, x)
}

// fan asks all bidders at once, each in a task of its own, under one deadline.
func (h *handlers) fan(c *app.Context) error {
	urls, err := work.Fan(h.backend, c.Query("n"), c.Query("slow"))
	if err != nil {
		return app.Error(http.StatusBadRequest, err.Error())
	}
	g := c.Task().Group()
	g.SetDeadline(work.FanDeadline)
	for _, url := range urls {
		if err := g.Go(func(t *loop.Task) error {
			_, _, err := h.client.Get(t, nil, url, 1<<10)
			return err
		}); err != nil {
			return err
		}
	}
	answered, _ := g.Settle()
	return c.String(http.StatusOK, work.FanDone(answered, len(urls)))
}

// finish answers; the result decides the status, so that no compiler leaves the computation out.
func finish(c *app.Context, result uint64) error {
	if result == 0 {
		return app.Error(http.StatusInternalServerError, "zero")
	}
	return c.String(http.StatusOK, work.Done)
}
