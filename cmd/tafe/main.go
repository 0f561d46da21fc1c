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

// Exit codes. Scripts and service managers rely on them.
const (
	exitOK      = 0
	exitFailure = 1 // the command failed: a port in use, a missing file
	exitUsage   = 2 // invalid arguments
	exitStuck   = 3 // a loop was held for longer than watchdog.abort_after
)

// command is one subcommand. run returns an error of one line; for errors of usagef the exit code is 2.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

func commands() []command {
	return []command{
		{"serve", "run the server with a configuration file, or the embedded demo", serve},
		{"check", "report every problem of a configuration file", check},
		{"backend", "run the backends of the demo: a memcached-protocol store and HTTP bidders", runBackend},
		{"watch", "show the loops of a running server, and the code that held them, in a terminal", runWatch},
		{"overruns", "rank a saved log of the watchdog by the delay that code caused", runOverruns},
		{"version", "print the version", printVersion},
	}
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code. An error is one line on stderr.
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
	fmt.Fprintf(stderr, "tafe: unknown command %q; run tafe help for a list\n", name)
	return exitUsage
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "tafe is an HTTP edge application server.\n\nUsage:\n\n    tafe COMMAND [flags]\n\nCommands:\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "    %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "    help      print this\n\ntafe COMMAND -h lists the flags of a command.\n")
}

// printVersion prints what the toolchain recorded: a module version for `go install`, a commit for a build from a checkout.
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
	// A pseudo-version contains the commit.
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

// usageError is the error of invalid arguments.
type usageError struct{ reason string }

func (e usageError) Error() string { return e.reason }

func usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// parseFlags parses args, which must be flags only. For -h it prints the flags to stdout and returns flag.ErrHelp. Every other error is a
// usageError of one line.
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

// wanted returns the hint for an invalid value of a flag; text is the error of package flag.
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
