// edge.go owns what runs behind the serve command: the demo's backends, the access log, the admin listener, the watchdog, the
// server. Started in that order, ended in the reverse, and never by halves. It knows no flag and no signal.

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"tafe/app"
	"tafe/app/admin"
	"tafe/app/middleware"
	"tafe/cmd/tafe/internal/backend"
	"tafe/loop"
	"tafe/loop/watchdog"
)

// stopTimeout is for loops to end what runs, once nothing is waited for any more.
const stopTimeout = 10 * time.Second

// recentMax is how many overruns can be listed: more than all loops together can have between two looks of the admin listener.
const recentMax = 1024

// edge is everything that serve runs. A nil field was not started.
type edge struct {
	config     serveConfig
	log        *slog.Logger
	backends   *backend.Set // what --store and --bidders do not name
	bidding    *bidding
	accessFile *logFile
	accessLog  *middleware.AccessLog
	admin      *admin.Listener
	watchdog   *watchdog.Watchdog
	server     *app.Server
}

// startEdge starts everything or nothing. Stdout takes the access log if the config says so.
func startEdge(config serveConfig, log *slog.Logger, stdout io.Writer) (e *edge, err error) {
	e = &edge{config: config, log: log}
	defer func() {
		if err != nil {
			_ = e.close()
		}
	}()
	if err := e.startBackends(); err != nil {
		return e, err
	}
	options := app.Options{Log: log}
	if err := e.startAccessLog(stdout); err != nil {
		return e, err
	}
	if e.accessLog != nil {
		options.AccessLog = e.accessLog.Record
	}
	// The pages of the demo name the admin address: it has to be known, port 0 and all, before they are made.
	e.admin, err = admin.Listen(config.admin)
	if err != nil {
		return e, listenError(config.admin, err)
	}
	a := demoApp(options, e.admin.Addr().String(), e.bidding)
	var observe func(*loop.Loop) loop.Observer
	if config.watchdog {
		e.watchdog = watchdog.New(watchdog.Config{Log: log, RecentMax: recentMax})
		observe = e.watchdog.Observe
	}
	meter := &admin.Meter{}
	e.server, err = app.Listen(a, app.ServerConfig{
		Addr: config.listen, Loops: config.loops, Limits: loop.Limits{SliceBudget: config.budget}, Observe: meter.Observe(observe),
	})
	if err != nil {
		return e, listenError(config.listen, err)
	}
	if e.watchdog != nil {
		e.watchdog.Start()
	}
	e.bidding.bind(e.server.Engine())
	e.admin.Serve(admin.Config{Server: e.server, Watchdog: e.watchdog, Meter: meter, Budget: config.budget, Log: log})
	return e, nil
}

// startBackends starts what the config does not name, and prepares /bid to ask all of them.
func (e *edge) startBackends() error {
	store, addresses := e.config.store, e.config.bidders
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
	e.bidding = newBidding(e.config.loops, store, bidders, e.log)
	return nil
}

func (e *edge) startAccessLog(stdout io.Writer) (err error) {
	w := stdout
	switch e.config.accessLog {
	case "off":
		return nil
	case "-":
	default:
		if e.accessFile, err = openLogFile(e.config.accessLog); err != nil {
			return err
		}
		w = e.accessFile
	}
	e.accessLog = middleware.NewAccessLog(w, middleware.AccessLogOptions{Log: e.log})
	return nil
}

// hangup opens anew what may have been moved away.
func (e *edge) hangup() {
	if e.accessFile == nil {
		e.log.Info("SIGHUP: no file to open anew")
		return
	}
	if err := e.accessFile.reopen(); err != nil {
		e.log.Error("SIGHUP: the access log goes on with the old file", "error", err)
		return
	}
	e.log.Info("SIGHUP: access log opened anew", "file", e.config.accessLog)
}

// close ends what runs, the server at once unless a drain has ended it.
func (e *edge) close() error {
	var errs []error
	if e.server != nil {
		errs = append(errs, e.stopServer())
	}
	if e.watchdog != nil {
		e.watchdog.Stop()
	}
	if e.admin != nil {
		errs = append(errs, e.admin.Close())
	}
	if e.accessLog != nil {
		errs = append(errs, e.accessLog.Close())
	}
	if e.accessFile != nil {
		errs = append(errs, e.accessFile.Close())
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
