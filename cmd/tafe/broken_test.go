// A configuration with a part that cannot be used: the other parts are served, and the broken one is reported in the log, on
// the live page, in the metrics and by check.

package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
)

func TestGoodPartsAreServedBesideBrokenOnes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := certstest.Write(t, dir, "good", time.Now().Add(24*time.Hour), "good.example")
	old := certstest.Write(t, dir, "old", time.Now().Add(-time.Hour), "old.example")
	files := filepath.Join(dir, "files")
	path := filepath.Join(dir, "edge.toml")
	text := fmt.Sprintf(`
[admin]
listen = "127.0.0.1:0"
[[listener]]
listen = "127.0.0.1:0"
tls = { certs = [{ cert = %q, key = %q }, { cert = %q, key = %q }] }
[[listener]]
listen = "127.0.0.1:0"
tls = { certs = [{ cert = "/no/such.pem", key = "/no/such.key" }] }
[[upstream]]
name = "nameless"
servers = [{ addr = "no-such-host.invalid:80" }]
[[upstream]]
name = "keyless"
servers = [{ addr = "127.0.0.1:1" }]
tls = { ca = "/no/such/ca.pem" }
[[route]]
path = "/"
respond = { body = "good" }
[[route]]
path = "/files/{path...}"
static = { dir = %q }
[[route]]
path = "/nameless"
proxy = { upstream = "nameless" }
[[route]]
path = "/keyless"
proxy = { upstream = "keyless" }
`, good.Cert, good.Key, old.Cert, old.Key, files)
	writeConfig(t, path, text)

	check := start(t, "check", "-c", path)
	code, _ := check.wait()
	require.Equal(t, exitFailure, code, "a check fails")
	broken := []string{"old.pem expired on ", "/no/such.pem: no such file", `route.static.dir = "` + files, "upstream keyless: /no/such/ca.pem"}
	for _, want := range append(broken, "has 4 problems") {
		require.Contains(t, check.stderr.String(), want)
	}

	p := start(t, "serve", "-c", path)
	line := p.line()
	found := regexp.MustCompile(`serving https://([^/]+)/, https://([^/]+)/, admin http://([^/]+)/`).FindStringSubmatch(line)
	require.NotNil(t, found, line)
	addr, second, admin := found[1], found[2], found[3]
	ask := func(addr, host, target string) (int, string) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: host}}}
		response, err := client.Get("https://" + addr + target)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		return response.StatusCode, response.Header.Get("Content-Type")
	}
	for _, c := range []struct {
		addr, host, target string
		status             int
		why                string
	}{
		{addr, "good.example", "/", 200, "the good certificate and route"},
		{addr, "good.example", "/files/a", 503, "a directory that is not there"},
		{addr, "good.example", "/nameless", 503, "a name that does not resolve"},
		{addr, "good.example", "/keyless", 503, "an upstream whose authorities cannot be read"},
		{addr, "old.example", "/", 200, "an expired certificate, which is all there is"},
		{addr, "other.example", "/", 200, "another name, with the good certificate"},
		{second, "good.example", "/", 0, "a listener without a certificate"},
	} {
		status, text := ask(c.addr, c.host, c.target)
		require.Equal(t, c.status, status, "%s: %s", c.why, text)
		if status == 0 {
			require.Contains(t, text, "unrecognized name", c.why)
		}
	}
	_, metrics := get(t, admin, "/metrics")
	require.Contains(t, metrics, "\ntafe_config_problems 4\n")
	for _, want := range []string{`{name="good.example",source="file"} 0`, `{name="old.example",source="file"} 1`, `{name="/no/such.pem",source="file"} 1`} {
		require.Contains(t, metrics, "\ntafe_certificate_problem"+want)
	}
	out, err := exec.Command(binary, "certs", "--admin", admin).CombinedOutput()
	require.NoError(t, err)
	require.Regexp(t, `(?m)^old\.example .* expired$`, string(out))
	require.Regexp(t, `(?m)^/no/such\.pem .* missing$`, string(out))
	require.Regexp(t, `(?m)^good\.example .* good$`, string(out))
	require.Regexp(t, `(?m)^old\.example: .*old\.pem expired on .*\n  the files are read again every minute$`, string(out))
	for _, want := range broken {
		await(t, "the log names "+want, func() bool { return strings.Contains(p.stderr.String(), strings.ReplaceAll(want, `"`, `\"`)) })
	}

	// A reload takes what is mended, and the rest as it is.
	require.NoError(t, os.Mkdir(files, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(files, "a"), []byte("a"), 0o600))
	certstest.Write(t, dir, "old", time.Now().Add(time.Hour), "old.example")
	p.signal(syscall.SIGHUP)
	await(t, "the reload", func() bool { return strings.Contains(p.stderr.String(), "configuration reloaded") })
	status, _ := ask(addr, "good.example", "/files/a")
	require.Equal(t, 200, status)
	status, _ = ask(addr, "old.example", "/")
	require.Equal(t, 200, status)
	_, metrics = get(t, admin, "/metrics")
	require.Contains(t, metrics, "\ntafe_config_problems 2\n")
	p.signal(syscall.SIGTERM)
	code, _ = p.wait()
	require.Equal(t, exitOK, code, p.stderr)
}
