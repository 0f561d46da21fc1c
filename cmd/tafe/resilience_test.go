// Floods, slow clients, many idle connections and hostile bytes: other clients are still answered, and memory stays bounded.

package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// hostile are streams that must be refused or ignored, and never get the bytes of another client.
var hostile = []struct{ why, bytes string }{
	{"length and coding", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"two lengths", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"},
	{"list of lengths", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd"},
	{"signed length", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"},
	{"length overflow", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"},
	{"coding hidden by a tab", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked, identity\r\n\r\n"},
	{"space before colon", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd"},
	{"folded line", "GET /plaintext HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"},
	{"leading folded line", "GET /plaintext HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n"},
	{"bare LF", "GET /plaintext HTTP/1.1\nHost: a\n\n"},
	{"bare CR", "GET /plaintext HTTP/1.1\r\nHost: a\rb\r\n\r\n"},
	{"NUL", "GET /plaintext HTTP/1.1\r\nHost: a\x00\r\n\r\n"},
	{"no colon, then a smuggled request", "GET /plaintext HTTP/1.1\r\nHost: a\r\nfoo\r\n\r\nGET /json HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"line break in the target", "GET /plain\r\ntext HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"no host", "GET /plaintext HTTP/1.1\r\n\r\n"},
	{"two hosts", "GET /plaintext HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
	{"bad chunk size", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"},
	{"chunk longer than it says", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"},
	{"endless chunk extension", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 70000)},
	{"endless head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 70000)},
	{"endless target", "GET /" + strings.Repeat("x", 70000)},
	{"too many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 3000) + "\r\n"},
	{"climbing path", "GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"body that stops", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nSTOLEN"},
	{"body and garbage behind it", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nSTOLEN\x00\x01\x02"},
	{"leaves while its handler waits", "GET /sleep?ms=300 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"leaves with answers unread", strings.Repeat("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nSTOLEN", 64)},
}

// TestHostileNeighbours sends the hostile streams whole, cut at random and with flipped bytes, while honest clients check that
// each response is their own.
func TestHostileNeighbours(t *testing.T) {
	e := startServe(t, "--loops", "2")
	stop := make(chan struct{})
	var attackers, clients sync.WaitGroup
	var attacks atomic.Int64
	for seed := range uint64(8) {
		attackers.Add(1)
		go func() {
			defer attackers.Done()
			rnd := rand.New(rand.NewPCG(seed, 7))
			for {
				select {
				case <-stop:
					return
				default:
					attack(e.addr, rnd)
					attacks.Add(1)
				}
			}
		}()
	}
	const rounds = 400
	failures := make(chan error, 16)
	for client := range 16 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			if err := honest(e.addr, client, rounds); err != nil {
				failures <- err
			}
		}()
	}
	clients.Wait()
	close(stop)
	attackers.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	require.Greater(t, attacks.Load(), int64(100), "the attackers had their chance")
	status, body := get(t, e.addr, "/plaintext")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "Hello, World!", body)
}

func attack(addr string, rnd *rand.Rand) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	stream := []byte(hostile[rnd.IntN(len(hostile))].bytes)
	if rnd.IntN(3) == 0 {
		stream[rnd.IntN(len(stream))] = byte(rnd.Uint32())
	}
	for len(stream) > 0 {
		n := 1 + rnd.IntN(len(stream))
		if _, err := conn.Write(stream[:n]); err != nil {
			return
		}
		stream = stream[n:]
	}
	if rnd.IntN(2) == 0 { // else it leaves at once
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = io.Copy(io.Discard, conn)
	}
}

// honest sends bodies with the name of their sender and compares the echoes.
func honest(addr string, client, rounds int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(processTimeMax))
	r := bufio.NewReader(conn)
	rnd := rand.New(rand.NewPCG(uint64(client), 11))
	for round := range rounds {
		body := strings.Repeat(fmt.Sprintf("client %d round %d;", client, round), 1+rnd.IntN(400))
		head := fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(body))
		message := head + body
		if rnd.IntN(2) == 0 {
			message = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + inChunks(body, rnd)
		}
		cut := rnd.IntN(len(message))
		for _, part := range []string{message[:cut], message[cut:]} {
			if _, err := io.WriteString(conn, part); err != nil {
				return fmt.Errorf("client %d round %d: %w", client, round, err)
			}
		}
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("client %d round %d: %w", client, round, err)
		}
		got, err := io.ReadAll(response.Body)
		if err != nil {
			return fmt.Errorf("client %d round %d: %w", client, round, err)
		}
		if string(got) != body {
			return fmt.Errorf("client %d round %d got %d bytes that are not its own: %.80q", client, round, len(got), got)
		}
	}
	return nil
}

func inChunks(body string, rnd *rand.Rand) string {
	var b strings.Builder
	for body != "" {
		n := 1 + rnd.IntN(len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// TestFloodBeyondTheLimit opens more connections than the limit on open files allows. Those within it are served, the others
// are closed, and there is room again afterwards.
func TestFloodBeyondTheLimit(t *testing.T) {
	for _, c := range []struct {
		why     string
		files   int
		connMax int // configured; 0: not
		flood   int
		held    int // that the server holds at most
	}{
		{"twice what the limit leaves", 1024, 0, 1536, 768},
		{"conn_max above the limit", 256, 10000, 1000, 256},
	} {
		t.Run(c.why, func(t *testing.T) {
			e := startServeLimited(t, c.files, c.connMax)
			if c.connMax > 0 {
				awaitLog(t, e, fmt.Sprintf("conn_max = %d is more than the limit of %d open files leaves", c.connMax, c.files))
			}
			resident := dialRaw(t, e.addr)
			ask := func() {
				resident.send("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n")
				response, body := resident.receive()
				require.Equal(t, http.StatusOK, response.StatusCode)
				require.Equal(t, "Hello, World!", body)
			}
			ask()
			var flood []net.Conn
			for range c.flood {
				conn, err := net.DialTimeout("tcp", e.addr, 5*time.Second)
				if err == nil {
					flood = append(flood, conn)
				}
			}
			require.Greater(t, len(flood), c.held)
			ask()
			status, _ := get(t, e.admin, "/healthz")
			require.Equal(t, http.StatusOK, status, "descriptors are left for others")
			for _, conn := range flood {
				_ = conn.Close()
			}
			require.Eventually(t, func() bool { return answersNow(e.addr) }, processTimeMax, 10*time.Millisecond, "room again after the flood")
			ask()
			require.NotContains(t, e.stderr.String(), "accept failed")
		})
	}
}

// answersNow makes a request on a new connection.
func answersNow(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	return err == nil && response.StatusCode == http.StatusOK
}

// startServeLimited is startServe with a hard limit of open files, and limits.conn_max unless that is 0.
func startServeLimited(t *testing.T, files, connMax int) *edgeProcess {
	t.Helper()
	args := []string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files), binary, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
	if connMax > 0 {
		file := filepath.Join(t.TempDir(), "edge.toml")
		writeConfig(t, file, fmt.Sprintf("[limits]\nconn_max = %d\n[[route]]\npath = \"/plaintext\"\nrespond = { body = \"Hello, World!\" }\n", connMax))
		args = append(args, "--config", file)
	}
	return serveOn(startCommand(t, "sh", args...))
}

// TestIdleCrowd holds thousands of idle connections: they use little memory, and none once they are closed.
func TestIdleCrowd(t *testing.T) {
	crowd := 10_000
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur < uint64(crowd)+500 {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	if limit.Max*3/4 < uint64(crowd)+100 {
		crowd = int(limit.Max*3/4) - 100
		t.Logf("the limit of open files leaves room for %d idle connections", crowd)
	}
	e := startServe(t, "--loops", "2")
	get(t, e.addr, "/plaintext")
	before := residentBytes(t, e.cmd.Process.Pid)
	conns := make([]net.Conn, 0, crowd)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	for range crowd {
		conn, err := net.Dial("tcp", e.addr)
		require.NoError(t, err)
		conns = append(conns, conn)
		_, err = io.WriteString(conn, "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
	}
	for _, conn := range conns {
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
	status, _ := get(t, e.addr, "/json")
	require.Equal(t, http.StatusOK, status)
	each := (residentBytes(t, e.cmd.Process.Pid) - before) / int64(crowd)
	t.Logf("%d idle connections: %d bytes resident each", crowd, each)
	if raceFlag == "-race=false" {
		require.Less(t, each, int64(8<<10))
	}
}

// residentBytes reads VmRSS.
func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), "VmRSS:")
	require.True(t, found)
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return kilobytes << 10
}

// TestSlowClients runs slowhttptest with slow heads, slow bodies and slow reads.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	tool := testrig.Program(t, "slowhttptest")
	e := startServe(t, "--loops", "2")
	get(t, e.addr, "/plaintext")
	before := residentBytes(t, e.cmd.Process.Pid)
	for _, tc := range []struct {
		why  string
		args []string
	}{
		{"slow heads", []string{"-H", "-u", "http://" + e.addr + "/plaintext"}},
		{"slow bodies", []string{"-B", "-s", "65536", "-u", "http://" + e.addr + "/echo"}},
		{"slow readers", []string{"-X", "-w", "10", "-y", "20", "-n", "1", "-z", "8", "-k", "3", "-u", "http://" + e.addr + "/"}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			slow := exec.Command(tool, append(tc.args, "-c", "400", "-r", "400", "-i", "1", "-l", "4", "-p", "2")...)
			slow.Stdout, slow.Stderr = io.Discard, io.Discard
			require.NoError(t, slow.Start())
			ended := make(chan error, 1)
			go func() { ended <- slow.Wait() }()
			for {
				status, body := get(t, e.addr, "/plaintext")
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, "Hello, World!", body)
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	grown := residentBytes(t, e.cmd.Process.Pid) - before
	t.Logf("memory grew by %d KiB over all modes", grown>>10)
	if raceFlag == "-race=false" {
		require.Less(t, grown, int64(64<<20), "400 slow connections must not hold memory")
	}
}
