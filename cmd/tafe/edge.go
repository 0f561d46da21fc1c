// edge.go owns what runs behind the serve command: the demo's backends, the access log, the admin listener, the watchdog, the
// server. Started in that order, ended in the reverse, and never by halves. It knows no signal; what a reload changes is in
// reload.go, and where sockets come from and go to in takeover.go.

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/app/admin"
	"tafe/app/middleware"
	"tafe/app/tracing"
	"tafe/cmd/tafe/internal/backend"
	"tafe/cmd/tafe/internal/config"
	"tafe/loop"
	"tafe/loop/watchdog"
)

// stopTimeout is for loops to end what runs, once nothing is waited for any more.
const stopTimeout = 10 * time.Second

// edge is everything that serve runs. A nil field was not started.
type edge struct {
	flags     *serveFlags
	settings  *config.Config // those that hold now
	log       *slog.Logger
	level     *slog.LevelVar // of log
	stderr    *logQueue      // behind log
	backends  *backend.Set   // what --store and --bidders do not name
	bidding   *bidding       // nil, like the backends, where a file takes the place of the demo
	files     []*logFile
	accessLog *middleware.AccessLog
	tracing   *tracing.Tracing
	admin     *admin.Listener
	steward   *loop.Steward // of the watchdog and the server; nil without a watchdog
	watchdog  *watchdog.Watchdog
	server    *app.Server
	resources *config.Resources                // of the settings; nil in the demo
	retired   []*config.Resources              // of earlier ones, until the end
	shown     atomic.Pointer[config.Resources] // resources, for goroutines
	certs     []*config.Certificates
	// reloads counts those of the configuration, and reloadsFailed those of them that failed.
	reloads, reloadsFailed atomic.Uint64
	renewing               func() // ends the looking for renewed certificates
	takeOver
}

// start starts everything or nothing, as the flags, settings and log of e say. Stdout takes the logs that are told to go there.
func (e *edge) start(ctx context.Context, stdout io.Writer) (err error) {
	defer func() {
		if err != nil {
			_ = e.close()
		}
	}()
	if err := e.inherit(ctx); err != nil {
		return err
	}
	warnDegraded(e.log, loop.Runtime().Missing())
	if err := e.startBackends(); err != nil {
		return err
	}
	if err := e.startAccessLog(stdout); err != nil {
		return err
	}
	if err := e.startTracing(); err != nil {
		return err
	}
	// The pages of the demo name the admin address: it has to be known, port 0 and all, before they are made.
	c := e.settings
	if err := e.listenAdmin(string(c.Admin.Listen)); err != nil {
		return err
	}
	a, err := e.makeApp()
	if err != nil {
		return err
	}
	observe, err := e.newWatchdog(stdout)
	if err != nil {
		return err
	}
	listeners, stores, err := c.AppListeners()
	if err != nil {
		return err
	}
	e.certs = stores
	e.server, err = app.Listen(a, app.ServerConfig{
		Listeners: listeners, Inherited: e.inherited, Loops: c.Server.Loops, ConnMax: c.Limits.ConnMax,
		ConnMaxPerIP: c.Limits.ConnMaxPerIP, DialMax: c.Limits.DialMax, Limits: c.LoopLimits(), Handoff: time.Duration(c.Server.Handoff),
		Steward: e.steward, Observe: observe,
	})
	if err != nil {
		return listenError(addresses(listeners), err)
	}
	e.shown.Store(e.resources)
	e.logProblems()
	e.renewing = e.renew()
	if e.watchdog != nil {
		e.watchdog.Start()
		e.steward.Start()
	}
	if e.resources != nil {
		e.resources.Start()
	}
	if e.bidding != nil {
		e.bidding.bind(e.server.Engine())
	}
	e.admin.Serve(admin.Config{
		Server: e.server, Watchdog: e.watchdog, Budget: time.Duration(c.Watchdog.Budget), Log: e.log, Upstreams: e.upstreams(),
		Spans: e.spans(), Version: shownVersion(), Certificates: e.certificates(e.certs), Reloads: e.reloadCounts,
		LogLinesDropped: e.logLinesDropped, Problems: e.problems,
	})
	return e.finishTakeOver(ctx)
}

// makeApp makes what is served: the routes of the file, or the demo.
func (e *edge) makeApp() (*app.App, error) {
	options := e.appOptions(e.settings)
	if e.flags.file == "" {
		return demoApp(options, e.admin.Addr().String(), e.bidding), nil
	}
	a, resources, err := e.settings.App(options, e.tracing, nil)
	e.resources = resources
	return a, err
}

func (e *edge) appOptions(c *config.Config) app.Options {
	options := c.Options()
	options.Log = e.log
	if e.accessLog != nil {
		options.AccessLog = e.accessLog.Record
	}
	return options
}

