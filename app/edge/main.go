// Package edge is the edge server as a library: configuration file, listeners, certificates, reload, signals, take-over, logs, admin
// listener and watchdog, and the commands of the binary. Main is a whole main function:
//
//	func main() {
//		edge.Main(
//			edge.Handlers{"hello": hello},      // [[route]] handler = "hello"
//			edge.Handler("bid", newBid),        // with a table of its own, route.config
//			edge.Middleware("session", session), // use = [{ name = "session", config = { … } }]
//		)
//	}
//
// # The parts, in reading order
//
//	main.go        Main: from a command line to an exit code
//	parts.go       Handlers, Handler, Middleware, Module, Embedded, Env: what a program adds
//	command.go     Command: a subcommand; flags and errors of usage
//	serve.go       the serve command and its signals
//	flags.go       its flags
//	edge.go        what it starts and ends, in which order
//	address.go     addresses of listeners, and errors of listening
//	degraded.go    the warning about parts of the Go runtime that cannot be read
//	watchdog.go    the watchdog of a server
//	supervisor.go  messages to systemd
//	reload.go      SIGHUP
//	problems.go    parts of the configuration that cannot be used
//	logfile.go     files of logs, and their rotation in logrotate.go; logqueue.go the queue of the server's log
//	takeover.go    sockets of the previous and the next process
//	acme.go        certificates that the server obtains; renew.go renews those of files
//	shown.go       what the admin listener shows of the process; upstreams.go of the upstreams
//	check.go       the check command
//	certs.go       the certs command
//	watch.go       the watch command
//	overruns.go    the overruns command
//	starttest.go   StartTest: a server in a test of a program
//
// Package internal/config reads the file and makes the App that it describes.
package edge

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"tafe/app"
	"tafe/app/edge/internal/config"
)

// Exit codes. Scripts and service managers rely on them.
const (
	exitOK      = 0
	exitFailure = 1 // the command failed: a port in use, a missing file
	exitUsage   = 2 // invalid arguments
	exitStuck   = 3 // a loop was held for longer than watchdog.abort_after
)

// Main runs the command line of the process with the parts of a program, and exits with the code of its command: 0; 1 if it failed; 2 for
// invalid arguments; 3 if a loop was held for longer than watchdog.abort_after. The commands are serve, check, watch, overruns, version and
// help, and those of the parts. Main panics if two parts of a kind have the same name.
func Main(parts ...Part) {
	os.Exit(newProgram(parts).run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// program is a binary: its commands, and what its configuration can name.
type program struct {
	name        string // of the binary
	commands    []Command
	embedded    *Embedded // nil: none
	handlers    map[string]part[app.Handler]
	middlewares map[string]part[app.Middleware]
	modules     map[string]part[config.Exports]
	dns         DNSProvider // nil: none
}

func newProgram(parts []Part) *program {
	p := &program{name: programName(), handlers: map[string]part[app.Handler]{}, middlewares: map[string]part[app.Middleware]{},
		modules: map[string]part[config.Exports]{}}
	p.commands = []Command{
		{"serve", "run the server with a configuration file, or the embedded one", p.serve},
		{"check", "report every problem of a configuration file", p.check},
	}
	for _, part := range parts {
		part.addTo(p)
	}
	p.commands = append(p.commands,
		Command{"watch", "show the loops of a running server, and the code that held them, in a terminal", runWatch},
		Command{"certs", "list the certificates of a running server, with their expiry and next renewal", runCerts},
		Command{"overruns", "rank a saved log of the watchdog by the delay that code caused", runOverruns},
		Command{"version", "print the version", printVersion},
	)
	return p
}

// programName returns the name of the binary, for help and errors.
func programName() string { return filepath.Base(os.Args[0]) }

// run executes one command line and returns the exit code. An error is one line on stderr.
func (p *program) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		p.printUsage(stderr)
		return exitUsage
	}
	name := args[0]
	switch name {
	case "help", "-h", "-help", "--help":
		p.printUsage(stdout)
		return exitOK
	case "-v", "-version", "--version":
		name = "version"
	}
	for _, c := range p.commands {
		if c.Name != name {
			continue
		}
		err := c.Run(ctx, args[1:], stdout, stderr)
		if err == nil || errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		writeBounded(stderr, fmt.Appendf(nil, "%s %s: %s\n", p.name, name, oneLine(err.Error())))
		if errors.As(err, new(usageError)) {
			return exitUsage
		}
		return exitFailure
	}
	fmt.Fprintf(stderr, "%s: unknown command %q; run %s help for a list\n", p.name, name, p.name)
	return exitUsage
}

func (p *program) printUsage(w io.Writer) {
	fmt.Fprintf(w, "%s is an HTTP edge application server.\n\nUsage:\n\n    %s COMMAND [flags]\n\nCommands:\n\n", p.name, p.name)
	for _, c := range p.commands {
		fmt.Fprintf(w, "    %-9s %s\n", c.Name, c.Summary)
	}
	fmt.Fprintf(w, "    help      print this\n\n%s COMMAND -h lists the flags of a command.\n", p.name)
}

// printVersion prints what the toolchain recorded: a module version for `go install`, a commit for a build from a checkout.
func printVersion(_ context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return Usagef("takes no arguments, got %q", args[0])
	}
	if err := ParseFlags(flag.NewFlagSet("version", flag.ContinueOnError), args, stdout); err != nil {
		return err
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the binary carries no build information")
	}
	fmt.Fprintln(stdout, versionLine(programName(), info))
	return nil
}

// versionLine has the version of the main module, and those of tafe and gnet.
func versionLine(name string, info *debug.BuildInfo) string {
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
	line := name + " " + version
	// A pseudo-version contains the commit.
	if revision != "" && !strings.Contains(version, revision[:min(12, len(revision))]) {
		line += " " + revision
		if modified == "true" {
			line += "+dirty"
		}
	}
	line += fmt.Sprintf(" %s %s/%s", info.GoVersion, runtime.GOOS, runtime.GOARCH)
	for _, dep := range info.Deps {
		switch dep.Path {
		case "tafe":
			line += " tafe " + dep.Version
		case "github.com/panjf2000/gnet/v2":
			line += " gnet " + dep.Version
		}
	}
	return line
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
