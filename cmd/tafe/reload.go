// reload.go owns what SIGHUP does: log files are opened anew, and the configuration file is read anew and taken as a whole
// or not at all. It knows no key.

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tafe/app"
	"tafe/cmd/tafe/internal/config"
)

// swapTimeout is how long a reload waits for loops that are held. They take the new routes when they are free.
const swapTimeout = time.Second

// hangup acts on SIGHUP.
func (e *edge) hangup() {
	e.renewCertificates(true)
	if len(e.files) == 0 && e.flags.file == "" {
		e.log.Info("SIGHUP: no file to open anew, and no configuration file to read")
		return
	}
	e.reopen()
	if e.flags.file == "" {
		return
	}
	e.reloads.Add(1)
	if err := e.reload(); err != nil {
		e.reloadsFailed.Add(1)
		e.log.Error("SIGHUP: the configuration stays as it was", "file", e.flags.file, "reason", oneLine(err.Error()))
		return
	}
	e.log.Info("SIGHUP: configuration reloaded", "file", e.flags.file, "routes", len(e.settings.Routes))
}

// retireAfter is how long requests that began before a reload may still need connections of upstreams that it has dropped.
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

// retiredMax bounds what quick reloads leave behind.
const retiredMax = 16

// reopen opens anew what may have been moved away.
func (e *edge) reopen() {
	for _, f := range e.files {
		if err := f.reopen(); err != nil {
			e.log.Error("SIGHUP: a log goes on with its old file", "error", err)
			continue
		}
		e.log.Info("SIGHUP: log opened anew", "file", f.path)
	}
}

// reload takes the file as it is now, from the next request of every connection on. With an error nothing has changed.
func (e *edge) reload() error {
	next, err := e.flags.settings()
	if err != nil {
		return err
	}
	if keys := e.settings.NeedRestart(next); len(keys) > 0 {
		return fmt.Errorf("%s cannot change while the server runs: restart it, or set the old value", strings.Join(keys, ", "))
	}
	a, resources, err := next.App(e.appOptions(next), e.tracing, e.resources)
	if err != nil {
		return err
	}
	before := e.server.App()
	ctx, cancel := context.WithTimeout(context.Background(), swapTimeout)
	defer cancel()
	if err := e.server.Swap(ctx, a); err != nil {
		if ctx.Err() == nil {
			return err
		}
		e.log.Warn("SIGHUP: a loop is held and serves as before until it is free", "error", err)
	}
	resources.Start()
	e.resources.HandOver(resources)
	e.retire(before, e.resources)
	e.settings, e.resources = next, resources
	e.shown.Store(resources)
	e.logWarnings()
	e.logEach(resources.Broken())
	e.level.Set(next.LogLevel())
	return nil
}
