package main

import (
	"bytes"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

func TestDegradedRuntimeIsLogged(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  []string
		why   string
	}{
		{nil, nil, "nothing to say"},
		{[]string{"thread_lock"}, []string{"degraded=thread_lock", "ends the process"}, "a handler may end the process"},
		{[]string{"thread"}, []string{"degraded=thread", "thread clocks"}, "verdicts"},
		{[]string{"state"}, []string{"degraded=state", "stacks alone"}, "verdicts"},
		{loop.Runtime().Parts(), []string{"degraded=thread_lock,thread,state", "process; ", "running; "}, "one line for all"},
	} {
		var out bytes.Buffer
		warnDegraded(slog.New(slog.NewTextHandler(&out, nil)), c.parts)
		for _, want := range append(c.want, "level=WARN") {
			require.Equal(t, c.want != nil, strings.Contains(out.String(), want), "%s: %s", c.why, out.String())
		}
		require.Equal(t, min(len(c.want), 1), strings.Count(out.String(), "\n"), c.why)
	}
}

// A server whose Go release hides everything serves, says so once at its start, and exports it.
func TestDegradedServerSays(t *testing.T) {
	degraded := filepath.Join(t.TempDir(), "tafe")
	out, err := exec.Command("go", "build", "-ldflags", "-X tafe/loop/internal/goruntime.off=lock,thread,state", "-o", degraded, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	e := serveOn(startCommand(t, degraded, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"))
	status, _ := get(t, e.addr, "/plaintext")
	require.Equal(t, 200, status)
	require.Equal(t, 1, strings.Count(e.stderr.String(), "introspection is degraded"), e.stderr)
	_, metrics := get(t, e.admin, "/metrics")
	for _, part := range loop.Runtime().Parts() {
		require.Contains(t, metrics, `tafe_runtime_introspection{part="`+part+`"} 0`)
	}
}
