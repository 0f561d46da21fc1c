// serve.go owns the serve command: its flags, what is started in which order, and what signals do. It knows no route.

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"tafe/app"
)

// serveConfig is what the flags of serve say.
type serveConfig struct {
	listen, admin string
	loops         int
	logFormat     string
	drainTimeout  time.Duration
}

func serveFlags(args []string, stdout io.Writer) (serveConfig, error) {
	var c serveConfig
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`address` to serve on")
	fs.StringVar(&c.admin, "admin", "127.0.0.1:9180", "`address` of the admin listener")
	fs.IntVar(&c.loops, "loops", runtime.GOMAXPROCS(0), "`number` of event loops")
	fs.StringVar(&c.logFormat, "log-format", "text", "`format` of the log on stderr: text or json")
	fs.DurationVar(&c.drainTimeout, "drain-timeout", 30*time.Second, "how long requests in flight may go on after SIGTERM")
	if err := parseFlags(fs, args, stdout); err != nil {
		return c, err
	}
	for name, address := range map[string]string{"listen": c.listen, "admin": c.admin} {
		if err := checkAddress(address); err != nil {
			return c, usagef("--%s: %v", name, err)
		}
	}
	switch {
	case c.loops < 1 || c.loops > loopsMax:
		return c, usagef("--loops %d is not between 1 and %d", c.loops, loopsMax)
	case c.drainTimeout < 0:
		return c, usagef("--drain-timeout %v is negative", c.drainTimeout)
	case c.logFormat != "text" && c.logFormat != "json":
		return c, usagef("--log-format %q is neither text nor json", c.logFormat)
	}
	return c, nil
}

const (
	loopsMax    = 1024             // a slip of the finger shall not start a million loops
	stopTimeout = 10 * time.Second // for loops to end what runs, once nothing is waited for any more
)

func newLog(format string, w io.Writer) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	config, err := serveFlags(args, stdout)
	if err != nil {
		return err
	}
	// Caught from the start, so that a signal during start-up is not lost. The buffer holds one of each.
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	// One P beyond the loops: with none to spare, whoever watches a stuck loop wakes when it is no longer stuck.
	if runtime.GOMAXPROCS(0) < config.loops+1 {
		runtime.GOMAXPROCS(config.loops + 1)
	}
	log := newLog(config.logFormat, stderr)
	e, err := startEdge(config, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "serving http://%s/, admin http://%s/\n", e.server.Addr(), e.admin.addr())
	err = e.untilSignal(ctx, signals)
	return errors.Join(err, e.close())
}

// edge is everything that serve runs.
type edge struct {
	config serveConfig
	log    *slog.Logger
	server *app.Server
	admin  *adminListener
}

// startEdge starts the server and the admin listener, or nothing.
func startEdge(config serveConfig, log *slog.Logger) (e *edge, err error) {
	e = &edge{config: config, log: log}
	defer func() {
		if err != nil {
			_ = e.close()
		}
	}()
	// The pages of the demo name the admin address: it has to be known, port 0 and all, before they are made.
	e.admin, err = listenAdmin(config.admin)
	if err != nil {
		return e, listenError(config.admin, err)
	}
	a := demoApp(app.Options{Log: log}, e.admin.addr())
	e.server, err = app.Listen(a, app.ServerConfig{Addr: config.listen, Loops: config.loops})
	if err != nil {
		return e, listenError(config.listen, err)
	}
	e.admin.serve(e.server, log)
	return e, nil
}

// untilSignal returns when the server is drained after SIGTERM or SIGINT, when ctx ends, or when the server fails. A second
// SIGTERM or SIGINT cuts the drain short.
func (e *edge) untilSignal(ctx context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.server.Done():
			return fmt.Errorf("the server ended by itself: %w", e.server.Engine().Err())
		case s := <-signals:
			if s != syscall.SIGHUP {
				return e.drain(ctx, s, signals)
			}
			e.log.Info("SIGHUP: the demo has nothing to reload")
		}
	}
}

func (e *edge) drain(ctx context.Context, first os.Signal, signals <-chan os.Signal) error {
	e.log.Info("draining", "signal", first.String(), "timeout", e.config.drainTimeout)
	ctx, cancel := context.WithTimeout(ctx, e.config.drainTimeout)
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if s != syscall.SIGHUP {
					e.log.Warn("drain cut short", "signal", s.String())
					cancel()
				}
			}
		}
	}()
	if err := e.server.Drain(ctx); err != nil {
		return err
	}
	e.log.Info("drained")
	return nil
}

func (e *edge) close() error {
	var errs []error
	if e.admin != nil {
		errs = append(errs, e.admin.close())
	}
	if e.server != nil {
		errs = append(errs, e.stopServer())
	}
	return errors.Join(errs...)
}

// stopServer ends the server at once, unless a drain has ended it.
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
