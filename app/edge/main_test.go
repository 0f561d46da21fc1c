// The command line, tested through run: exit code, one line of error, output.

package edge

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/libdns/libdns"
	"github.com/stretchr/testify/require"
)

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string // what they hold; an empty one must be empty
		why            string
	}{
		{"", exitUsage, "", "Usage:", "no command is a question"},
		{"help", exitOK, "check", "", "help is an answer"},
		{"--help", exitOK, "serve", "", "in every spelling"},
		{"version", exitOK, "NAME ", "", "version"},
		{"--version", exitOK, "NAME ", "", "in every spelling"},
		{"version now", exitUsage, "", `NAME version: takes no arguments, got "now"`, "version takes nothing"},
		{"sevre", exitUsage, "", `NAME: unknown command "sevre"; run NAME help for a list`, "a slip"},
	} {
		t.Run(c.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := newProgram(nil).run(t.Context(), strings.Fields(c.args), &stdout, &stderr)
			require.Equal(t, c.code, code, "%s: %s", c.why, stderr.String())
			for out, want := range map[*bytes.Buffer]string{&stdout: c.stdout, &stderr: c.stderr} {
				want = strings.ReplaceAll(want, "NAME", programName())
				if want == "" {
					require.Empty(t, out.String(), c.why)
				}
				require.Contains(t, out.String(), want, c.why)
			}
			if len(c.args) > 0 && code != exitOK {
				require.Equal(t, 1, strings.Count(stderr.String(), "\n"), "one line: %q", stderr.String())
			}
		})
	}
}

// dnsOfTest is a DNS provider.
type dnsOfTest struct{}

func (dnsOfTest) AppendRecords(context.Context, string, []libdns.Record) ([]libdns.Record, error) {
	return nil, nil
}

func (dnsOfTest) DeleteRecords(context.Context, string, []libdns.Record) ([]libdns.Record, error) {
	return nil, nil
}

// A program with a DNS provider may name wildcards in its file.
func TestWithDNS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edge.toml")
	require.NoError(t, os.WriteFile(file, []byte("[acme]\ndomains = [\"*.a.example\"]\n[[route]]\npath = \"/\"\nrespond = {}\n"), 0o600))
	for _, c := range []struct {
		parts []Part
		code  int
		why   string
	}{{nil, exitFailure, "without a provider"}, {[]Part{WithDNS(dnsOfTest{})}, exitOK, "with a provider"}} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, newProgram(c.parts).run(t.Context(), []string{"check", "-c", file}, &stdout, &stderr), "%s: %s", c.why, stderr.String())
		require.Equal(t, c.code == exitFailure, strings.Contains(stderr.String(), "needs a binary with a DNS provider"), c.why)
	}
}

func TestVersionLine(t *testing.T) {
	shop := debug.Module{Path: "example.org/shop", Version: "v0.4.0"}
	gnet := []*debug.Module{{Path: "example.org/x", Version: "v9"}, {Path: "github.com/panjf2000/gnet/v2", Version: "v2.10.0"}}
	setting := func(kv ...string) (s []debug.BuildSetting) {
		for i := 0; i < len(kv); i += 2 {
			s = append(s, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return s
	}
	const revision = "0123456789abcdef0123456789abcdef01234567"
	for _, c := range []struct {
		info debug.BuildInfo
		want string
		why  string
	}{
		{debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}, Deps: gnet}, "tafe v1.2.3 go1.26 OS gnet v2.10.0", "a release"},
		{debug.BuildInfo{GoVersion: "go1.26"}, "tafe (devel) go1.26 OS", "a test binary"},
		{debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "(devel)"}, Settings: setting("vcs.revision", revision, "vcs.modified", "true")},
			"tafe (devel) " + revision + "+dirty go1.26 OS", "a checkout with changes"},
		{debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v0.0.0-20260101-0123456789ab"}, Settings: setting("vcs.revision", revision)},
			"tafe v0.0.0-20260101-0123456789ab go1.26 OS", "the commit is not said twice"},
		{debug.BuildInfo{GoVersion: "go1.26", Main: shop, Deps: append([]*debug.Module{{Path: "tafe", Version: "v1.2.3"}}, gnet...)},
			"tafe v0.4.0 go1.26 OS tafe v1.2.3 gnet v2.10.0", "the program of an author"},
	} {
		require.Regexp(t, "^"+regexpOf(c.want)+"$", versionLine("tafe", &c.info), c.why)
	}
}

// regexpOf quotes want, except for the word OS, which stands for the platform.
func regexpOf(want string) string {
	quoted := strings.NewReplacer("(", `\(`, ")", `\)`, "+", `\+`, ".", `\.`).Replace(want)
	return strings.Replace(quoted, "OS", `\w+/\w+`, 1)
}

func TestListenErrorNamesTheCause(t *testing.T) {
	wrapped := func(errno syscall.Errno) error {
		return &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", errno)}
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{wrapped(syscall.EADDRINUSE), "a:1 is in use"},
		{wrapped(syscall.EACCES), "no permission to listen on a:1"},
		{wrapped(syscall.EADDRNOTAVAIL), "no interface of this machine has that address"},
		{wrapped(syscall.EMFILE), "cannot listen on a:1: listen: bind: too many open files"},
		{syscall.EADDRINUSE, "a:1 is in use"},
	} {
		require.ErrorContains(t, ListenError("a:1", c.err), c.want)
	}
	require.EqualError(t, ListenError("a:1", syscall.EADDRINUSE), "a:1 is in use", "by a process, or by a connection that has ended")
}

func TestMistakesAreNamed(t *testing.T) {
	directory := t.TempDir()
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"version --help", exitOK, "Usage: NAME version"},
		{"version now", exitUsage, `NAME version: takes no arguments, got "now"`},
		{"serve --budget 5", exitUsage, `NAME serve: invalid value "5" for flag -budget: want a duration with its unit, such as 5ms or 30s; NAME serve -h lists the flags`},
		{"serve --drain-timeout soon", exitUsage, `want a duration with its unit`},
		{"serve --loops two", exitUsage, `invalid value "two" for flag -loops: want a whole number`},
		{"serve --handoff 2", exitUsage, `neither a duration, such as "2ms", nor "off"`},
		{"serve --admin 127.0.0.1:99999", exitUsage, `--admin: "127.0.0.1:99999" has no such port`},
		{"watch --once --admin 127.0.0.1:99999", exitUsage, `--admin: "127.0.0.1:99999" has no such port`},
		{"watch --once --admin 9180", exitUsage, `--admin: "9180" is not HOST:PORT`},
		{"watch --once --admin http://127.0.0.1:1/", exitFailure, "no tafe admin listener answers at 127.0.0.1:1: "},
		{"serve", exitUsage, "NAME serve: a configuration file is required: NAME serve --config FILE"},
		{"serve --store 127.0.0.1:1", exitUsage, "flag provided but not defined: -store"},
		{"serve -c " + directory, exitFailure, directory + " is a directory, not a file"},
		{"check -c " + directory, exitFailure, directory + " is a directory, not a file"},
	} {
		var stdout, stderr strings.Builder
		code := newProgram(nil).run(t.Context(), strings.Fields(c.line), &stdout, &stderr)
		require.Equal(t, c.code, code, "%s: %s", c.line, stderr.String())
		require.Contains(t, stdout.String()+stderr.String(), strings.ReplaceAll(c.want, "NAME", programName()), c.line)
	}
}
