// serve, tested from outside: the responses of the demo, signals and invalid flags.

package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemoRoutes(t *testing.T) {
	e := startServe(t)
	for _, c := range []struct {
		method, target, contentType, body string
		status                            int
		wantType, want                    string
		why                               string
	}{
		{"GET", "/", "", "", 200, "text/html; charset=utf-8", "http://" + e.admin + "/", "the front page leads to the live page"},
		{"GET", "/plaintext", "", "", 200, "text/plain; charset=utf-8", "Hello, World!", "13 bytes"},
		{"GET", "/json", "", "", 200, "application/json", `{"message":"Hello, World!"}`, "27 bytes"},
		{"POST", "/echo", "text/x-odd", "a\x00b", 200, "text/x-odd", "a\x00b", "bytes and type as they came"},
		{"POST", "/echo", "", "abc", 200, "application/octet-stream", "abc", "no type is no promise"},
		{"POST", "/echo", "text/plain", "", 200, "text/plain", "", "an empty body too"},
		{"POST", "/echo", "text/plain", strings.Repeat("0123456789", 100_000), 200, "text/plain", "0123456789", "a megabyte"},
		{"GET", "/sleep?ms=1", "", "", 200, "", "slept 1 ms", "waits"},
		{"GET", "/sleep?ms=0", "", "", 200, "", "slept 0 ms", "for no time as well"},
		{"GET", "/sleep", "", "", 400, "", "whole number from 0 to 60000", "for how long?"},
		{"GET", "/sleep?ms=60001", "", "", 400, "", "whole number from 0 to 60000", "not for ever"},
		{"GET", "/sleep?ms=-1", "", "", 400, "", "whole number", "nor backwards"},
		{"GET", "/hog?ms=1&how=spin", "", "", 200, "", "held the loop 1 ms by spin", "each way to hold a loop"},
		{"GET", "/hog?ms=1&how=sleep", "", "", 200, "", "by sleep", "each way to hold a loop"},
		{"GET", "/hog?ms=1&how=mutex", "", "", 200, "", "by mutex", "each way to hold a loop"},
		{"GET", "/hog?ms=1&how=channel", "", "", 200, "", "by channel", "each way to hold a loop"},
		{"GET", "/hog?ms=1&how=syscall", "", "", 200, "", "by syscall", "each way to hold a loop"},
		{"GET", "/hog?ms=1&how=read", "", "", 200, "", "by read", "each way to hold a loop"},
		{"GET", "/hog?ms=1&how=magic", "", "", 400, "", "how must be", "and no other"},
		{"GET", "/hog?ms=120001&how=spin", "", "", 400, "", "whole number from 0 to 120000", "nor for long"},
		{"GET", "/bid", "", "", 400, "", "user", "for whom?"},
		{"GET", "/bid?user=a+b", "", "", 400, "", "user", "no user has blanks"},
		{"GET", "/nowhere", "", "", 404, "", "", "an unknown path"},
		{"GET", "/echo", "", "", 405, "", "", "a known path, another method"},
	} {
		t.Run(c.method+" "+c.target, func(t *testing.T) {
			status, header, body := do(t, c.method, e.addr, c.target, c.contentType, c.body)
			require.Equal(t, c.status, status, "%s: %s", c.why, body)
			require.Contains(t, body, c.want, c.why)
			if c.wantType != "" {
				require.Equal(t, c.wantType, header.Get("Content-Type"), c.why)
			}
			if c.method == "POST" {
				require.Equal(t, len(c.body), len(body), c.why)
				require.Equal(t, c.body, body, c.why)
			}
		})
	}
}

func TestASleepingRequestHoldsNobody(t *testing.T) {
	e := startServe(t, "--loops", "1")
	sleeper := dialRaw(t, e.addr)
	sleeper.send("GET /sleep?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n")
	// Were the loop held, this would wait for a minute, and the test for longer than it may.
	for range 3 {
		status, body := get(t, e.addr, "/plaintext")
		require.Equal(t, 200, status)
		require.Equal(t, "Hello, World!", body)
	}
}

func TestAdminAnswersWhileTheOnlyLoopIsHeld(t *testing.T) {
	e := startServe(t, "--loops", "1")
	hog := dialRaw(t, e.addr)
	hog.send("GET /hog?ms=2000&how=sleep HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, target := range []string{"/healthz", "/readyz"} {
		status, body := get(t, e.admin, target)
		require.Equal(t, 200, status, body)
	}
	response, _ := hog.receive()
	require.Equal(t, 200, response.StatusCode)
}

// inFlight keeps a request in flight: the test sends the rest of its body.
func inFlight(t *testing.T, e *edgeProcess) *rawConn {
	t.Helper()
	c := dialRaw(t, e.addr)
	c.send("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n")
	c.receive()
	c.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	// The handler is running and has asked for the body when this has come.
	line, err := c.r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = c.r.ReadString('\n')
	require.NoError(t, err)
	c.send("he")
	return c
}

// awaitNotReady returns when /readyz reports the drain.
func awaitNotReady(t *testing.T, e *edgeProcess) {
	t.Helper()
	await(t, "readyz answers 503", func() bool {
		status, _ := get(t, e.admin, "/readyz")
		return status == http.StatusServiceUnavailable
	})
}

func TestDrainLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			// One loop: once it has closed the idle connection, it knows of the drain for the busy one too.
			e := startServe(t, "--loops", "1")
			idle := dialRaw(t, e.addr)
			idle.send("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n")
			response, _ := idle.receive()
			require.False(t, response.Close, "kept alive before the drain")
			busy := inFlight(t, e)

			e.signal(signal)
			awaitNotReady(t, e)
			_, err := idle.r.ReadByte()
			require.Error(t, err, "an idle connection is closed")
			status, _ := get(t, e.admin, "/healthz")
			require.Equal(t, 200, status, "draining is not ill")

			// A server lingers over a connection that its client keeps open.
			require.NoError(t, idle.Close())
			busy.send("llo")
			response, body := busy.receive()
			require.Equal(t, "hello", body)
			require.True(t, response.Close, "the answer says that the connection ends")
			require.NoError(t, busy.Close())

			code, _ := e.wait()
			require.Equal(t, exitOK, code, e.stderr)
		})
	}
}

func TestDrainIsCutShort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		timeout string
		again   bool
		why     string
	}{
		{"1ms", false, "by its own limit"},
		{"1h", true, "by a second signal"},
	} {
		t.Run(c.why, func(t *testing.T) {
			e := startServe(t, "--drain-timeout", c.timeout)
			inFlight(t, e)
			e.signal(syscall.SIGTERM)
			if c.again {
				e.signal(syscall.SIGTERM)
				awaitNotReady(t, e)
				status, _ := get(t, e.admin, "/healthz")
				require.Equal(t, 200, status, "the echo of a signal is not a second one")
				await(t, "drain cut short", func() bool {
					_ = e.cmd.Process.Signal(syscall.SIGTERM) // it may be gone by now
					return strings.Contains(e.stderr.String(), "drain cut short")
				})
			}
			code, _ := e.wait()
			require.Equal(t, exitFailure, code)
			require.Contains(t, e.stderr.String(), "requests were cut off")
		})
	}
}

// awaitLog returns when stderr contains text.
func awaitLog(t *testing.T, e *edgeProcess, text string) {
	t.Helper()
	await(t, text, func() bool { return strings.Contains(e.stderr.String(), text) })
}

func TestHangupGoesOn(t *testing.T) {
	t.Parallel()
	e := startServe(t)
	e.signal(syscall.SIGHUP)
	awaitLog(t, e, "SIGHUP: no log file to reopen")
	status, _ := get(t, e.addr, "/plaintext")
	require.Equal(t, 200, status)
}

func TestAccessLogGoesToAFileThatMayMove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	e := startServe(t, "--access-log", path)
	get(t, e.addr, "/plaintext")
	await(t, "the first line", func() bool { return strings.Contains(readFile(t, path), `"/plaintext"`) })
	require.NoError(t, os.Rename(path, path+".1"))
	e.signal(syscall.SIGHUP)
	awaitLog(t, e, "log reopened")
	get(t, e.addr, "/json")
	e.signal(syscall.SIGTERM)
	code, _ := e.wait()
	require.Equal(t, exitOK, code)
	lines := strings.Split(strings.TrimSpace(readFile(t, path)), "\n")
	require.Len(t, lines, 1, "what was waiting is written at the end")
	var entry map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &entry), lines[0])
	require.Contains(t, lines[0], `"/json"`)
	require.NotContains(t, readFile(t, path+".1"), `"/json"`)
}

func TestAccessLogGoesToStdout(t *testing.T) {
	e := startServe(t, "--access-log", "-")
	get(t, e.addr, "/plaintext")
	require.Contains(t, e.line(), `"/plaintext"`)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

func TestServeSaysInOneLineWhatIsWrong(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, c := range []struct {
		args string
		code int
		want string
		why  string
	}{
		{"--listen 127.0.0.1:" + strconv.Itoa(port), exitFailure, taken.Addr().String() + " is in use", "a taken port"},
		{"--listen 127.0.0.1:0 --admin 127.0.0.1:" + strconv.Itoa(port), exitFailure, "is in use", "a taken admin port"},
		{"--listen 192.0.2.1:0", exitFailure, "no interface of this machine has that address", "somebody else's address"},
		{"--listen 8080", exitUsage, `--listen: "8080" is not HOST:PORT`, "a port alone"},
		{"--access-log /no/such/directory/a.log", exitFailure, "open /no/such/directory/a.log: no such file or directory", "a log that cannot be"},
		{"--loops 0", exitUsage, "--loops 0 is not between 1 and 1024", "no loop"},
		{"--watchdog maybe", exitUsage, `--watchdog "maybe" is neither on nor off`, "half a watchdog"},
		{"--budget 1us", exitUsage, "--budget 1µs is below 100µs", "a budget that nothing keeps"},
		{"--loops many", exitUsage, `invalid value "many"`, "no number"},
		{"--log-format xml", exitUsage, `--log-format "xml" is neither text nor json`, "an unknown format"},
		{"--drain-timeout -1s", exitUsage, "negative", "a drain that ended before it began"},
		{"--bidders a", exitUsage, `--bidders: "a" is not HOST:PORT`, "a bidder without a port"},
		{"--store a", exitUsage, `--store: "a" is not HOST:PORT`, "a store without one"},
		{"--frob", exitUsage, "flag provided but not defined: -frob", "a slip"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(c.args)
			if !strings.Contains(c.args, "--admin") {
				args = append(args, "--admin", "127.0.0.1:0")
			}
			p := start(t, append([]string{"serve"}, args...)...)
			code, stdout := p.wait()
			require.Equal(t, c.code, code, c.why)
			require.Empty(t, stdout)
			require.Contains(t, p.stderr.String(), c.want, c.why)
			require.True(t, strings.HasPrefix(p.stderr.String(), "tafe serve: "), p.stderr)
			require.Equal(t, 1, strings.Count(p.stderr.String(), "\n"), "one line: %s", p.stderr)
		})
	}
}
