// The backend command, and what the binary says of a server that is none.

package main

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBackendCommandLine(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()

	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string // what they hold; an empty one must be empty
		why            string
	}{
		{"help", exitOK, "backend", "", "help is an answer"},
		{"backend -h", exitOK, "-jitter", "", "help of a command goes to stdout"},
		{"backend --dealy 3ms", exitUsage, "", "tafe backend: flag provided but not defined: -dealy; tafe backend -h lists the flags", "a slip in a flag"},
		{"backend --delay soon", exitUsage, "", `invalid value "soon" for flag -delay`, "a value that is none"},
		{"backend --delay -1s", exitUsage, "", "tafe backend: delay -1s is not between 0 and 10s", "a value out of bounds"},
		{"backend --store 9211", exitUsage, "", `tafe backend: --store: "9211" is not HOST:PORT`, "a port is not an address"},
		{"backend --bidders 127.0.0.1:1,", exitUsage, "", `tafe backend: --bidders: "" is not HOST:PORT`, "an empty place in a list"},
		{"backend --store 127.0.0.1:99999", exitUsage, "", `tafe backend: --store: "127.0.0.1:99999" has no such port`, "a port beyond the last"},
		{"backend now", exitUsage, "", `tafe backend: takes flags only, got "now"`, "a word where none belongs"},
		{"backend --store " + taken.Addr().String(), exitFailure, "",
			"tafe backend: " + taken.Addr().String() + " is in use", "a taken port is a failure, not misuse"},
	} {
		t.Run(c.args, func(t *testing.T) {
			p := start(t, strings.Fields(c.args)...)
			code, stdout := p.wait()
			stderr := p.stderr.String()
			require.Equal(t, c.code, code, "%s: %s", c.why, stderr)
			for _, out := range []struct{ got, want string }{{stdout, c.stdout}, {stderr, c.stderr}} {
				if out.want == "" {
					require.Empty(t, out.got, c.why)
				}
				require.Contains(t, out.got, out.want, c.why)
			}
			if code != exitOK {
				require.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %q", stderr)
			}
		})
	}
}

func TestBackendCommandNamesItsAddresses(t *testing.T) {
	p := start(t, "backend", "--store", "127.0.0.1:0", "--bidders", "127.0.0.1:0, 127.0.0.1:0")
	for _, name := range []string{"store", "bidder-1", "bidder-2"} {
		require.Regexp(t, "^"+name+` 127\.0\.0\.1:\d+$`, p.line())
	}
	p.signal(syscall.SIGTERM)
	code, rest := p.wait()
	require.Equal(t, exitOK, code, p.stderr)
	require.Empty(t, rest)
}

func TestWatchNamesAServerThatIsNoAdminListener(t *testing.T) {
	e := startServe(t)
	p := start(t, "watch", "--once", "--admin", e.addr)
	code, _ := p.wait()
	require.Equal(t, exitFailure, code)
	require.Contains(t, p.stderr.String(), "the server at "+e.addr+" is not a tafe admin listener")
}
