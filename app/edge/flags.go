// The flags of serve. A flag that is given overrides the configuration file, after a reload too.

package edge

import (
	"flag"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"tafe/app/edge/internal/config"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	file          string // empty: the embedded configuration
	listen, admin string
	loops         int // given, or one for each CPU
	logFormat     string
	accessLog     string // a file, "-" or "off"
	drainTimeout  time.Duration
	watchdog      string        // on or off
	budget        time.Duration // of a slice
	handoff       config.Handoff
	overrunLog    string   // a file, "-" or "off"
	given         []string // names of the flags on the command line
	embedded      []string // names of the flags of the embedded configuration
}

// parseServeFlags parses the flags of serve and those of the embedded configuration, which may be nil.
func parseServeFlags(embedded *Embedded, args []string, stdout io.Writer) (*serveFlags, error) {
	f, d := &serveFlags{}, config.Default()
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&f.file, "config", "", "configuration `file`, in place of the embedded one; other flags override it; SIGHUP reloads it")
	fs.StringVar(&f.file, "c", "", "short for --config `file`")
	fs.StringVar(&f.listen, "listen", string(d.Server.Listen), "`address` to serve on: HOST:PORT, unix:/path or systemd:NAME")
	fs.StringVar(&f.admin, "admin", string(d.Admin.Listen), "`address` of the admin listener")
	fs.IntVar(&f.loops, "loops", runtime.GOMAXPROCS(0), "`number` of event loops")
	fs.StringVar(&f.watchdog, "watchdog", "on", "`on` or off: report code that holds a loop")
	fs.DurationVar(&f.budget, "budget", time.Duration(d.Watchdog.Budget), "longest time that a handler may hold its loop without a report")
	f.handoff = d.Server.Handoff
	fs.TextVar(&f.handoff, "handoff", f.handoff, "longest `duration` that a handler may hold its loop while others wait, before the loop is handed over; or off")
	fs.StringVar(&f.overrunLog, "overrun-log", string(d.Watchdog.File), "`file` for one JSON line per overrun (see tafe overruns), - for stdout, or off; SIGHUP reopens it")
	fs.StringVar(&f.logFormat, "log-format", d.Log.Format, "`format` of the log on stderr: text or json")
	fs.StringVar(&f.accessLog, "access-log", string(d.AccessLog.File), "`file` for one JSON line per response, - for stdout, or off; SIGHUP reopens it")
	fs.DurationVar(&f.drainTimeout, "drain-timeout", time.Duration(d.Timeouts.Drain), "time that requests in flight may take after SIGTERM")
	if embedded != nil && embedded.Flags != nil {
		f.embedded = addFlags(fs, embedded.Flags)
	}
	if err := ParseFlags(fs, args, stdout); err != nil {
		return nil, err
	}
	fs.Visit(func(given *flag.Flag) { f.given = append(f.given, given.Name) })
	return f, f.check(embedded != nil)
}

// addFlags adds the flags of add to fs, and returns their names.
func addFlags(fs *flag.FlagSet, add func(*flag.FlagSet)) (names []string) {
	own := flag.NewFlagSet("", flag.ContinueOnError)
	add(own)
	own.VisitAll(func(f *flag.Flag) {
		fs.Var(f.Value, f.Name, f.Usage)
		names = append(names, f.Name)
	})
	return names
}

// loopsMax bounds --loops.
const loopsMax = 1024

// budgetMin is the shortest budget that exceeds the lateness of the watchdog.
const budgetMin = 100 * time.Microsecond

func (f *serveFlags) check(embedded bool) error {
	if err := checkListen(f.listen); err != nil {
		return Usagef("--listen: %v", err)
	}
	if err := CheckAddress(f.admin); err != nil {
		return Usagef("--admin: %v", err)
	}
	switch {
	case f.file == "" && (f.has("config") || f.has("c")):
		return Usagef("--config is empty: name a file")
	case f.file != "" && slices.ContainsFunc(f.embedded, f.has):
		return Usagef("--%s belong to the embedded configuration and cannot be used with --config", strings.Join(f.embedded, " and --"))
	case f.file == "" && !embedded:
		return Usagef("a configuration file is required: %s serve --config FILE", programName())
	case f.watchdog != "on" && f.watchdog != "off":
		return Usagef("--watchdog %q is neither on nor off", f.watchdog)
	case f.budget < budgetMin:
		return Usagef("--budget %v is below %v", f.budget, budgetMin)
	case f.loops < 1 || f.loops > loopsMax:
		return Usagef("--loops %d is not between 1 and %d", f.loops, loopsMax)
	case f.drainTimeout < 0:
		return Usagef("--drain-timeout %v is negative", f.drainTimeout)
	case f.overrunLog == "":
		return Usagef("--overrun-log is empty: name a file, - or off")
	case f.accessLog == "":
		return Usagef("--access-log is empty: name a file, - or off")
	case f.logFormat != "text" && f.logFormat != "json":
		return Usagef("--log-format %q is neither text nor json", f.logFormat)
	}
	return nil
}

func (f *serveFlags) has(name string) bool { return slices.Contains(f.given, name) }

// settings reads the file, or the embedded configuration, and applies the flags that were given.
func (f *serveFlags) settings(embedded *Embedded, registry *config.Registry) (c *config.Config, err error) {
	if f.file != "" {
		c, err = config.Load(f.file, registry)
	} else {
		c, err = embedded.parse(registry)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range f.given {
		switch name {
		case "listen":
			if len(c.Listeners) > 0 {
				return nil, Usagef("--listen: %s has [[listener]] sections: change them there", f.file)
			}
			c.Server.Listen = config.ListenAddress(f.listen)
		case "admin":
			c.Admin.Listen = config.Address(f.admin)
		case "loops":
			c.Server.Loops = f.loops
		case "watchdog":
			c.Watchdog.Enabled = f.watchdog == "on"
		case "budget":
			c.Watchdog.Budget = config.Duration(f.budget)
		case "handoff":
			c.Server.Handoff = f.handoff
		case "overrun-log":
			c.Watchdog.File = config.Path(f.overrunLog)
		case "log-format":
			c.Log.Format = f.logFormat
		case "access-log":
			c.AccessLog.File = config.Path(f.accessLog)
		case "drain-timeout":
			c.Timeouts.Drain = config.Duration(f.drainTimeout)
		}
	}
	if c.Server.Loops == 0 {
		c.Server.Loops = f.loops
	}
	return c, nil
}

// parse reads the embedded configuration.
func (e *Embedded) parse(registry *config.Registry) (*config.Config, error) {
	text, err := e.Config()
	if err != nil {
		return nil, err
	}
	return config.Parse("embedded configuration", []byte(text), registry)
}
