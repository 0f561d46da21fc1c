package proxy

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
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// besideNginx starts nginx and tafe in front of the same upstream. Both wait 100 ms for the next byte of a body below
// /plain, and an hour below /stream and /ws. drain ends one of them gracefully; the channel then gets its end.
func besideNginx(t *testing.T, upstream string) map[string]struct {
	addr  string
	drain func() <-chan error
} {
	path := testrig.Program(t, "nginx")
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	addr := freeAddr(t)
	conf := fmt.Sprintf(`daemon off; master_process on; worker_processes 1; pid %[1]s/pid; error_log /dev/null; worker_shutdown_timeout 20s;
events {}
http {
  access_log off; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 1h; proxy_set_header Host $http_host;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s;
    location /plain { proxy_pass http://%[3]s; proxy_read_timeout 100ms; }
    location /stream { proxy_pass http://%[3]s; }
    location /ws { proxy_pass http://%[3]s; proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade; }
  }
}`, dir, addr, upstream)
	file := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o644))
	cmd := exec.Command(path, "-p", dir, "-c", file, "-e", "/dev/null")
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // fast shutdown, of its worker too
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, patience, 5*time.Millisecond)
	f := serve(t, GroupOptions{Servers: to(upstream), BodyTimeout: 100 * time.Millisecond}, Options{})
	return map[string]struct {
		addr  string
		drain func() <-chan error
	}{
		"nginx": {addr, func() <-chan error { require.NoError(t, cmd.Process.Signal(syscall.SIGQUIT)); return ended }},
		"tafe": {f.Addr().String(), func() <-chan error {
			drained := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				drained <- f.Drain(ctx)
			}()
			return drained
		}},
	}
}

// The same requests get the same treatment from nginx, whose operator sets proxy_read_timeout per location, and from tafe,
// which knows streams by their type.
func TestStreamsBesideNginx(t *testing.T) {
	t.Parallel()
	over := make(chan struct{}, 2) // one for each proxy
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echoUpgrade(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		if r.URL.Path == "/stream" {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = io.WriteString(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/stream" {
			<-over
			_, _ = io.WriteString(w, "data: last\n\n")
			return
		}
		<-r.Context().Done()
	})
	for name, p := range besideNginx(t, upstream) {
		open := func(head string) (net.Conn, *bufio.Reader, *http.Response) {
			c, err := net.Dial("tcp", p.addr)
			require.NoError(t, err, name)
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			_, err = io.WriteString(c, head)
			require.NoError(t, err, name)
			in := bufio.NewReader(c)
			resp, err := http.ReadResponse(in, nil)
			require.NoError(t, err, name)
			return c, in, resp
		}
		_, _, stream := open("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
		ws, echoes, upgraded := open(upgradeRequest)
		require.Equal(t, 101, upgraded.StatusCode, name)
		_, _, plain := open("GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
		body, err := io.ReadAll(plain.Body)
		require.Error(t, err, "%s: a silent plain body is cut: %q", name, body)

		// More than the time for which a plain body may be silent has passed, and the streams are open.
		say := func(what string) {
			_, err := io.WriteString(ws, what)
			require.NoError(t, err, name)
		}
		hear := func(what string) {
			got := make([]byte, len(what))
			_, err := io.ReadFull(echoes, got)
			require.NoError(t, err, name)
			require.Equal(t, what, string(got), name)
		}
		say("late")
		hear("first late")

		drained := p.drain()
		require.Eventually(t, func() bool {
			c, err := net.Dial("tcp", p.addr)
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		}, patience, time.Millisecond, "%s: a drain refuses new connections", name)
		say("drained")
		hear("drained")
		over <- struct{}{}
		all, err := io.ReadAll(stream.Body)
		require.NoError(t, err, name)
		require.Equal(t, "data: first\n\ndata: last\n\n", string(all), name)
		select {
		case <-drained:
			t.Fatalf("%s: the drain does not wait for an upgraded connection", name)
		default:
		}
		require.NoError(t, ws.Close())
		require.NoError(t, <-drained, name)
	}
}
