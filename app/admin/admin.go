// Package admin serves a listener for operators: a live page, health checks, metrics, overruns, traces
// and profiles. It reads counters; the only thing that it changes in the server is the state of upstream servers.
//
// It runs on net/http and its own goroutines, and reads the loops' counters without involving the
// loops, so that it answers while every loop is held.
//
// # Files, in reading order
//
//	admin.go      Config, Endpoint, routes
//	survey.go     counters of the loops and of the server
//	health.go     /healthz and /readyz
//	loops.go      /loops
//	culprits.go   /overruns, and the ranking of culprits
//	certificates.go /certificates
//	metrics.go    /metrics
//	trace.go      /trace
//	upstreams.go  /upstreams, and the operations on upstream servers
//	traffic.go    requests by route
//	history.go    the last minute in steps, as the live page draws it
//	frame.go      the message that updates the live page
//	events.go     /events, the live page's stream of frames
//	page.go       the live page, embedded from page/
package admin

import (
	"context"
	"encoding/json"
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

// Config configures an admin listener. Its functions are called by any goroutine and must not
// block.
type Config struct {
	Server *app.Server
	// Watchdog watches the server's loops. It is nil if the watchdog is off.
	Watchdog *watchdog.Watchdog
	// Budget is the slice budget of routes without one of their own.
	Budget time.Duration
	// Upstreams and UpstreamGroups, if not nil, return the upstream servers and groups.
	Upstreams      func() []Upstream
	UpstreamGroups func() []UpstreamGroup
	// Operate, if not nil, changes an upstream server. The error is ErrNoUpstream, or describes the invalid operation.
	Operate func(upstream, addr string, o Operation) error
	// Token permits to change upstream servers. Without it, clients with a loopback address may.
	Token string
	// Spans, if not nil, returns the number of spans that ended, were exported, and failed to be exported.
	Spans func() (ended, exported, failed uint64)
	// Version is the version of the server on the live page and in metrics.
	Version string
	// Certificates, if not nil, returns the earliest expiry of each listener's certificates, by listener
	// address.
	Certificates func() map[string]time.Time
	// CertificateList, if not nil, returns all certificates, those that expire first before the others.
	CertificateList func() []Certificate
	// CertificateCounts, if not nil, returns counters of certificates that the server obtains.
	CertificateCounts func() CertificateCounts
	// Reloads, if not nil, returns the number of configuration reloads, and of those that failed.
	Reloads func() (all, failed uint64)
	// LogLinesDropped, if not nil, returns the number of dropped log lines by log name.
	LogLinesDropped func() map[string]uint64
	// Problems, if not nil, returns the parts of the configuration that cannot be used now.
	Problems func() []string
	Log      *slog.Logger // default slog.Default()
}

// Endpoint serves the admin pages. Its socket can be opened before the server exists.
type Endpoint struct {
	listener net.Listener
	server   *http.Server
	stop     context.CancelFunc
	ended    sync.WaitGroup
}

// Listen opens a TCP listener on address.
func Listen(address string) (*Endpoint, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return On(l), nil
}

// On returns an Endpoint that uses an open socket.
func On(l net.Listener) *Endpoint { return &Endpoint{listener: l} }

// StopAccepting closes the socket. Open connections are still served.
func (l *Endpoint) StopAccepting() { _ = l.listener.Close() }

// Addr returns the address of the socket.
func (l *Endpoint) Addr() net.Addr { return l.listener.Addr() }

// Serve starts serving and returns at once. It must be called at most once.
func (l *Endpoint) Serve(config Config) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	d := newDashboard(config, time.Now)
	// There is no WriteTimeout: profiles and event streams are long. They end with their clients or with Close.
	l.server = &http.Server{
		Handler: d.routes(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn),
	}
	l.ended.Go(func() { d.run(ctx) })
	l.ended.Go(func() {
		if err := l.server.Serve(l.listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			config.Log.Error("admin listener failed", "error", err)
		}
	})
}

// Close closes the socket and all connections, and waits until the listener's goroutines have
// ended.
func (l *Endpoint) Close() error {
	if l.server == nil {
		return l.listener.Close()
	}
	l.stop()
	err := l.server.Close()
	l.ended.Wait()
	if errors.Is(err, net.ErrClosed) { // after StopAccepting
		err = nil
	}
	return err
}

// dashboard is the state behind the routes.
type dashboard struct {
	config      Config
	clock       func() time.Time
	started     time.Time
	host        string
	survey      *survey
	history     *history
	subscribers subscribers
}

// stepPeriod is the period in which counters are read and frames are sent.
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

// run records history and publishes frames until ctx is done. A whole period lies between two
// steps, however late this goroutine is, because rates over a much shorter time mean nothing.
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

func (d *dashboard) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", d.healthz)
	mux.HandleFunc("GET /readyz", d.readyz)
	mux.HandleFunc("GET /loops", d.loops)
	mux.HandleFunc("GET /overruns", d.overruns)
	mux.HandleFunc("GET /certificates", d.certificates)
	mux.Handle("GET /metrics", d.metrics())
	mux.HandleFunc("GET /trace", d.trace)
	mux.HandleFunc("GET /upstreams", d.upstreams)
	mux.HandleFunc("POST /upstreams/{name}/{kind}", d.operate)
	mux.HandleFunc("GET /events", d.events)
	mux.HandleFunc("GET /{$}", page("index.html", "text/html; charset=utf-8"))
	mux.HandleFunc("GET /page.css", page("page.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /page.js", page("page.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", page("icon.svg", "image/svg+xml"))
	// The tools of pprof use GET and POST.
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return guarded(mux)
}

// guarded sets security headers on all responses and disables caching.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// queryInt returns an integer query parameter from 1 to most, or usual if it is absent.
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

// answerJSON writes v as the JSON response.
func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // the client has left
}
