// tafe vet with the real packages of tafe: findings, the baseline, and the binary as a vettool.

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// vetProgram has one handler that blocks, through another package, and others that do not.
var vetProgram = map[string]string{
	"store/store.go": `package store

import "os"

func Load() ([]byte, error) { return os.ReadFile("x") }
`,
	"main.go": `package main

import (
	"time"

	"blocks/store"
	"tafe/app"
	"tafe/loop"
)

func show(c *app.Context) error {
	_, err := store.Load()
	return err
}

func offloaded(c *app.Context) error {
	_, err := app.Offload(c, store.Load)
	return err
}

func report(c *app.Context) error {
	time.Sleep(time.Second)
	return c.Sleep(time.Second)
}

func fan(c *app.Context) error {
	g := c.Task().Group()
	g.Go(func(t *loop.Task) error {
		time.Sleep(1) //tafe:allow-blocking a trial
		return t.Sleep(1)
	})
	return g.All()
}

func main() {
	a := app.New(app.Options{})
	a.Get("/", show)
	a.Get("/offloaded", offloaded)
	a.Get("/report", report, app.Blocking())
	a.Get("/fan", fan)
}
`,
}

func TestVet(t *testing.T) {
	onceIsEnough(t)
	dir := t.TempDir()
	root := moduleRoot(t)
	mod := strings.Replace(readFile(t, filepath.Join(root, "go.mod")), "module tafe\n", "module blocks\n", 1)
	mod += "\nrequire tafe v0.0.0\n\nreplace tafe => " + root + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), []byte(readFile(t, filepath.Join(root, "go.sum"))), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "store"), 0o700))
	for name, text := range vetProgram {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	vet := func(name string, args ...string) (int, string) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, offline()
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	const finding = "main.go:12:12: os.ReadFile holds the loop: main.show -> store.Load -> os.ReadFile; use app.Offload"

	code, said := vet(binary, "vet", "./...")
	require.Equal(t, exitFailure, code, said)
	require.Contains(t, said, finding)
	require.Contains(t, said, "tafe vet: findings: 1")
	require.Equal(t, 1, strings.Count(said, "holds the loop"), said)

	code, said = vet("go", "vet", "-vettool="+binary, "./...")
	require.NotZero(t, code)
	require.Contains(t, said, finding, "as a vettool")

	code, said = vet(binary, "vet", "-baseline", "vet.baseline", "-update", "./...")
	require.Equal(t, exitOK, code, said)
	code, said = vet(binary, "vet", "-baseline", "vet.baseline", "./...")
	require.Equal(t, exitOK, code, said)
	require.Empty(t, said, "the finding is known")
	fixed := strings.Replace(vetProgram["main.go"], "_, err := store.Load()", "_, err := app.Offload(c, store.Load)", 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(fixed), 0o600))
	code, said = vet(binary, "vet", "-baseline", "vet.baseline", "./...")
	require.Equal(t, exitOK, code, said)
	require.Contains(t, said, "vet.baseline has 1 findings that were not found", "it has been fixed")

	for _, c := range []struct {
		args []string
		code int
		want string
		why  string
	}{
		{nil, exitUsage, "packages are required", "no packages"},
		{[]string{"-update", "./..."}, exitUsage, "-update needs -baseline FILE", "nowhere to write"},
		{[]string{"-baseline", "missing", "./..."}, exitFailure, "missing", "a baseline that is not there"},
		{[]string{"./nothing"}, exitFailure, "go vet", "an error of the go command"},
	} {
		code, said := vet(binary, append([]string{"vet"}, c.args...)...)
		require.Equal(t, c.code, code, "%s: %s", c.why, said)
		require.Contains(t, said, c.want, c.why)
	}
}

func TestIsVettool(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
		why  string
	}{
		{[]string{"-V=full"}, true, "the version, for the cache"},
		{[]string{"-flags"}, true, "the flags"},
		{[]string{"-json", "/tmp/b001/vet.cfg"}, true, "one package"},
		{[]string{"serve", "--config", "vet.cfg"}, false, "a command"},
		{[]string{"-v"}, false, "the version, for people"},
		{nil, false, "no arguments"},
	} {
		require.Equal(t, c.want, isVettool(c.args), c.why)
	}
}
