// serve --config, check and SIGHUP, tested from outside.

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const example = "../../docs/tafe.example.toml"

// writeConfig replaces the file atomically.
func writeConfig(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// startConfigured serves text and returns the process and its file.
func startConfigured(t *testing.T, text string, args ...string) (*edgeProcess, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "edge.toml")
	writeConfig(t, path, text)
	return startServe(t, append([]string{"--config", path}, args...)...), path
}

func TestCheck(t *testing.T) {
	t.Setenv("TAFE_ADMIN_PASSWORD", "secret")
	directory := t.TempDir()
	bad := filepath.Join(directory, "bad.toml")
	writeConfig(t, bad, "[server]\nlisen = 1\n[log]\nlevel = \"loud\"\n")
	wrong := filepath.Join(directory, "wrong.toml")
	writeConfig(t, wrong, "[[route]]\npath = \"x\"\nrespond = {}\n")
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
		why            string
	}{
		{[]string{"-c", example}, exitOK, example + " is good: 11 routes\n", "", "the example is good"},
		{[]string{"--config", bad}, exitFailure, "", bad + ":2:1: unknown key server.lisen; did you mean listen?\n" +
			bad + ":4:1: log.level = \"loud\": want one of debug, info, warn, error\n" +
			"tafe check: " + bad + " has 2 problems\n", "all that is wrong, a line each"},
		{[]string{"-c", wrong}, exitFailure, "", wrong + ":2:1: route.path: pattern \"x\": must begin with '/'\n" +
			"tafe check: " + wrong + " has 1 problem\n", "what the router says, too"},
		{[]string{"-c", "/no/such/file"}, exitFailure, "", "tafe check: stat /no/such/file: no such file or directory\n", "no file"},
		{nil, exitUsage, "", "tafe check: a file is required: tafe check -c FILE\n", "no name"},
		{[]string{bad}, exitUsage, "", "tafe check: takes flags only, got \"" + bad + "\"\n", "a name without -c"},
	} {
		p := start(t, append([]string{"check"}, c.args...)...)
		code, stdout := p.wait()
		require.Equal(t, c.code, code, "%s: %s", c.why, p.stderr)
		require.Equal(t, c.stdout, stdout, c.why)
		require.Equal(t, c.stderr, p.stderr.String(), c.why)
	}
}

func TestServeConfigured(t *testing.T) {
	t.Setenv("TAFE_ADMIN_PASSWORD", "secret")
	e := startServe(t, "-c", example)
	status, header, body := do(t, "GET", e.addr, "/robots.txt", "", "")
	require.Equal(t, 200, status)
	require.Equal(t, "User-agent: *\nDisallow: /private/\n", body)
	require.Equal(t, "max-age=3600", header.Get("Cache-Control"))
	status, _ = get(t, e.addr, "/private/x")
	require.Equal(t, 401, status)
	status, _ = get(t, e.addr, "/plaintext")
	require.Equal(t, 404, status, "the demo is not there")
	require.Contains(t, e.line(), `"/robots.txt"`, "the access log goes where the file says")
}

func TestFlagsHoldOverTheFile(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	text := "[server]\nlisten = \"" + taken.Addr().String() + "\"\n[log]\nformat = \"text\"\n" +
		"[[route]]\npath = \"/\"\nrespond = { body = \"a\" }\n"
	e, path := startConfigured(t, text, "--log-format", "json") // and --listen, as always
	writeConfig(t, path, strings.Replace(text, `"a"`, `"b"`, 1))
	e.signal(syscall.SIGHUP)
	awaitLog(t, e, `"msg":"SIGHUP: configuration reloaded"`)
	_, body := get(t, e.addr, "/")
	require.Equal(t, "b", body, "a reload does not take the file's address for a change")
}

func TestServeRefusesABadFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "edge.toml")
	writeConfig(t, path, "[log]\nlevel = 1\n")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--config", path}, exitFailure, "tafe serve: " + path + ":2:1: log.level = 1: want text in quotes\n"},
		{[]string{"--config", ""}, exitUsage, "tafe serve: --config is empty: name a file\n"},
		{[]string{"--config", path, "--store", "127.0.0.1:1"}, exitUsage, "tafe serve: --bidders and --store belong to the embedded configuration and cannot be used with --config\n"},
	} {
		p := start(t, append([]string{"serve"}, c.args...)...)
		code, _ := p.wait()
		require.Equal(t, c.code, code)
		require.Equal(t, c.want, p.stderr.String())
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	const base = "[[route]]\npath = \"/\"\nrespond = { body = \"%s\" }\n"
	e, path := startConfigured(t, fmt.Sprintf(base, "first"))
	kept := dialRaw(t, e.addr)
	ask := func() string {
		kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		_, body := kept.receive()
		return body
	}
	require.Equal(t, "first", ask())
	for _, c := range []struct {
		text, logged, body string
		why                string
	}{
		{fmt.Sprintf(base, "second"), "configuration reloaded", "second", "the same connection uses the new configuration"},
		{"[[route]]\npath = \"/\"\n", "route / has 0 actions", "second", "a bad file changes nothing"},
		{"[log]\nlevel = \"debug\"\n[[route]]\npath = \"x\"\nrespond = {}\n", "must begin with '/'", "second", "nor does one that the router refuses"},
		{"[server]\nloops = 7\n[limits]\ntask_max = 9\n" + fmt.Sprintf(base, "x"), ":2:1: server.loops cannot change while the server runs: restart it, or set the old value; ", "second", "nor one that needs a restart"},
		{"[log]\nlevel = \"error\"\n" + fmt.Sprintf(base, "third"), "", "third", "a log that is told to be silent is, at once"},
		{fmt.Sprintf(base, "fourth"), `"SIGHUP: configuration reloaded"`, "fourth", "and told to speak again, says so"},
	} {
		before := len(e.stderr.String())
		writeConfig(t, path, c.text)
		e.signal(syscall.SIGHUP)
		if c.logged != "" {
			await(t, c.logged, func() bool { return strings.Contains(e.stderr.String()[before:], c.logged) })
			require.Equal(t, c.body, ask(), c.why)
		} else {
			await(t, c.why, func() bool { return ask() == c.body })
		}
	}
	require.NoError(t, os.Remove(path))
	e.signal(syscall.SIGHUP)
	awaitLog(t, e, "no such file")
	require.Equal(t, "fourth", ask(), "a file that is gone changes nothing")
}

