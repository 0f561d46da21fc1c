// The binary under test. It is built once; each test starts it on its own ports, talks to it over real sockets, and stops it.

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// processTimeMax bounds the life of a process under test.
const processTimeMax = 2 * time.Minute

// Exit codes of the commands.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

var binary string // built by TestMain

// static is the binary of the Dockerfile. It is built by the first test that needs it.
var static struct {
	once sync.Once
	err  error
	out  []byte
}

// staticBinary returns the path of the binary of the Dockerfile.
func staticBinary(t *testing.T) string {
	t.Helper()
	path := binary + "-static"
	static.once.Do(func() {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		static.out, static.err = cmd.CombinedOutput()
	})
	require.NoError(t, static.err, "%s", static.out)
	return path
}

// onceIsEnough skips a test under the race detector: it builds or reads, and the code that it runs is not built with the detector.
func onceIsEnough(t *testing.T) {
	t.Helper()
	if raceFlag == "-race=true" {
		t.Skip("it shows the same without the race detector")
	}
}

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	directory, err := os.MkdirTemp("", "tafe-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	binary = filepath.Join(directory, "tafe")
	if out, err := exec.Command("go", "build", raceFlag, "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// process is a running tafe.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *testrig.Buffer
	exited chan error
}

// start runs tafe with args. The process is stopped when the test ends.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, binary, args...)
}

// startCommand is start for any command.
func startCommand(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := prepare(t, name, args...)
	p.run()
	return p
}

// prepare makes a process that run starts.
func prepare(t *testing.T, name string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), processTimeMax)
	p := &process{t: t, cmd: exec.CommandContext(ctx, name, args...), stderr: &testrig.Buffer{}, exited: make(chan error, 1)}
	t.Cleanup(cancel)
	return p
}

func (p *process) run() {
	t := p.t
	t.Helper()
	if p.cmd.Stdout == nil {
		out, err := p.cmd.StdoutPipe()
		require.NoError(t, err)
		p.stdout = bufio.NewReader(out)
	}
	if p.cmd.Stderr == nil {
		p.cmd.Stderr = p.stderr
	}
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_, _ = p.wait()
		}
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", strings.Join(p.cmd.Args, " "), p.stderr)
		}
	})
}

// line returns the next line of stdout.
func (p *process) line() string {
	p.t.Helper()
	text, err := p.stdout.ReadString('\n')
	require.NoError(p.t, err, "stdout ended; stderr: %s", p.stderr)
	return strings.TrimSuffix(text, "\n")
}

// wait returns the exit code and the rest of stdout once the process has ended.
func (p *process) wait() (code int, rest string) {
	p.t.Helper()
	var left []byte
	if p.stdout != nil {
		left, _ = io.ReadAll(p.stdout)
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), string(left)
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// edgeProcess is a running `tafe serve`.
type edgeProcess struct {
	*process
	addr, admin string
}

// startServe runs `tafe serve` on free ports and returns when it serves.
func startServe(t *testing.T, args ...string) *edgeProcess {
	t.Helper()
	return serveOn(start(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...))
}

// serveOn waits until p, a `tafe serve`, prints its addresses.
func serveOn(p *process) *edgeProcess {
	p.t.Helper()
	e := &edgeProcess{process: p}
	line := p.line()
	_, err := fmt.Sscanf(strings.NewReplacer("http://", "", "/", "", ",", " ").Replace(line), "serving %s admin %s", &e.addr, &e.admin)
	require.NoError(p.t, err, line)
	return e
}

// get sends a GET to the server or the admin listener and returns status and body.
func get(t *testing.T, addr, target string) (int, string) {
	t.Helper()
	status, _, body := do(t, "GET", addr, target, "", "")
	return status, body
}

// do makes one request on a connection of its own.
func do(t *testing.T, method, addr, target, contentType, body string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+target, strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Close = true
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, string(answer)
}

// await polls met until it is true. It fails the test after processTimeMax.
func await(t *testing.T, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(processTimeMax); !met(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "waited in vain for: %s", what)
	}
}

// rawConn is a connection on which a test writes raw bytes.
type rawConn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dialRaw(t *testing.T, addr string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(processTimeMax)))
	t.Cleanup(func() { _ = conn.Close() })
	return &rawConn{conn, t, bufio.NewReader(conn)}
}

func (c *rawConn) send(text string) {
	c.t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(c.t, err)
}

// receive reads one response with its body.
func (c *rawConn) receive() (*http.Response, string) {
	c.t.Helper()
	response, err := http.ReadResponse(c.r, nil)
	require.NoError(c.t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	return response, string(body)
}
