// Start and end of everything that the serve command runs: logs, admin listener, watchdog, server. It starts in that order and
// ends in the reverse; a start that fails ends what it has started. Signals are in serve.go, reloads in reload.go.

package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/app/admin"
	"tafe/app/edge/internal/acme"
	"tafe/app/edge/internal/config"
	"tafe/app/middleware"
	"tafe/app/tracing"
	"tafe/loop"
	"tafe/loop/reactor"
	"tafe/loop/watchdog"
)

// stopTimeout bounds the end of the loops after the drain.
const stopTimeout = 10 * time.Second

// edge is everything that serve runs. Fields of parts that were not started are nil.
type edge struct {
	env       *Env             // of compiled parts
	registry  *config.Registry // of compiled parts
	flags     *serveFlags
	settings  *config.Config // the current ones
	log       *slog.Logger
	level     *slog.LevelVar // of log
	stderr    *logQueue      // behind log
	files     []*logFile
	accessLog *middleware.AccessLog
	openLogOf func(*config.SiteAccessLog) (config.SiteLog, error)
	tracing   *tracing.Tracing
	admin     *admin.Endpoint
	steward   *loop.Steward // of the watchdog and the server; nil without a watchdog
	watchdog  *watchdog.Watchdog
	server    *app.Server
	resources *config.Resources                // of the settings
	retired   []*config.Resources              // of earlier settings
	shown     atomic.Pointer[config.Resources] // resources, for goroutines
	operating sync.Mutex                       // held by operations on upstreams and by reloads, which inherit them
	certs     []*config.Certificates
	// Certificates that are obtained; see acme.go. acme is nil if the file names none.
	acme       *acme.Manager
	acmeBroken config.Problems
	stapler    *acme.Stapler
	upkeep     func() // stops fetching OCSP responses and ticket keys
	// Counters of reloads of the configuration, and of those that failed.
	reloads, reloadsFailed atomic.Uint64
	renewing               func() // stops the checks for renewed certificates
	takeOver
}

// start starts everything or nothing, by the flags, settings and log of e. stdout is for logs with the file "-".
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
	if err := e.startAccessLog(stdout); err != nil {
		return err
	}
	if err := e.startTracing(); err != nil {
		return err
	}
	// Compiled parts may ask for the address of the admin listener, so it is opened before they are made.
	c := e.settings
	if err := e.listenAdmin(string(c.Admin.Listen)); err != nil {
		return err
	}
	e.env.Admin = e.admin.Addr().String()
	e.openLogOf = e.openSiteLog(stdout)
	c.OpenLog = e.openLogOf
	a, resources, err := c.App(e.appOptions(c), e.tracing, nil)
	if err != nil {
		return err
	}
	e.resources = resources
	observe, err := e.newWatchdog(stdout)
	if err != nil {
		return err
	}
	if err := e.makeAcme(); err != nil {
		return err
	}
	listeners, stores, err := c.AppListeners(e.sources())
	if err != nil {
		return err
	}
	e.certs = stores
	e.server, err = app.Listen(a, app.ServerConfig{
		Listeners: listeners, Inherited: e.inherited, Loops: c.Server.Loops, ConnMax: c.Limits.ConnMax,
		ConnMaxPerIP: c.Limits.ConnMaxPerIP, DialMax: c.Limits.DialMax, Limits: c.LoopLimits(), Handoff: time.Duration(c.Server.Handoff),
		Steward: e.steward, Observe: observe, Ready: e.ready(ctx),
	})
	switch failed := (startError{}); {
	case errors.As(err, &failed):
		return failed.error
	case err != nil:
		return ListenError(addresses(listeners), err)
	}
	e.shown.Store(e.resources)
	e.logProblems()
	e.renewing = e.renew()
	e.startAcme()
	if e.watchdog != nil {
		e.watchdog.Start()
		e.steward.Start()
	}
	e.admin.Serve(admin.Config{
		Server: e.server, Watchdog: e.watchdog, Budget: time.Duration(c.Watchdog.Budget), Log: e.log, Upstreams: e.upstreams,
		UpstreamGroups: e.upstreamGroups, Operate: e.operate, Token: c.Admin.Token.Reveal(),
		Spans: e.spans(), Version: shownVersion(), Certificates: e.certificates(e.certs), Reloads: e.reloadCounts,
		LogLinesDropped: e.logLinesDropped, Problems: e.problems, CertificateList: e.certificateList, CertificateCounts: e.acmeCounts(),
	})
	return e.finishTakeOver(ctx)
}

