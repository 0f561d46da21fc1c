// serve.go owns the serve command: its flags, and what signals do. What is started, and in which order, is in edge.go.

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
)

// serveConfig is what the flags of serve say.
type serveConfig struct {
	listen, admin string
	loops         int
	logFormat     string
	accessLog     string // a file, "-" or "off"
	drainTimeout  time.Duration
	watchdog      bool
	budget        time.Duration // of a slice
	store         string        // empty: the embedded one
	bidders       []string      // empty: the embedded ones
}

func serveFlags(args []string, stdout io.Writer) (serveConfig, error) {
	var c serveConfig
	var bidders string
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`address` to serve on")
	fs.StringVar(&c.admin, "admin", "127.0.0.1:9180", "`address` of the admin listener")
	fs.IntVar(&c.loops, "loops", runtime.GOMAXPROCS(0), "`number` of event loops")
	watch := fs.String("watchdog", "on", "`on` or off: name the code that holds a loop")
	fs.DurationVar(&c.budget, "budget", 10*time.Millisecond, "how long a handler may hold its loop before the watchdog reports it")
	fs.StringVar(&c.logFormat, "log-format", "text", "`format` of the log on stderr: text or json")
	fs.StringVar(&c.accessLog, "access-log", "off", "`file` for a JSON line per answer, - for stdout, or off; SIGHUP opens it anew")
	fs.DurationVar(&c.drainTimeout, "drain-timeout", 30*time.Second, "how long requests in flight may go on after SIGTERM")
	fs.StringVar(&c.store, "store", "", "`address` of a memcached-protocol store for /bid (default: embedded)")
	fs.StringVar(&bidders, "bidders", "", "`addresses` of HTTP bidders for /bid, separated by commas (default: embedded)")
	if err := parseFlags(fs, args, stdout); err != nil {
		return c, err
	}
	for name, address := range map[string]string{"listen": c.listen, "admin": c.admin, "store": c.store} {
		if address == "" && name == "store" {
			continue
		}
		if err := checkAddress(address); err != nil {
			return c, usagef("--%s: %v", name, err)
		}
	}
	if bidders != "" {
		var err error
		if c.bidders, err = splitAddresses(bidders); err != nil {
			return c, usagef("--bidders: %v", err)
		}
	}
	c.watchdog = *watch == "on"
	switch {
	case *watch != "on" && *watch != "off":
		return c, usagef("--watchdog %q is neither on nor off", *watch)
	case c.budget < budgetMin:
		return c, usagef("--budget %v is below %v", c.budget, budgetMin)
	case c.loops < 1 || c.loops > loopsMax:
		return c, usagef("--loops %d is not between 1 and %d", c.loops, loopsMax)
	case c.drainTimeout < 0:
		return c, usagef("--drain-timeout %v is negative", c.drainTimeout)
	case c.accessLog == "":
		return c, usagef("--access-log is empty: name a file, - or off")
	case c.logFormat != "text" && c.logFormat != "json":
		return c, usagef("--log-format %q is neither text nor json", c.logFormat)
	}
	return c, nil
}

// loopsMax keeps a slip of the finger from starting a million loops.
const loopsMax = 1024

// budgetMin is what the watchdog can still tell from its own lateness.
const budgetMin = 100 * time.Microsecond

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
	e, err := startEdge(config, log, stdout)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "serving http://%s/, admin http://%s/\n", e.server.Addr(), e.admin.Addr())
	err = e.untilSignal(ctx, signals)
	return errors.Join(err, e.close())
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
			e.hangup()
		}
	}
}

// drain ends the server without breaking what it has begun, until the timeout or a second signal.
func (e *edge) drain(ctx context.Context, first os.Signal, signals <-chan os.Signal) error {
	e.log.Info("draining", "signal", first.String(), "timeout", e.config.drainTimeout)
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, e.config.drainTimeout)
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				switch {
				case s == syscall.SIGHUP:
					e.hangup()
				case time.Since(began) > signalEcho:
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

// signalEcho is how soon a second signal is the first one again: some supervisors signal a process and then its group.
const signalEcho = time.Second
