// The front ends of docs/deploy, run for real: they pass requests on, and a rolling restart behind HAProxy loses none.

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// behind are tafe processes for a sample of docs/deploy: the sample with their ports, and how to start each.
func behind(t *testing.T, sample string, count int) (file, front string, admins []string, serve []func() *process) {
	t.Helper()
	text, err := os.ReadFile("../../docs/deploy/" + sample)
	require.NoError(t, err)
	port := func(old string) string {
		p := testrig.Port(t)
		require.Contains(t, string(text), old)
		text = []byte(strings.ReplaceAll(string(text), old, p))
		return "127.0.0.1:" + p
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	front = port("8000")
	for i := range count {
		listen, admin := port(fmt.Sprint(8081+i)), "127.0.0.1:"+testrig.Port(t)
		if strings.Contains(string(text), fmt.Sprint(9181+i)) {
			admin = port(fmt.Sprint(9181 + i))
		}
		admins = append(admins, admin)
		config := filepath.Join(dir, fmt.Sprintf("edge%d.toml", i))
		writeConfig(t, config, "[timeouts]\ndrain_delay = \"1500ms\"\n[[route]]\npath = \"/hello\"\nrespond = { body = \"hello\" }\n")
		serve = append(serve, func() *process {
			p := start(t, "serve", "-c", config, "--listen", listen, "--admin", admin, "--loops", "1")
			require.Contains(t, p.line(), "serving")
			return p
		})
	}
	file = filepath.Join(dir, sample)
	require.NoError(t, os.WriteFile(file, text, 0o644))
	return file, front, admins, serve
}

func awaitHello(t *testing.T, front string) {
	t.Helper()
	await(t, "the front end", func() bool {
		resp, err := http.Get("http://" + front + "/hello")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func TestRollingRestartBehindHAProxyLosesNoRequest(t *testing.T) {
	t.Parallel()
	path := testrig.Program(t, "haproxy")
	file, front, admins, serve := behind(t, "haproxy.cfg", 3)
	var running []*process
	for _, s := range serve {
		running = append(running, s())
	}
	startCommand(t, path, "-db", "-f", file)
	awaitHello(t, front)
	v := visit("tcp", front)
	for i, p := range running {
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		code, _ := p.wait()
		require.Zero(t, code)
		serve[i]()
		await(t, "HAProxy sends requests to the new process", func() bool {
			_, metrics := get(t, admins[i], "/metrics")
			return strings.Contains(metrics, `route="/hello"`)
		})
	}
	asked, failed := v.stop()
	t.Logf("%d requests, three restarts: %d failed", asked, len(failed))
	require.Empty(t, failed)
}

func TestBehindNginx(t *testing.T) {
	t.Parallel()
	path := testrig.Program(t, "nginx")
	file, front, _, serve := behind(t, "nginx.conf", 2)
	for _, s := range serve {
		s()
	}
	work := t.TempDir()
	startCommand(t, path, "-p", work, "-c", file, "-e", "/dev/null", "-g",
		fmt.Sprintf("daemon off; master_process off; pid %s/pid;", work))
	awaitHello(t, front)
}