// Requests arrive on a schedule, independent of responses, while the file changes fifty times.
func TestNoRequestFailsDuringReloads(t *testing.T) {
	const reloads, conns, gap = 50, 16, 2 * time.Millisecond
	body := func(n int) string { return fmt.Sprintf("generation %04d", n) }
	text := func(n int) string {
		return fmt.Sprintf("[middleware]\nsecure_headers = {}\n[[route]]\npath = \"/{n}\"\nrespond = { body = %q }\n", body(n))
	}
	e, path := startConfigured(t, text(0), "--loops", "2")
	stop := make(chan struct{})
	var sending, receiving sync.WaitGroup
	answered := make([]int, conns)
	errs := make(chan error, 2*conns)
	for i := range conns {
		c := dialRaw(t, e.addr)
		asked := make(chan struct{}, 1<<20) // what was sent and not yet answered
		sending.Go(func() {
			defer close(asked)
			for tick := time.NewTicker(gap); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
				}
				if _, err := io.WriteString(c, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
					errs <- err
					return
				}
				asked <- struct{}{}
			}
		})
		receiving.Go(func() {
			last := body(0)
			for range asked {
				got, err := readAnswer(c.r)
				if err == nil && got < last {
					err = fmt.Errorf("%q after %q", got, last)
				}
				if err != nil {
					errs <- fmt.Errorf("after %d answers: %w", answered[i], err)
					return
				}
				answered[i]++
				last = got
			}
		})
	}
	for n := 1; n <= reloads; n++ {
		writeConfig(t, path, text(n))
		e.signal(syscall.SIGHUP)
		await(t, "reload", func() bool { return strings.Count(e.stderr.String(), "configuration reloaded") == n })
		status, got := get(t, e.addr, "/x")
		require.Equal(t, 200, status)
		require.Equal(t, body(n), got, "what was reloaded is served from then on")
	}
	close(stop)
	sending.Wait()
	receiving.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	for i := range answered {
		require.Positive(t, answered[i])
	}
}

// readAnswer reads one response, which must be complete.
func readAnswer(r *bufio.Reader) (string, error) {
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != 200 {
		err = fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	return string(body), err
}

func TestReloadDoesNotDisturbWhatIsBeingServed(t *testing.T) {
	const head = "[server]\nhandoff = \"2ms\"\n[[route]]\npath = \"/\"\nbody_bytes_max = "
	e, path := startConfigured(t, head+"10\nrespond = { body = \"old\" }\n")
	// The head is there, the body is not: the handler has answered, and the old limit holds for what is still to come.
	busy := dialRaw(t, e.addr)
	busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
	_, body := busy.receive()
	require.Equal(t, "old", body)
	writeConfig(t, path, head+"5\nrespond = { body = \"new\" }\n")
	e.signal(syscall.SIGHUP)
	awaitLog(t, e, "configuration reloaded")
	busy.send("56789GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	_, body = busy.receive()
	require.Equal(t, "new", body, "the next request of the same connection")
	status, _, _ := do(t, "POST", e.addr, "/", "text/plain", "0123456789")
	require.Equal(t, 413, status)
}

// A large response is copied in one slice, beyond the budget of its route and far below that of the others.
func TestWatchdogAsTheFileSays(t *testing.T) {
	overruns := filepath.Join(t.TempDir(), "overruns.jsonl")
	large := strings.Repeat("0123456789abcdef", 1<<18)
	e, _ := startConfigured(t, "[watchdog]\nbudget = \"1m\"\nfile = \""+overruns+"\"\n"+
		"[[route]]\npath = \"/tight\"\nbudget = \"100us\"\nrespond = { body = \""+large+"\" }\n"+
		"[[route]]\npath = \"/wide\"\nrespond = { body = \""+large+"\" }\n")
	await(t, "a line about /tight", func() bool {
		for _, target := range []string{"/wide", "/tight"} {
			status, body := get(t, e.addr, target)
			require.Equal(t, 200, status)
			require.Len(t, body, len(large))
		}
		return strings.Contains(readFile(t, overruns), `"route":"/tight"`)
	})
	require.NotContains(t, readFile(t, overruns), `"route":"/wide"`)
	require.Contains(t, readFile(t, overruns), `"budget_ms":0.1`)
}
