package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// hostile are streams that two parsers could split into different requests.
var hostile = []struct{ name, stream string }{
	{"length and chunks", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"chunks and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 35\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 32\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"length list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 32\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"long length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"odd coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"two codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"coding with a tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"},
	{"coding after a vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"bare line feeds", "POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"bare line feed in a field", "POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 32\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"bare carriage return", "POST / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 32\r\n\r\n"},
	{"old version with chunks", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"chunk size with a sign", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n"},
	{"chunk size with 0x", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n"},
	{"chunk size that wraps", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n"},
	{"chunk without its end", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"line feed in an extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\nab\r\n0\r\n\r\n"},
	{"framing in a trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 32\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"framing hidden by Connection", "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 3\r\n\r\nabcGET /second HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
	{"space in the target", "GET / HTTP/1.1\r\nX: HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"target with a space", "GET /a HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"target with control", "GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"escaped line end", "GET /a%0d%0aX:%20y HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"upgrade with a body", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 32\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n\r\n"},
	{"body on a get", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\nGET /body HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"short body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"pipeline", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"},
}

// The upstream never receives more requests than the client receives responses, and none for "/evil".
func requireNoSmuggling(t *testing.T, addr string, seen func() []string) {
	f := serve(t, GroupOptions{Servers: to(addr), Tries: 1}, Options{})
	most := len(seen())
	for _, c := range hostile {
		before := len(seen())
		answers := statusesOf(t, f.Addr().String(), c.stream)
		ours := 0
		for _, a := range answers {
			if a == 200 {
				ours++
			}
		}
		status, _ := get(t, f.url+"/marker")
		require.Equal(t, 200, status, c.name)
		// The upstream logs the requests it answers. A head is forwarded before an error in its body is known, so its
		// log line may follow the marker.
		require.Eventually(t, func() bool {
			got := seen()[before:]
			return len(got) > ours && slices.ContainsFunc(got, func(line string) bool { return strings.HasSuffix(line, "/marker") })
		}, patience, time.Millisecond, c.name)
		got := seen()[before:]
		for _, line := range got {
			require.NotContains(t, line, "evil", "%s: smuggled", c.name)
		}
		most += len(answers) + 1
		require.LessOrEqual(t, before+len(got), most, "%s: answers %v, upstream saw %v", c.name, answers, got)
	}
}

// statusesOf sends a stream on one connection, closes it for writing, and returns the statuses received.
func statusesOf(t *testing.T, addr, stream string) (statuses []int) {
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, stream)
	require.NoError(t, err)
	_ = c.(*net.TCPConn).CloseWrite() // an error: the server has refused the stream already
	_ = c.SetReadDeadline(time.Now().Add(patience))
	in := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server closes when all is answered")
			return statuses
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		statuses = append(statuses, resp.StatusCode)
	}
}

func TestNoSmugglingToNginx(t *testing.T) {
	t.Parallel()
	path := testrig.Program(t, "nginx")
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	addr := freeAddr(t)
	log := filepath.Join(dir, "access.log")
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log /dev/null;
events {}
http {
  log_format seen '$request_method $request_uri';
  access_log %[2]s seen;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[3]s; location / { return 200 "x"; } }
}`, dir, log, addr)
	file := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o644))
	start(t, addr, exec.Command(path, "-p", dir, "-c", file, "-e", "/dev/null"))
	requireNoSmuggling(t, addr, func() []string { return lines(t, log) })
}

func TestNoSmugglingToNode(t *testing.T) {
	t.Parallel()
	path := testrig.Program(t, "node")
	dir := t.TempDir()
	addr := freeAddr(t)
	log := filepath.Join(dir, "seen.log")
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	script := fmt.Sprintf(`const fs=require('fs');require('http').createServer((q,s)=>{q.on('error',()=>{});q.resume();q.on('end',()=>{
fs.appendFileSync(%q,q.method+' '+q.url+'\n');s.end('x')})}).listen(%s,%q)`, log, port, host)
	require.NoError(t, os.WriteFile(log, nil, 0o644))
	start(t, addr, exec.Command(path, "-e", script))
	requireNoSmuggling(t, addr, func() []string { return lines(t, log) })
}

func lines(t *testing.T, file string) []string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

func freeAddr(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// start runs a real server until the test ends.
func start(t *testing.T, addr string, cmd *exec.Cmd) {
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, patience, 5*time.Millisecond)
}