// newWatchdog makes the watchdog, unless it is off, and returns what the loops report to.
func (e *edge) newWatchdog(stdout io.Writer) (observe func(*loop.Loop) loop.Observer, err error) {
	c := &e.settings.Watchdog
	if !c.Enabled {
		return nil, nil
	}
	sink, err := e.openLog(c.File, stdout)
	if err != nil {
		return nil, err
	}
	watch := c.Watch()
	e.steward = loop.NewSteward()
	watch.Log, watch.Sink, watch.Steward = e.log, sink, e.steward
	watch.Escalation.Abort = e.abort
	if err := checkSnapshotDir(watch.SnapshotDir); err != nil {
		return nil, err
	}
	e.watchdog = watchdog.New(watch)
	return e.watchdog.Observe, nil
}

// startBackends starts what the config does not name, and prepares /bid to ask all of them.
func (e *edge) startBackends() error {
	if e.flags.file != "" {
		return nil
	}
	store, addresses := e.flags.store, e.flags.bidders
	if store == "" || len(addresses) == 0 {
		config := backend.Config{Store: "127.0.0.1:0", Seed: 1, Delay: backend.Delay{Mean: 5 * time.Millisecond, Deviation: 2 * time.Millisecond}}
		if len(addresses) == 0 {
			config.Bidders = []string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}
		}
		set, err := backend.Start(config)
		if err != nil {
			return listenError("", err)
		}
		e.backends = set
	}
	if store == "" {
		store = e.backends.StoreAddr
	}
	var bidders []bidder
	for _, address := range addresses {
		bidders = append(bidders, bidder{address, address})
	}
	if len(addresses) == 0 {
		for i, address := range e.backends.BidderAddrs {
			bidders = append(bidders, bidder{backend.BidderName(i), address})
		}
	}
	e.bidding = newBidding(e.settings.Server.Loops, store, bidders, e.log)
	return nil
}

func (e *edge) startAccessLog(stdout io.Writer) error {
	c := &e.settings.AccessLog
	w, err := e.openLog(c.File, stdout)
	if err != nil || w == nil {
		return err
	}
	options := middleware.AccessLogOptions{BufferBytes: int(c.BufferBytes), FlushEvery: time.Duration(c.FlushEvery), Log: e.log}
	if c.Format == "combined" {
		options.Format = middleware.AccessLogCombined
	}
	e.accessLog = middleware.NewAccessLog(w, options)
	return nil
}

func (e *edge) startTracing() (err error) {
	c := &e.settings.Tracing
	if c.Endpoint == "" {
		return nil
	}
	o := c.Options()
	o.Log = e.log
	e.tracing, err = tracing.New(o)
	return err
}

// spans counts what was traced; nil where nothing is.
func (e *edge) spans() func() (ended, exported, failed uint64) {
	if e.tracing == nil {
		return nil
	}
	return func() (ended, exported, failed uint64) {
		s := e.tracing.Stats()
		return s.Ended, s.Exported, s.Failed
	}
}

// logLinesDropped counts, by log, the lines that were not written.
func (e *edge) logLinesDropped() map[string]uint64 {
	dropped := map[string]uint64{"server": e.stderr.dropped()}
	if e.accessLog != nil {
		dropped["access"] = e.accessLog.Dropped()
	}
	if e.watchdog != nil {
		dropped["watchdog"] = e.watchdog.Lost()
	}
	return dropped
}

// openLog opens what path names: a file, "-" for stdout, or "off", which is nil.
func (e *edge) openLog(path config.Path, stdout io.Writer) (io.Writer, error) {
	switch path {
	case "off":
		return nil, nil
	case "-":
		return stdout, nil
	}
	file, err := openLogFile(string(path))
	if err != nil {
		return nil, err
	}
	e.files = append(e.files, file)
	return file, nil
}

// close ends what runs, the server at once unless a drain has ended it.
func (e *edge) close() error {
	var errs []error
	e.endTakeOver()
	if e.server != nil {
		errs = append(errs, e.stopServer())
	}
	if e.renewing != nil {
		e.renewing()
	}
	if e.watchdog != nil {
		e.watchdog.Stop()
		e.steward.Stop()
	}
	if e.admin != nil {
		errs = append(errs, e.admin.Close())
	}
	if e.tracing != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		if err := e.tracing.Close(ctx); err != nil {
			e.log.Warn("the last spans are lost", "error", err)
		}
		cancel()
	}
	if e.accessLog != nil {
		if err := e.accessLog.Close(); err != nil {
			e.log.Warn("the last lines of the access log are lost", "error", err)
		}
	}
	for _, file := range e.files {
		_ = file.Close() // what was written has been written
	}
	for _, r := range append(e.retired, e.resources) {
		if r != nil {
			r.Close()
		}
	}
	if e.bidding != nil {
		e.bidding.close()
	}
	if e.backends != nil {
		errs = append(errs, e.backends.Close())
	}
	return errors.Join(errs...)
}

func (e *edge) stopServer() error {
	select {
	case <-e.server.Done():
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return e.server.Stop(ctx)
}