// ready returns what the engine calls before it accepts connections: compiled parts start, and may dial.
func (e *edge) ready(ctx context.Context) func(*reactor.Engine) error {
	return func(engine *reactor.Engine) error {
		e.env.Dialer.Bind(engine)
		if err := e.resources.Start(ctx); err != nil {
			return startError{err}
		}
		return nil
	}
}

// startError is the error of a start hook, as opposed to that of listening.
type startError struct{ error }

func (e *edge) appOptions(c *config.Config) app.Options {
	options := c.Options()
	options.Log = e.log
	if e.accessLog != nil {
		options.AccessLog = e.accessLog.Record
	}
	return options
}

func (e *edge) startAccessLog(stdout io.Writer) error {
	c := &e.settings.AccessLog
	w, err := e.openLog(c.File, stdout, e.rotationOf(&c.LogLines))
	if err != nil {
		return fmt.Errorf("access_log.file: %w", err)
	}
	if w == nil {
		return nil
	}
	options := c.LogLines.Options()
	options.Log = e.log
	e.accessLog = middleware.NewAccessLog(w, options)
	return nil
}

func (e *edge) rotationOf(l *config.LogLines) rotation {
	return rotation{bytesMax: int64(l.RotateBytes), every: time.Duration(l.RotateEvery), keep: l.RotateKeep, log: e.log, now: time.Now}
}

// siteLog is the access log of a site, with its file.
type siteLog struct {
	*middleware.AccessLog
	file *logFile // nil: stdout
}

// openSiteLog returns Config.OpenLog. stdout is for logs with the file "-".
func (e *edge) openSiteLog(stdout io.Writer) func(*config.SiteAccessLog) (config.SiteLog, error) {
	return func(c *config.SiteAccessLog) (config.SiteLog, error) {
		l := &siteLog{}
		w := stdout
		if c.File != "-" {
			var err error
			if l.file, err = openLogFile(string(c.File), e.rotationOf(&c.LogLines)); err != nil {
				return nil, err
			}
			w = l.file
		}
		options := c.LogLines.Options()
		options.Log = e.log
		l.AccessLog = middleware.NewAccessLog(w, options)
		return l, nil
	}
}

// Reopen opens the file again.
func (l *siteLog) Reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

// Close writes the last lines, and closes the file.
func (l *siteLog) Close() error {
	err := l.AccessLog.Close()
	if l.file != nil {
		_ = l.file.Close() // all lines were written
	}
	return err
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

// spans returns the counters of tracing; nil without tracing.
func (e *edge) spans() func() (ended, exported, failed uint64) {
	if e.tracing == nil {
		return nil
	}
	return func() (ended, exported, failed uint64) {
		s := e.tracing.Stats()
		return s.Ended, s.Exported, s.Failed
	}
}

// logLinesDropped returns the number of dropped lines by log.
func (e *edge) logLinesDropped() map[string]uint64 {
	dropped := map[string]uint64{"server": e.stderr.dropped()}
	if e.accessLog != nil {
		dropped["access"] = e.accessLog.Dropped()
	}
	if r := e.shown.Load(); r != nil {
		for _, l := range r.Logs() {
			dropped["access"] += l.Dropped()
		}
	}
	if e.watchdog != nil {
		dropped["watchdog"] = e.watchdog.Lost()
	}
	return dropped
}

// openLog opens a file, "-" for stdout, or "off", which is nil.
func (e *edge) openLog(path config.Path, stdout io.Writer, r rotation) (io.Writer, error) {
	switch path {
	case "off":
		return nil, nil
	case "-":
		return stdout, nil
	}
	file, err := openLogFile(string(path), r)
	if err != nil {
		return nil, err
	}
	e.files = append(e.files, file)
	return file, nil
}

// close stops everything that runs. The server stops at once unless it was drained.
func (e *edge) close() error {
	var errs []error
	e.endTakeOver()
	e.closeAcme()
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
			e.log.Warn("the last spans were not exported", "error", err)
		}
		cancel()
	}
	if e.accessLog != nil {
		if err := e.accessLog.Close(); err != nil {
			e.log.Warn("the last lines of the access log are lost", "error", err)
		}
	}
	for _, file := range e.files {
		_ = file.Close() // all lines were written
	}
	for _, r := range append(e.retired, e.resources) {
		if r != nil {
			r.Close()
		}
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
