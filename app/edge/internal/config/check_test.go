package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mistake in any line of the example is a problem of the file or of nothing, never a panic of the check.
func TestCheckSurvivesEveryMistake(t *testing.T) {
	example, err := os.ReadFile("../../../../docs/tafe.example.toml")
	require.NoError(t, err)
	extra := "\n[[listener]]\nlisten = \":1\"\nproxy_protocol = [\"10.0.0.0/8\"]\n[listener.tls]\ncerts = [{ cert = \"a\", key = \"b\" }]\n" +
		"handshakes_per_second_max = 500\n[[listener]]\nlisten = \":2\"\nredirect_https = 1\n"
	lines := strings.Split(string(example)+extra, "\n")
	file := filepath.Join(t.TempDir(), "f.toml")
	tried := 0
	for i, line := range lines {
		text := strings.TrimPrefix(line, "#")
		key, value, ok := strings.Cut(text, " = ")
		if !ok || strings.Contains(key, " ") {
			continue
		}
		for _, wrong := range []string{key + " = 1", key + " = { x = 1 }", key + "x = " + value, ""} {
			tried++
			broken := slices.Clone(lines)
			broken[i] = wrong
			require.NoError(t, os.WriteFile(file, []byte(strings.Join(broken, "\n")), 0o600))
			require.NotPanics(t, func() { _, _, _, err = Check(file, nil) }, "line %d: %s", i+1, wrong)
			require.NoError(t, err)
		}
	}
	require.Greater(t, tried, 400)
}

func TestCheckTellsAllStagesAtOnce(t *testing.T) {
	const good = "[[route]]\npath = \"/good\"\nrespond = {}\n"
	for _, c := range []struct {
		why            string
		text           string
		want, warnings []string
	}{
		{"values, rules, patterns, files", `[server]
lisen = 1
[limits]
inbound_bytes_max = "4KiB"
[[listener]]
listen = ":0"
[listener.tls]
certs = [{ cert = "/no/such", key = "/no/such" }]
[[upstream]]
name = "up"
servers = [{ addr = "nowhere" }]
[[route]]
path = "x"
respond = {}
[[route]]
path = "/files/{path...}"
static = { dir = "/no/such" }
[[route]]
path = "/two"
respond = {}
redirect = { to = "/" }
[[route]]
path = "/up"
proxy = { upstream = "up" }
[[route]]
path = "/down"
proxy = { upstream = "down" }
`, []string{
			"2: unknown key server.lisen", "4: limits.inbound_bytes_max: want at least limits.head_bytes_max", "8: listener.tls.certs: /no/such: no such file",
			`11: upstream up: "nowhere" is neither`, `13: route.path: pattern "x"`, `17: route.static.dir = "/no/such"`, "18: route /two has 2 actions",
			`27: route.proxy.upstream = "down": there is no such`,
		}, nil},
		{"what is wrong with a route is told once", "[[route]]\npath = \"x\"\nrespond = 1\n", []string{"3: route.respond = 1: want a table"}, nil},
		{"a wrong upstream is still there for its routes", "[[upstream]]\nname = \"a\"\nservers = 1\n[[route]]\npath = \"/\"\nproxy = { upstream = \"a\" }\n",
			[]string{"3: upstream.servers"}, nil},
		{"an unknown key of a listener", "[[listener]]\nlisten = \":1\"\ntls = { certs = [], key = 1 }\n" + good, []string{"3: unknown key listener.tls.key"}, nil},
		{"values that App would refuse", "[server]\nname = 1\n[timeouts]\nidle = \"x\"\n[middleware]\nrate_limit = 1\n[[route]]\npath = \"x\"\nrespond = {}\n",
			[]string{"2: server.name", "4: timeouts.idle", "6: middleware.rate_limit", `8: route.path: pattern "x"`}, nil},
		{"patterns of other routers", "[[route]]\npath = \"/api/*\"\nrespond = {}\n[[route]]\npath = \"/a/:id/b\"\nrespond = {}\n" +
			"[[route]]\npath = \"/c/<int:n>\"\nrespond = {}\n[[route]]\npath = \"/d/*rest\"\nrespond = {}\n[[route]]\npath = \"/e:f/g*h\"\nrespond = {}\n", nil, []string{
			`2: route.path = "/api/*": "*" is taken literally; the rest of a path is {path...}`, `5: route.path = "/a/:id/b": ":id" is taken literally; a parameter is {id}`,
			`8: route.path = "/c/<int:n>": "<int:n>" is taken literally; a parameter is {n}`, `11: route.path = "/d/*rest": "*rest" is taken literally; the rest of a path is {rest...}`,
		}},
		{"the environment of the check is not the server's", good + "basic_auth = { users = { a = \"env:TAFE_TEST_UNSET\" } }\n", nil,
			[]string{`4: route.basic_auth.users.a: the environment has no variable "TAFE_TEST_UNSET" here`}},
		{"nothing", good, nil, nil},
	} {
		file := filepath.Join(t.TempDir(), "f.toml")
		require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
		_, problems, warnings, err := Check(file, nil)
		require.NoError(t, err, c.why)
		for _, x := range []struct {
			want []string
			got  Problems
		}{{c.want, problems}, {c.warnings, warnings}} {
			require.Len(t, x.got, len(x.want), "%s:\n%s", c.why, x.got)
			for i, want := range x.want {
				got := x.got[i]
				require.Contains(t, fmt.Sprintf("%d: %s", got.Line, got.Text), want, c.why)
				require.Equal(t, fmt.Sprintf("%s:%d:%d: %s", file, got.Line, got.Column, got.Text), got.Error(), c.why)
			}
		}
	}
}

