// The serve command and its signals. flags.go has its flags, edge.go what it starts.

package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"tafe/app"
	"tafe/app/edge/internal/acme"
	"tafe/loop/reactor"
)

func newLog(format string, w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// redirectLog makes lines of l of those that libraries write to stderr by themselves.
func redirectLog(l *slog.Logger) {
	acme.RedirectLog(l)
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(l.Handler(), slog.LevelWarn).Writer())
}

var errNoReason = errors.New("no loop has failed")

// errLogFull is the reason for dropped lines if no write has failed.
var errLogFull = errors.New("the reader of the log is too slow")

func (p *program) serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags, err := parseServeFlags(p.embedded, args, stdout)
	if err != nil {
		return err
	}
	env := &Env{Dialer: &reactor.Dialer{}}
	registry := p.registry(env)
	settings, err := flags.settings(p.embedded, registry)
	if err != nil {
		return err
	}
	// Signals are caught from the start, so that one during start-up is not lost. The buffer holds one of each.
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	surviveLogs()
	e := &edge{env: env, registry: registry, flags: flags, settings: settings, level: new(slog.LevelVar), stderr: newLogQueue(stderr, logQueueBytes)}
	defer e.stderr.close(logFlushWait)
	e.level.Set(settings.LogLevel())
	e.log = newLog(settings.Log.Format, e.stderr, e.level)
	e.stderr.drained = func(lost uint64, err error) {
		e.log.Warn("log lines dropped", "count", lost, "error", cmp.Or(err, errLogFull))
	}
	redirectLog(e.log)
	env.Log, env.Loops = e.log, settings.Server.Loops
	e.logWarnings()
	starting, started := untilTold(ctx)
	err = e.start(starting, stdout)
	if started(); err != nil {
		return err
	}
	answer := newLogQueue(stdout, logQueueBytes)
	defer answer.close(logFlushWait)
	fmt.Fprintf(answer, "serving %s, admin http://%s/\n", strings.Join(e.urls(), ", "), e.admin.Addr())
	if !e.before { // else finishTakeOver has sent it
		notify(e.log, daemon.SdNotifyReady)
	}
	go keepAlive(e.log, e.server, e.handed)
	err = e.untilSignal(ctx, signals)
	return errors.Join(err, e.close())
}

// untilTold returns a context that SIGTERM and SIGINT cancel, for what may take long on the goroutine that handles signals.
func untilTold(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
}

// untilSignal returns when the server is drained after SIGTERM or SIGINT, or because the next process has taken over; when ctx
// ends; or when the server fails. A SIGTERM or SIGINT during the drain ends the drain.
func (e *edge) untilSignal(ctx context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.server.Done():
			return fmt.Errorf("the server stopped unexpectedly: %w", cmp.Or(e.server.Engine().Err(), errNoReason))
		case <-e.handed:
			return e.drain(ctx, "the next process has taken over", signals)
		case s := <-signals:
			if s != syscall.SIGHUP {
				return e.drain(ctx, s.String(), signals)
			}
			notifyReloading(e.log)
			e.hangup(ctx)
			notify(e.log, daemon.SdNotifyReady)
		}
	}
}

// drain stops the server gracefully, until the timeout or a second signal.
func (e *edge) drain(ctx context.Context, cause string, signals <-chan os.Signal) error {
	delay, timeout := time.Duration(e.settings.Timeouts.DrainDelay), time.Duration(e.settings.Timeouts.Drain)
	if e.handedOver() {
		// Load balancers need no notice, and the supervisor watches the next process. Clients with kept connections, which would keep
		// using this process, get Connection: close.
		delay = keptMoment
		e.server.EndKept()
	} else {
		notify(e.log, daemon.SdNotifyStopping)
	}
	e.log.Info("draining", "cause", cause, "delay", delay, "timeout", timeout)
	if timeout == 0 {
		timeout = -1 // none
	}
	err := e.server.Shutdown(ctx, app.DrainOptions{
		Delay: delay, Timeout: timeout, Begin: e.endTakeOver, Hooks: e.resources.Drain, Signals: signals,
		Other: func(s os.Signal) bool {
			if s != syscall.SIGHUP {
				return false
			}
			e.reopen() // the configuration is not reloaded during a drain
			return true
		},
	})
	if err == nil {
		e.log.Info("drained")
	}
	return err
}

// keptMoment is how long clients with kept connections may send one more request after a takeover.
const keptMoment = 500 * time.Millisecond
