package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/httpparse"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

// minimal completes a file.
const minimal = "\n[[route]]\npath = \"/minimal\"\nrespond = { body = \"x\" }\n"

func TestProblemsNameLineAndRemedy(t *testing.T) {
	t.Setenv("TAFE_TEST_EMPTY", "")
	for _, c := range []struct{ text, want, why string }{
		// TOML itself.
		{"[server\nlisten = \"a\"", "f.toml:1:8: ", "a bracket is missing"},
		{"[server]\nloops = 1\nloops = 2", "f.toml:3:1: key loops is already defined", "twice"},
		{"[log]\nlevel = \"info\n", "f.toml:2:14: ", "an open quote"},
		{"[server]\nloops = 99999999999999999999", "f.toml:2:9: ", "beyond an integer"},
		// Keys.
		{"[server]\nlisen = \"127.0.0.1:80\"", "f.toml:2:1: unknown key server.lisen; did you mean listen?", "a slip"},
		{"[serve]", "f.toml:1:2: unknown key serve; did you mean server?", "in a section's name"},
		{"[admin]\nport = 1", "f.toml:2:1: unknown key admin.port; there are listen", "nothing near: the list"},
		{"server.lopps = 1", "f.toml:1:8: unknown key server.lopps; did you mean loops?", "a dotted key"},
		{"server = { listen = \":1\",\n  lops = 1 }", "f.toml:2:3: unknown key server.lops", "in an inline table"},
		{"[\"ser\\u0076er\"]\nx = 1", "f.toml:2:1: unknown key server.x", "a key in disguise"},
		{"[[route]]\npath = \"/\"\n[route.respond]\nbdy = \"x\"", "f.toml:4:1: unknown key route.respond.bdy; did you mean body?", "below a route"},
		{"[[route]]\npath = \"/a\"\nrespond = {}\n[[route]]\npath = \"/b\"\nrespond = {}\nnaem = 1", "f.toml:7:1: unknown key route.naem", "of the second route"},
		{"[[upstream]]\nname = \"a\"\nservers = [\"127.0.0.1:1\"]", `f.toml:3:12: upstream.servers = "127.0.0.1:1": want a table, such as { addr = "127.0.0.1:1" }`, "an address alone"},
		{"[[upstream]]\nname = \"a\"\nservers = \"127.0.0.1:1\"", `f.toml:3:1: upstream.servers = "127.0.0.1:1": want an array of tables, such as [{ addr = "127.0.0.1:1" }]`, "and without an array"},
		{"[[upstream]]\nname = \"a\"\nservers = [1]", `upstream.servers = 1: want a table, such as { addr = "…" }`, "a port"},
		{"[[listener]]\nlisten = \":1\"\ntls = { certs = [\"a.pem\"] }", `listener.tls.certs = "a.pem": want a table, such as { cert = "a.pem", key = "…" }`, "two keys"},
		{"[[upstream]]\nname = \"a\"\nservers = [\n{ addr = \"127.0.0.1:1\" },\n{ addr = \"http://127.0.0.1:1\" }]", `f.toml:5:3: upstream a: "http://127.0.0.1:1" is neither host:port`, "a URL"},
		{"[[upstream]]\nname = \"a\"\nservers = [{ addr = \"127.0.0.1:1\" }, { addr = \"127.0.0.1:1\" }]", `f.toml:3:40: upstream a: 127.0.0.1:1 is listed twice`, "the same twice"},
		{"[[upstream]]\nname = \"a\"\nservers = [{ addr = \"127.0.0.1:1\", backup = true }]", `f.toml:1:3: upstream a: has no server other than backups`, "no server"},
		{"[[upstream]]\nname = \"a\"\nservers = [{ addr = \"127.0.0.1:1\" }]\n[middleware.forward_auth]\nupstream = \"a\"\ncopy_headers = [\"A\",\n \"Remote Groups\"]", `f.toml:7:2: middleware.forward_auth.copy_headers has "Remote Groups", which is not the name of a header that can be copied`, "a header with a blank"},
		{"[[upstream]]\nname = \"a\"\nservers = [{ addr = \"127.0.0.1:1\" }]\n[middleware.forward_auth]\nupstream = \"a\"\nsend_headers = [\"Host\"]", `f.toml:6:17: middleware.forward_auth.send_headers has "Host"`, "a header of the connection"},
		{"foo = 1", "f.toml:1:1: unknown key foo; there are access_log", "two slips in three letters are another word"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nnaem = \"x\"", "f.toml:4:1: unknown key route.naem; did you mean name?", "letters that are exchanged"},
		{"[limits]\nhaed_bytes_maxx = 1", "f.toml:2:1: unknown key limits.haed_bytes_maxx; did you mean head_bytes_max?", "two slips in a long word"},
		{"[[plugin]]\nname = \"a\"", "f.toml:1:3: unknown key plugin; there are access_log", "a feature that is not there"},
		// Kinds.
		{"[server]\nloops = \"4\"", `f.toml:2:1: server.loops = "4": want a whole number, without quotes`, "a number in quotes"},
		{"[server]\nloops = 1.5", `f.toml:2:1: server.loops = 1.5: want a whole number`, "half a loop"},
		{"[server]\nlisten = 8080", `f.toml:2:1: server.listen = 8080: want an address in quotes`, "a port alone"},
		{"[server]\nlisten = \"8080\"", `f.toml:2:1: server.listen = "8080": not HOST:PORT`, "a port alone, in quotes"},
		{"[server]\nlisten = \":99999\"", `there is no port "99999"`, "a port beyond the last"},
		{"[server]\nserver_timing = \"yes\"", `f.toml:2:1: server.server_timing = "yes": want true or false`, "a word"},
		{"[server]\nhandover = \"run/x\"", `f.toml:2:1: server.handover = "run/x": want an absolute path in quotes, of at most 96 bytes`, "a relative path"},
		{"[server]\nlisten = \"systemd:\"", `f.toml:2:1: server.listen = "systemd:": not systemd:NAME: want the FileDescriptorName of a socket unit`, "no name"},
		{"[admin]\nlisten = \"systemd:a\"", `f.toml:2:1: admin.listen = "systemd:a": there is no port "a": want a number from 0 to 65535`, "the admin listener is no Listener"},
		{"[timeouts]\nhead = 10", `f.toml:2:1: timeouts.head = 10: want a duration in quotes`, "of what?"},
		{"[timeouts]\nhead = \"10\"", `f.toml:2:1: timeouts.head = "10": not a duration: want a number with its unit`, "still of what?"},
		{"[limits]\nbody_bytes_max = \"10MB\"", `f.toml:2:1: limits.body_bytes_max = "10MB": want bytes`, "a unit of 1000s"},
		{"[limits]\nbody_bytes_max = \"99999999TiB\"", `want bytes`, "it would overflow"},
		{"[limits]\nbody_bytes_max = -1", `f.toml:2:1: limits.body_bytes_max = -1: want from 1 to 1TiB`, "below nothing"},
		{"log = 1", "f.toml:1:1: log = 1: want a table: [log]", "a section that is a value"},
		{"[route]\npath = \"/\"", "f.toml:1:2: route is given once: want it in double brackets, [[route]]", "the usual slip"},
		{"[server]\nname = \"a\\nb\"", "f.toml:2:1: server.name = \"a\\nb\": has a control character", "a header in a header"},
		{"[server]\nrequest_id_header = \"X Id\"", "f.toml:2:1: server.request_id_header", "no header has blanks"},
		{"[access_log]\nfile = \"\"", "f.toml:2:1: access_log.file = \"\": want a file", "nowhere"},
		// Bounds.
		{"[server]\nloops = 0", "f.toml:2:1: server.loops = 0: want from 1 to 1024", "no loop"},
		{"[timeouts]\nidle = \"25h\"", `f.toml:2:1: timeouts.idle = 25h: want from 1ms to 24h`, "a day and more"},
		{"[log]\nlevel = \"loud\"", `f.toml:2:1: log.level = "loud": want one of debug, info, warn, error`, "no such level"},
		{"[[route]]\npath = \"/\"\nredirect = { to = \"/x\", status = 200 }", "route.redirect.status = 200: want one of 301, 302, 303, 307, 308", "no redirect"},
		{"[middleware]\nrate_limit = { rate = nan, burst = 1 }", "middleware.rate_limit.rate = NaN: want from", "not a number"},
		// Rules between keys.
		{"[limits]\ntarget_bytes_max = \"64KiB\"", "f.toml:2:1: limits.target_bytes_max: want less than limits.head_bytes_max", "a part larger than the whole"},
		{"[limits]\ninbound_bytes_max = \"4KiB\"", "f.toml:2:1: limits.inbound_bytes_max: want at least limits.head_bytes_max", "no head would fit"},
		{"[watchdog]\nquiet_max = \"1s\"", "f.toml:2:1: watchdog.quiet_max: want at least watchdog.quiet_min", "crossed"},
		{"[watchdog]\nunready_after = \"1ms\"", "f.toml:2:1: watchdog.unready_after: want 0s, or at least watchdog.budget", "every slice would do"},
		{"[watchdog]\nabort_after = \"1ms\"", "f.toml:2:1: watchdog.abort_after: want 0s, or at least watchdog.budget", "and end the process"},
		{"[watchdog]\nabort_after = \"-1s\"", "f.toml:2:1: watchdog.abort_after = -1s: want from 0s to 24h", "before it began"},
		{"[middleware]\nallow_ip = []", "f.toml:2:1: middleware.allow_ip is empty, so every client would get 403", "a server without clients"},
		{"[middleware]\nallow_ip = [\"10.0.0.0/8\",\n \"10.1.2.3/8\"]", `f.toml:3:2: middleware.allow_ip = "10.1.2.3/8": has bits set after the prefix length: want "10.0.0.0/8"`, "which network?"},
		{"[middleware]\nallow_ip = \"10.0.0.1\"", `f.toml:2:1: middleware.allow_ip = "10.0.0.1": want an array`, "one is a list of one"},
		{"[middleware.basic_auth]\nusers = {}", "f.toml:1:13: middleware.basic_auth has no users", "no user could log in"},
		{"[middleware.basic_auth]\nrealm = \"a\"", "f.toml:1:13: middleware.basic_auth lacks the key users", "nor here"},
		{"[middleware.basic_auth]\nusers.a = \"env:TAFE_TEST_NOT_SET\"", `f.toml:2:7: middleware.basic_auth.users.a = (secret): the environment has no variable "TAFE_TEST_NOT_SET"`, "a secret that is not there"},
		{"[middleware.basic_auth]\nusers.a = \"env:TAFE_TEST_EMPTY\"", "users.a = (secret): is empty", "an empty password"},
		{"[[route]]\nrespond = {}", "f.toml:1:3: route lacks the key path", "where?"},
		{"[[route]]\npath = \"/\"", "f.toml:1:3: route / has 0 actions: want one of handler, respond, redirect", "what?"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nredirect = { to = \"/x\" }", "has 2 actions", "which?"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nmethods = []", "route.methods is empty", "no method at all"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nmethods = [\"get\"]", `route.methods has "get": want "GET"`, "methods have a case"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nmethods = [\"GET\", \"GET\"]", `route.methods has "GET" twice`, "one is enough"},
		{"[[route]]\npath = \"/\"\nrespond = { status = 204, body = \"x\" }", "a response with status 204 has no body", "a body that is not sent"},
		// Problems from package app.
		{"[[route]]\npath = \"x\"\nrespond = {}", `f.toml:2:1: route.path: pattern "x": must begin with '/'`, "a pattern that is none"},
		{"[[route]]\npath = \"/{a}\"\nrespond = {}\n[[route]]\npath = \"/{b}\"\nrespond = {}", "f.toml:5:1: route /{b} is never reached: the route in line 1 matches the same requests", "the second of two, with its line"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nmethods = [\"CONNECT\"]", "CONNECT requests have no path", "a method without paths"},
		{"[[route]]\npath = \"/\"\nrespond.headers = { \"a b\" = \"x\" }", `"a b" is not the name of a header`, "no name"},
		{"[[route]]\npath = \"/\"\nrespond.headers = { Content-Length = \"3\" }", "the server sets it itself", "a lie"},
		{"[[route]]\npath = \"/\"\nredirect.to = \"//evil.example\"", "f.toml:3:10: route.redirect.to = \"//evil.example\": want a path", "not a path"},
		{"[[route]]\npath = \"/{a}\"\nredirect.to = \"https://{a}/\"", "f.toml:3:24: route.redirect.to: {a} stands in the host of a URL", "an open redirect"},
		{"[[route]]\npath = \"/{a}\"\nredirect.to = \"/{b}\"", "f.toml:3:17: route.redirect.to: there is no variable {b}; the text {b} itself is written {{b}", "a parameter from nowhere"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nmatch.header = { \"a b\" = \"x\" }", `f.toml:4:18: route.match.header.a b: "a b" is not a name`, "no name of a header"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nmatch.cookie = { \"a;b\" = \"x\" }", `f.toml:4:18: route.match.cookie.a;b: "a;b" is not a name`, "no name of a cookie"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nmatch.query = { \"\" = \"x\" }", `f.toml:4:17: route.match.query.: "" is not a name`, "no name of a parameter"},
		{"[middleware.cors]\norigins = [\"a.example\"]", `f.toml:1:13: middleware.cors: CORS: "a.example" is not an origin`, "a middleware's own words"},
		{"[[route]]\npath = \"/\"\nmethods = [\"GET\"]\nrespond = {}\ncors.origins = [\"*\"]\n[[route]]\npath = \"/\"\nmethods = [\"PUT\"]\nrespond = {}\ncors.origins = [\"https://a.example\"]",
			"f.toml:10:1: route.cors: the route in line 1 has the same path and a different cors", "one preflight for both"},
	} {
		text := c.text
		if !strings.Contains(text, "route") {
			text += minimal
		}
		_, err := build(text)
		require.ErrorContains(t, err, c.want, "%s:\n%s", c.why, text)
		require.NotContains(t, err.Error(), "\n", "one cause, one problem: %s", text)
	}
}

func TestAllProblemsAtOnceInOrder(t *testing.T) {
	_, err := build("[[route]]\npath = \"x\"\n[log]\nlevel = 1\n[server]\nlisen = 1\nloops = -1\n")
	var problems Problems
	require.ErrorAs(t, err, &problems)
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Line)
	}
	require.Equal(t, []int{4, 6, 7}, lines, err)
}

func TestEmptyFile(t *testing.T) {
	for _, text := range []string{"", "\n\n", "# nothing\n", "[server]\n"} {
		_, err := build(text)
		require.EqualError(t, err, "f.toml: has no [[route]]: nothing would be served", "%q", text)
	}
}

func TestLoadReadsFilesOnly(t *testing.T) {
	directory := t.TempDir()
	_, err := Load(filepath.Join(directory, "none.toml"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Load(directory, nil)
	require.ErrorContains(t, err, "not a file")
	file := filepath.Join(directory, "f.toml")
	require.NoError(t, os.WriteFile(file, []byte("[log]\nlevel=1"+minimal), 0o600))
	_, err = Load(file, nil)
	require.ErrorContains(t, err, file+":2:1: ")
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Setenv("TAFE_TEST_PASSWORD", "hunter2")
	c, err := build("[middleware.basic_auth]\nusers = { a = \"env:TAFE_TEST_PASSWORD\", b = \"plain\" }" + minimal)
	require.NoError(t, err)
	users := c.Middleware.BasicAuth.Users
	require.Equal(t, "hunter2", users["a"].text)
	require.Equal(t, "plain", users["b"].text)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		shown := sprintf(format, users)
		require.NotContains(t, shown, "hunter2", format)
		require.NotContains(t, shown, "plain", format)
	}
	_, err = build("[middleware.basic_auth]\nusers.a = 1234\n" + minimal)
	require.NotContains(t, err.Error(), "1234")
}

// The defaults are in tags, for the reference. They equal those of the packages that use them.
func TestDefaultsAgree(t *testing.T) {
	c := Default()
	require.Equal(t, httpparse.DefaultLimits(), c.Options().Limits)
	l := looptest.New(t, looptest.Options{})
	limits := c.LoopLimits()
	require.Equal(t, l.Limits(), limits.Limits)
	require.Equal(t, reactor.DefaultLimits(), reactor.Limits{InboundMax: limits.InboundMax, OutboundMax: limits.OutboundMax, WriteTimeout: limits.WriteTimeout})
	require.Equal(t, 10*time.Second, time.Duration(c.Timeouts.Head))
}

func TestValuesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, text := range []string{"0s", "100us", "1.5s", "10s", "2m", "1h", "1h30m", "24h"} {
		var d Duration
		require.NoError(t, d.set(text))
		var again Duration
		require.NoError(t, again.set(d.String()))
		require.Equal(t, d, again, text)
	}
	for text, bytes := range map[string]Bytes{"0": 0, "1000": 1000, "1KiB": 1024, "10 MiB": 10 << 20, "1TiB": 1 << 40, "5B": 5} {
		var b, again Bytes
		require.NoError(t, b.set(text))
		require.Equal(t, bytes, b, text)
		require.NoError(t, again.set(b.String()))
		require.Equal(t, b, again, text)
	}
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile(exampleFile)
	require.NoError(f, err)
	f.Add(string(example))
	f.Add("[server]\nloops = 1\n" + minimal)
	f.Add("[[route]]\npath = \"/{a...}\"\nredirect = { to = \"/x/{a}\" }\ncors.origins = [\"*\"]")
	f.Add("route = [ { path = \"/\", respond = { } }, { } ]\n\"a\\n\".b = 1")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := build(text)
		if err == nil {
			require.NotEmpty(t, c.Routes)
			return
		}
		problems := err.(Problems)
		require.NotEmpty(t, problems)
		for _, p := range problems {
			require.LessOrEqual(t, p.Line, 1+strings.Count(text, "\n"))
		}
	})
}
