package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// A server on a Go release that hides everything still serves. It logs that once at the start, and exports it.
func TestDegradedServerSays(t *testing.T) {
	onceIsEnough(t)
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
