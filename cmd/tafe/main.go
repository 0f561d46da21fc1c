// Command tafe is an HTTP edge application server. "tafe serve" runs it; "tafe help" lists the other commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// The exit codes: scripts and service managers rely on them.
const (
	exitOK      = 0
	exitFailure = 1 // it could not be done: a taken port, a file that is not there
	exitUsage   = 2 // it was asked for in a way that means nothing
	exitStuck   = 3 // a loop was held for longer than watchdog.abort_after
)

// command is one subcommand. Run reports what is wrong as an error of one line; errors made by usagef mean exit code 2.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

func commands() []command {
	return []command{
		{"serve", "run the server, as a configuration file says or with its embedded demo", serve},
		{"check", "tell what is wrong with a configuration file", check},
		{"backend", "run the demo's backends alone: a memcached-protocol store and HTTP bidders", runBackend},
		{"watch", "show in a terminal what a running server's loops are doing, and who held them", runWatch},
		{"overruns", "rank what a log of the watchdog holds: who made others wait, and for how long", runOverruns},
		{"version", "print the version", printVersion},
	}
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run carries out one command line and returns the exit code. Whatever went wrong stands on one line of stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printUsage(stderr)
		return exitUsage
	}
	name := args[0]
	switch name {
	case "help", "-h", "-help", "--help":
		printUsage(stdout)
		return exitOK
	case "-v", "-version", "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		err := c.run(ctx, args[1:], stdout, stderr)
		if err == nil || errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		writeBounded(stderr, fmt.Appendf(nil, "tafe %s: %s\n", name, oneLine(err.Error())))
		if errors.As(err, new(usageError)) {
			return exitUsage
		}
		return exitFailure
	}
	fmt.Fprintf(stderr, "tafe: no command %q; tafe help lists them\n", name)
	return exitUsage
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "tafe is an HTTP edge application server.\n\nUsage:\n\n    tafe COMMAND [flags]\n\nCommands:\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "    %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "    help      print this\n\ntafe COMMAND -h lists the flags of a command.\n")
}

// printVersion tells what the toolchain recorded: a module version for `go install`, a commit for a build from a checkout.
func printVersion(_ context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return usagef("takes no arguments, got %q", args[0])
	}
	if err := parseFlags(flag.NewFlagSet("version", flag.ContinueOnError), args, stdout); err != nil {
		return err
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the binary carries no build information")
	}
	fmt.Fprintln(stdout, versionLine(info))
	return nil
}

func versionLine(info *debug.BuildInfo) string {
	version := info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			modified = s.Value
		}
	}
	line := "tafe " + version
	// A pseudo-version carries the commit already.
	if revision != "" && !strings.Contains(version, revision[:min(12, len(revision))]) {
		line += " " + revision
		if modified == "true" {
			line += "+dirty"
		}
	}
	line += fmt.Sprintf(" %s %s/%s", info.GoVersion, runtime.GOOS, runtime.GOARCH)
	for _, dep := range info.Deps {
		if dep.Path == "github.com/panjf2000/gnet/v2" {
			line += " gnet " + dep.Version
		}
	}
	return line
}

// usageError is a command line that means nothing, as against one that could not be carried out.
type usageError struct{ reason string }

func (e usageError) Error() string { return e.reason }

func usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// parseFlags reads args into fs, which takes no arguments beside flags. Asked for help it prints fs to stdout and
// returns flag.ErrHelp; what else is wrong is a usage error of one line.
func parseFlags(fs *flag.FlagSet, args []string, stdout io.Writer) error {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, "Usage: tafe %s [flags]\n\n", fs.Name())
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		return err
	case err != nil && strings.HasSuffix(err.Error(), "parse error") && strings.HasPrefix(err.Error(), "invalid value "):
		return usagef("%s: %s; tafe %s -h lists the flags", strings.TrimSuffix(err.Error(), ": parse error"), wanted(fs, err.Error()), fs.Name())
	case err != nil:
		return usagef("%v; tafe %s -h lists the flags", err, fs.Name())
	case fs.NArg() > 0:
		return usagef("takes flags only, got %q", fs.Arg(0))
	}
	return nil
}

// wanted is what the flag takes that a value was wrong for.
func wanted(fs *flag.FlagSet, text string) (want string) {
	want = "want a whole number"
	fs.VisitAll(func(f *flag.Flag) {
		getter, ok := f.Value.(flag.Getter)
		if !ok || !strings.HasSuffix(text, " for flag -"+f.Name+": parse error") {
			return
		}
		if _, duration := getter.Get().(time.Duration); duration {
			want = "want a duration with its unit, such as 5ms or 30s"
		}
	})
	return want
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
