// The commands that read what a server has written: overruns and watch.

package edge

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOverrunsCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	record := `{"id":1,"final":true,"blamed":true,"verdict":"sleep","key":"k","held_ms":20,"route":"/a","culprit":{"func":"main.f","file":"f.go","line":3},` +
		`"stack":[{"func":"main.f","file":"f.go","line":3}],"victims":{"count":1,"total_ms":5}}`
	require.NoError(t, os.WriteFile(file, []byte(record+"\n"), 0o600))
	for _, c := range []struct {
		args []string
		code int
		want string
		why  string
	}{
		{[]string{file}, exitOK, "main.f (f.go:3)", "the table"},
		{[]string{file, "--top", "5"}, exitOK, "main.f (f.go:3)", "flags behind the file"},
		{[]string{"--folded", "victims", file}, exitOK, "main.f;[sleep] 5000", "flags before it"},
		{[]string{}, exitUsage, "a log file of the watchdog is required", "no file"},
		{[]string{file, "--folded", "x"}, exitUsage, "neither held, ran nor victims", "no such weight"},
		{[]string{file + ".not"}, exitFailure, "no such file", "not there"},
		{[]string{"commands_test.go"}, exitFailure, "no record of the watchdog", "another kind of file"},
	} {
		var stdout, stderr strings.Builder
		require.Equal(t, c.code, newProgram(nil).run(t.Context(), append([]string{"overruns"}, c.args...), &stdout, &stderr), c.why)
		require.Contains(t, stdout.String()+stderr.String(), c.want, c.why)
	}
}

func TestWatchCommand(t *testing.T) {
	var stdout, stderr strings.Builder
	require.Equal(t, exitFailure, newProgram(nil).run(t.Context(), []string{"watch", "--once", "--admin", "127.0.0.1:1"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "refused")
	require.Equal(t, exitUsage, newProgram(nil).run(t.Context(), []string{"watch", "--width", "wide"}, &stdout, &stderr))
}
