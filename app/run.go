// Run: a server for the life of a program, which ends by a signal. server.go has the server.

package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tafe/loop/reactor"
)

const (
	// drainTimeout is the default of DrainOptions.Timeout.
	drainTimeout = 30 * time.Second
	// signalEcho is the time in which a second signal counts as the first: some supervisors signal a process and then its group.
	signalEcho = time.Second
)

var errNoReason = errors.New("no loop has failed")

// RunConfig configures Run. Zero fields take their defaults.
type RunConfig struct {
	ServerConfig
	Life  *Life // hooks; nil: none
	Drain DrainOptions
	// Serving, if not nil, is called when the server accepts connections.
	Serving func(s *Server)
}

// Run serves a until the process receives SIGTERM or SIGINT or ctx ends, and then drains the server: requests in progress are answered. A
// second signal ends the drain. Run returns when the server has ended and the hooks of OnStop have run. It closes a.
//
// The hooks of OnStart run before the first connection is accepted; a signal cancels their context. The error is that of listening, of a
// hook, of a loop that has failed, or of Server.Drain; nil after a complete drain.
func Run(ctx context.Context, a *App, config RunConfig) error {
	defer a.Close()
	life := config.Life
	if life == nil {
		life = &Life{}
	}
	defer life.Stop()
	// Signals are caught from the start, so that one during a hook is not lost.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	starting, started := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer started()
	ready := config.Ready
	config.Ready = func(e *reactor.Engine) error {
		if ready != nil {
			if err := ready(e); err != nil {
				return err
			}
		}
		return life.Start(starting)
	}
	s, err := Listen(a, config.ServerConfig)
	if err != nil {
		return err
	}
	started()
	if config.Serving != nil {
		config.Serving(s)
	}
	o, cause := config.Drain, ""
	o.Signals = signals
	select {
	case <-s.Done():
		return fmt.Errorf("app: the server stopped unexpectedly: %w", cmp.Or(s.Engine().Err(), errNoReason))
	case got := <-signals:
		cause = got.String()
	case <-ctx.Done():
		cause = context.Cause(ctx).Error()
	}
	hooks := o.Hooks
	o.Hooks = func() {
		if hooks != nil {
			hooks()
		}
		life.Drain()
	}
	a.options.Log.Info("draining", "cause", cause, "delay", o.Delay, "timeout", cmp.Or(o.Timeout, drainTimeout))
	if err := s.Shutdown(context.WithoutCancel(ctx), o); err != nil {
		return err
	}
	a.options.Log.Info("drained")
	return nil
}

// DrainOptions configures Server.Shutdown. Zero fields take their defaults.
type DrainOptions struct {
	// Delay is the time during which requests are served as before while Server.Draining is true, so that load balancers send no new ones.
	// Default: none.
	Delay time.Duration
	// Timeout is the time for requests in progress after Delay; then they are cut off. Default 30 s. A negative Timeout is none.
	Timeout time.Duration
	// Begin, if not nil, is called after Delay, before the server stops accepting connections.
	Begin func()
	// Hooks, if not nil, is called on a goroutine of its own when the server stops accepting connections. Shutdown waits for it, until Timeout.
	Hooks func()
	// Signals, if not nil, has the signals of the process. One that is passed to it more than a second after the beginning of Shutdown ends the
	// drain, except those that Other takes.
	Signals <-chan os.Signal
	// Other, if not nil, reports whether a signal does not end the drain, and may act on it.
	Other func(os.Signal) bool
}

// Shutdown drains the server after a delay, with hooks, and until a second signal; see Drain for what a drain does, and for its errors.
func (s *Server) Shutdown(ctx context.Context, o DrainOptions) error {
	timeout := o.Timeout
	if timeout == 0 {
		timeout = drainTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, o.Delay+max(timeout, 0))
	defer cancel()
	go s.awaitSecond(ctx, cancel, &o)
	s.Announce()
	select {
	case <-time.After(o.Delay):
	case <-ctx.Done():
	}
	if o.Begin != nil {
		o.Begin()
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		if o.Hooks != nil {
			o.Hooks()
		}
	}()
	if err := s.Drain(ctx); err != nil {
		return err
	}
	select {
	case <-told:
	case <-ctx.Done():
		s.App().options.Log.Warn("a drain hook has not returned", "timeout", timeout)
	}
	return nil
}

// awaitSecond calls cancel at a second signal.
func (s *Server) awaitSecond(ctx context.Context, cancel context.CancelFunc, o *DrainOptions) {
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case got := <-o.Signals:
			switch {
			case o.Other != nil && o.Other(got):
			case time.Since(began) > signalEcho:
				s.App().options.Log.Warn("drain cut short", "signal", got.String())
				cancel()
			}
		}
	}
}
