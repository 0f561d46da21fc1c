// Package admin shows an operator what a server does: a live page, health, metrics, overruns, profiles. It reads what
// others count, and changes nothing.
//
// It runs on net/http and goroutines of its own, so that it answers while every loop is held. What loops count is read without
// asking them.
//
// # The parts, in reading order
//
//	admin.go     Config, the routes, start and stop
//	survey.go    what the loops and the server have counted
//	health.go    /healthz and /readyz
//	loops.go     /loops
//	account.go   overruns by verdict, by route and by place in the code
//	metrics.go   /metrics
//	trace.go     /trace
//	traffic.go   requests by route
//	history.go   the last minute in steps: what the page draws
//	frame.go     all that the page shows at one moment
//	events.go    the page's stream of server-sent events
//	page.go      the page itself, from page/
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"time"

	"tafe/app"
	"tafe/loop/watchdog"
)

// Config is what an admin listener shows.
type Config struct {
	Server *app.Server
	// Watchdog is who watches the server's loops; nil if nobody does.
	Watchdog *watchdog.Watchdog
	// Budget is what a slice may take where its route does not say otherwise.
	Budget time.Duration
	// Upstreams, if not nil, lists the servers behind this one. Called by any goroutine; it must not wait.
	Upstreams func() []Upstream
	// Spans, if not nil, counts those of tracing: that ended, that were exported, that could not be. Called like Upstreams.
	Spans func() (ended, exported, failed uint64)
	// Version is the server's, as the page and metrics show it.
	Version string
	// Certificates, if not nil, tells by the address of the listener when the first of its certificates expires. Called like Upstreams.
	Certificates func() map[string]time.Time
	// Reloads, if not nil, counts those of the configuration that were tried, and those of them that failed. Called like Upstreams.
	Reloads func() (all, failed uint64)
	// LogLinesDropped, if not nil, counts lines that were not written, by the name of their log. Called like Upstreams.
	LogLinesDropped func() map[string]uint64
	// Problems, if not nil, lists the parts of the configuration that cannot be used now. Called like Upstreams.
	Problems func() []string
	Log      *slog.Logger // default slog.Default()
}

// Upstream is one address behind the server as metrics and the page show it.
type Upstream struct {
	Name     string `json:"name"` // of the group
	Addr     string `json:"addr"`
	Up       bool   `json:"up"`
	State    string `json:"state"`  // such as "up", "ejected", "down"
	Active   int    `json:"active"` // requests in flight
	Requests uint64 `json:"requests"`
	Failures uint64 `json:"failures"`
}

// Listener is the admin's socket. Its address is known before there is a server to show.
type Listener struct {
	listener net.Listener
	server   *http.Server
	stop     context.CancelFunc
	ended    sync.WaitGroup
}

// Listen takes the address.
func Listen(address string) (*Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return On(l), nil
}

// On makes a Listener of a socket that is listened on already.
func On(l net.Listener) *Listener { return &Listener{listener: l} }

// StopAccepting closes the socket. Connections that are open are served on.
func (l *Listener) StopAccepting() { _ = l.listener.Close() }

// Addr is the address that is listened on.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Serve answers until Close. It returns at once, and is called once.
func (l *Listener) Serve(config Config) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	d := newDashboard(config, time.Now)
	// No WriteTimeout: profiles and event streams last. They end with their clients or with Close.
	l.server = &http.Server{
		Handler: d.routes(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn),
	}
	l.ended.Go(func() { d.run(ctx) })
	l.ended.Go(func() {
		if err := l.server.Serve(l.listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			config.Log.Error("the admin listener ended", "error", err)
		}
	})
}

// Close ends the listener and what it serves at once.
func (l *Listener) Close() error {
	if l.server == nil {
		return l.listener.Close()
	}
	l.stop()
	err := l.server.Close()
	l.ended.Wait()
	if errors.Is(err, net.ErrClosed) { // by StopAccepting
		err = nil
	}
	return err
}

// desk joins the parts behind the routes.
type dashboard struct {
	config      Config
	clock       func() time.Time
	started     time.Time
	host        string
	survey      *survey
	history     *history
	subscribers subscribers
}

// stepPeriod is how often the counters are read and the page is told.
const stepPeriod = 500 * time.Millisecond

func newDashboard(config Config, clock func() time.Time) *dashboard {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &dashboard{
		config: config, clock: clock, started: clock(), host: host,
		survey:  newSurvey(config.Server, clock),
		history: newHistory(len(config.Server.Engine().Loops()), config.Budget),
	}
}

// run keeps the books until ctx ends. There is a whole period between the end of a step and the next one, however late this
// goroutine is: rates over a moment mean nothing.
func (d *dashboard) run(ctx context.Context) {
	timer := time.NewTimer(stepPeriod)
	defer timer.Stop()
	for {
		loops, requests := d.survey.results()
		d.history.add(d.clock(), loops, requests, d.states())
		d.subscribers.publish(d.frame)
		timer.Reset(stepPeriod)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// recent are the watchdog's last overruns, newest first. The tree of one that is going on still grows in the watchdog's hands:
// it is shown when it is whole.
func (d *dashboard) recent() []watchdog.Overrun {
	if d.config.Watchdog == nil {
		return nil
	}
	recent := d.config.Watchdog.Recent()
	for i := range recent {
		if !recent[i].Final {
			recent[i].Tree = nil
		}
	}
	return recent
}

func (d *dashboard) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", d.healthz)
	mux.HandleFunc("GET /readyz", d.readyz)
	mux.HandleFunc("GET /loops", d.loops)
	mux.HandleFunc("GET /overruns", d.overruns)
	mux.Handle("GET /metrics", d.metrics())
	mux.HandleFunc("GET /trace", d.trace)
	mux.HandleFunc("GET /events", d.events)
	mux.HandleFunc("GET /{$}", page("index.html", "text/html; charset=utf-8"))
	mux.HandleFunc("GET /page.css", page("page.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /page.js", page("page.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", page("icon.svg", "image/svg+xml"))
	// GET and POST: what pprof's tools use.
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return guarded(mux)
}

// guarded sets what every answer carries: nothing is cached, framed or guessed at.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// number reads a whole number from a query, between 1 and most.
func queryInt(r *http.Request, name string, usual, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return usual, nil
	}
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || fmt.Sprint(n) != text || n < 1 || n > most {
		return 0, fmt.Errorf("%s must be a whole number from 1 to %d", name, most)
	}
	return n, nil
}
