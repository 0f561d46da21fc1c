// SIGHUP: log files are reopened, and the configuration file is read again and applied as a whole or not at all.

package edge

import (
	"context"
	"errors"
	"time"

	"tafe/app"
	"tafe/app/edge/internal/config"
)

// swapTimeout is how long a reload waits for held loops. They apply the new routes when they are free.
const swapTimeout = time.Second

// hangup handles SIGHUP. A SIGTERM during a start hook ends the reload.
func (e *edge) hangup(ctx context.Context) {
	e.renewCertificates(true)
	if len(e.files) == 0 && e.flags.file == "" {
		e.log.Info("SIGHUP: no log file to reopen and no configuration file to read")
		return
	}
	e.reopen()
	if e.flags.file == "" {
		return
	}
	e.reloads.Add(1)
	ctx, cancel := untilTold(ctx)
	defer cancel()
	if err := e.reload(ctx); err != nil {
		e.reloadsFailed.Add(1)
		e.log.Error("SIGHUP: configuration not reloaded", "file", e.flags.file, "reason", oneLine(err.Error()))
		return
	}
	e.log.Info("SIGHUP: configuration reloaded", "file", e.flags.file, "routes", e.settings.RouteCount())
}

// retireAfter is how long requests from before a reload may use the connections of removed upstreams.
const retireAfter = time.Minute

// retire closes the App and the resources that a reload has replaced, after retireAfter.
func (e *edge) retire(a *app.App, r *config.Resources) {
	time.AfterFunc(retireAfter, func() {
		r.Close()
		a.Close()
	})
	e.retired = append(e.retired, r)
	if len(e.retired) > retiredMax {
		e.retired[0].Close()
		e.retired = e.retired[1:]
	}
}

// retiredMax bounds the resources that frequent reloads keep.
const retiredMax = 16

// reopen reopens the log files.
func (e *edge) reopen() {
	for _, f := range e.files {
		if err := f.reopen(); err != nil {
			e.log.Error("SIGHUP: log not reopened", "error", err)
			continue
		}
		e.log.Info("SIGHUP: log reopened", "file", f.path)
	}
	if e.resources == nil {
		return
	}
	for _, l := range e.resources.Logs() {
		if err := l.Reopen(); err != nil {
			e.log.Error("SIGHUP: log not reopened", "error", err)
		}
	}
}

// reload applies the file from the next request of every connection on. If it returns an error, nothing has changed.
func (e *edge) reload(ctx context.Context) error {
	next, err := e.flags.settings(nil, e.registry)
	if err != nil {
		return err
	}
	if changed := e.settings.NeedRestart(next); len(changed) > 0 {
		return changed
	}
	if e.acme == nil && next.ObtainsCertificates() {
		return errors.New("[acme] cannot begin while the server runs: restart it")
	}
	next.OpenLog = e.openLogOf
	e.operating.Lock()
	defer e.operating.Unlock()
	a, resources, err := next.App(e.appOptions(next), e.tracing, e.resources)
	if err != nil {
		return err
	}
	if err := resources.Start(ctx); err != nil {
		resources.Discard(e.resources)
		a.Close()
		return err
	}
	before := e.server.App()
	ctx, cancel := context.WithTimeout(context.Background(), swapTimeout)
	defer cancel()
	if err := e.server.Swap(ctx, a); err != nil {
		if ctx.Err() == nil {
			resources.Discard(e.resources)
			a.Close()
			return err
		}
		e.log.Warn("SIGHUP: a held loop serves the old configuration until it is free", "error", err)
	}
	e.resources.TransferTo(resources)
	go e.resources.Drain()
	e.retire(before, e.resources)
	e.settings, e.resources = next, resources
	if e.acme != nil {
		e.acme.SetNames(next.Names())
	}
	for _, s := range e.certs {
		s.Follow(next)
	}
	e.shown.Store(resources)
	e.logWarnings()
	e.logEach(resources.Broken())
	e.level.Set(next.LogLevel())
	return nil
}