// A check finds log files that cannot be opened, and creates none.
func TestUnwritableFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.WriteFile("plain", nil, 0o600))
	const site = "[[site]]\nhost = [\"a\"]\naccess_log = { file = \"%s\" }\n[[site.route]]\npath = \"/\"\nrespond = {}\n"
	for _, c := range []struct{ text, want, why string }{
		{"[access_log]\nfile = \"new.log\"\n[watchdog]\nfile = \"plain\"\nsnapshot_dir = \".\"\n" + minimal, "", "a new file, a file, a directory"},
		{"[access_log]\nfile = \"-\"\n" + minimal + sprintf(site, "off"), "", "no files"},
		{sprintf(site, "nodir/shop.log"), `f.toml:3:16: site.access_log.file = "nodir/shop.log": nodir: no such file or directory`, "of a site"},
		{"[access_log]\nfile = \"nodir/a.log\"\n" + minimal, `f.toml:2:1: access_log.file = "nodir/a.log": nodir: no such file or directory`, "of all"},
		{"[access_log]\nfile = \".\"\n" + minimal, `f.toml:2:1: access_log.file = ".": .: is a directory`, "a directory"},
		{"[access_log]\nfile = \"plain/a.log\"\n" + minimal, `f.toml:2:1: access_log.file = "plain/a.log": plain/a.log: not a directory`, "below a file"},
		{"[watchdog]\nfile = \"nodir/w\"\n" + minimal, `f.toml:2:1: watchdog.file = "nodir/w": nodir: no such file or directory`, "of the watchdog"},
		{"[watchdog]\nsnapshot_dir = \"nodir\"\n" + minimal, `f.toml:2:1: watchdog.snapshot_dir = "nodir": nodir: no such file or directory`, "its traces"},
		{"[watchdog]\nsnapshot_dir = \"plain\"\n" + minimal, `f.toml:2:1: watchdog.snapshot_dir = "plain": plain: not a directory`, "a file in place of it"},
		{"[watchdog]\nenabled = false\nfile = \"nodir/w\"\n" + minimal, "", "which does not run"},
	} {
		require.NoError(t, os.WriteFile("f.toml", []byte(c.text), 0o600))
		_, problems, _, err := Check("f.toml", nil)
		require.NoError(t, err, c.why)
		require.Equal(t, c.want, problems.Error(), c.why)
	}
	left, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Len(t, left, 2, "the file of the check, and plain")
}
