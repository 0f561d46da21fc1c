// tafe new: the project that it writes builds, passes its tests and serves, without a network.

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// offline is the environment in which make runs: no module is downloaded, and go.mod and go.sum are complete.
func offline() []string {
	return append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly")
}

func TestNewProjectWorksAtOnce(t *testing.T) {
	onceIsEnough(t)
	testrig.Program(t, "make")
	dir := filepath.Join(t.TempDir(), "shop")
	p := start(t, "new", dir)
	code, said := p.wait()
	require.Equal(t, exitOK, code, p.stderr)
	require.Contains(t, said, "make run")
	require.Contains(t, said, "go mod edit -replace tafe=DIR")

	make := exec.CommandContext(t.Context(), "make", "test")
	make.Dir, make.Env = dir, offline()
	out, err := make.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "shop.toml is good: 2 routes")

	// On ports of its own, so that tests of others do not meet it.
	config := filepath.Join(dir, "shop.toml")
	text := strings.NewReplacer(":8080", ":0", ":9180", ":0").Replace(readFile(t, config))
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	server := prepare(t, "make", "--no-print-directory", "run")
	server.cmd.Dir, server.cmd.Env = dir, offline()
	server.run()
	var addr string
	for addr == "" {
		if m := regexp.MustCompile(`^serving http://([^/]+)/`).FindStringSubmatch(server.line()); m != nil {
			addr = m[1]
		}
	}
	status, body := get(t, addr, "/hello/Ada")
	require.Equal(t, 200, status)
	require.Equal(t, `{"message":"Hello, Ada!"}`, strings.TrimSpace(body))
	server.signal(syscall.SIGTERM) // make passes it on, and ends by it
	_, _ = server.wait()
	require.Contains(t, server.stderr.String(), "msg=drained")

	diff := exec.CommandContext(t.Context(), "gofmt", "-l", ".")
	diff.Dir = dir
	out, err = diff.CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(out))

	// The image has the flags of the binary.
	command := regexp.MustCompile(`(?m)^CMD \[(.*)\]$`).FindStringSubmatch(readFile(t, filepath.Join(dir, "Dockerfile")))
	require.NotNil(t, command)
	requireFlags(t, strings.Split(strings.ReplaceAll(command[1], `"`, ""), ", "))
	lines := bufio.NewScanner(strings.NewReader(readFile(t, filepath.Join(dir, "Makefile"))))
	static := ""
	for lines.Scan() {
		if strings.Contains(lines.Text(), "CGO_ENABLED=0") {
			static = strings.TrimSpace(lines.Text())
		}
	}
	build := exec.CommandContext(t.Context(), "sh", "-c", static)
	build.Dir, build.Env = dir, offline()
	out, err = build.CombinedOutput()
	require.NoError(t, err, "%s: %s", static, out)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	full, other := filepath.Join(t.TempDir(), "full"), t.TempDir()
	require.NoError(t, os.Mkdir(full, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(full, "a"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(other, "go.mod"), []byte("module other\n\ngo 1.26\n"), 0o600))
	fresh := filepath.Join(t.TempDir(), "fresh")
	for _, c := range []struct {
		args []string
		code int
		want string
		why  string
	}{
		{nil, exitUsage, "a directory is required: tafe new DIR", "no directory"},
		{[]string{"--module", "x"}, exitUsage, "a directory is required: tafe new DIR", "flags alone"},
		{[]string{fresh, "now"}, exitUsage, `takes flags only, got "now"`, "two directories"},
		{[]string{full}, exitFailure, full + " is not empty", "files of others stay as they are"},
		{[]string{filepath.Join(fresh, "1 2")}, exitUsage, `"1 2" cannot be the name of a program`, "a blank"},
		{[]string{fresh, "--module", "tafe/shop"}, exitUsage, "--module tafe/shop: the name is that of the server", "its packages would be those of tafe"},
		{[]string{fresh, "--source", other}, exitFailure, other + " is not the source of tafe: its go.mod has another module", "another source"},
		{[]string{fresh, "--source", filepath.Join(other, "no")}, exitFailure, "no such file or directory", "no source"},
	} {
		p := start(t, append([]string{"new"}, c.args...)...)
		code, _ := p.wait()
		require.Equal(t, c.code, code, "%s: %s", c.why, p.stderr)
		require.Contains(t, p.stderr.String(), c.want, c.why)
		require.NoDirExists(t, fresh, c.why)
	}
}

// A binary without paths of its source asks for it, and takes it.
func TestNewWithoutRecordedSource(t *testing.T) {
	onceIsEnough(t)
	trimmed := staticBinary(t)
	dir := filepath.Join(t.TempDir(), "shop")
	p := startCommand(t, trimmed, "new", dir)
	code, _ := p.wait()
	require.Equal(t, exitUsage, code)
	require.Contains(t, p.stderr.String(), "this binary does not tell its source: name it with --source DIR")
	p = startCommand(t, trimmed, "new", dir, "--source", moduleRoot(t), "--module", "example.org/shop")
	code, _ = p.wait()
	require.Equal(t, exitOK, code, p.stderr)
	require.Contains(t, readFile(t, filepath.Join(dir, "go.mod")), "module example.org/shop\n")
	require.Contains(t, readFile(t, filepath.Join(dir, "go.mod")), "replace tafe => "+moduleRoot(t)+"\n")
}
