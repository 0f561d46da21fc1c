// The documentation: its Go compiles, its TOML is valid, and its commands exist.

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// block is a piece of code in a document. Language is "" where the fence names none, and "indented" without a fence.
type block struct {
	file     string
	line     int
	language string
	text     string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

// documents returns the code blocks of README, CONTRIBUTING and docs/*.md.
func documents(t *testing.T) (all []block) {
	t.Helper()
	root := moduleRoot(t)
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	for _, name := range append(names, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		short, err := filepath.Rel(root, name)
		require.NoError(t, err)
		all = append(all, blocks(short, string(text))...)
	}
	require.NotEmpty(t, all)
	return all
}

func blocks(file, text string) (all []block) {
	var open *block
	for i, line := range strings.Split(text, "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open != nil && open.language != "indented":
			all, open = append(all, *open), nil
		case fence:
			open = &block{file: file, line: i + 2, language: language}
		case open != nil && open.language != "indented":
			open.text += line + "\n"
		case strings.HasPrefix(line, "    ") && open == nil:
			open = &block{file, i + 1, "indented", line[4:] + "\n"}
		case strings.HasPrefix(line, "    "):
			open.text += line[4:] + "\n"
		case open != nil:
			all, open = append(all, *open), nil
		}
	}
	if open != nil {
		all = append(all, *open)
	}
	return all
}

func of(all []block, languages ...string) []block {
	return slices.DeleteFunc(slices.Clone(all), func(b block) bool { return !slices.Contains(languages, b.language) })
}

// assumed declares what the snippets use without showing it.
const assumed = `
var t testing.TB
var a *app.App
func lookUp(ctx context.Context, id string) (user struct{ Name string }, err error) { return user, ctx.Err() }
func makeReport() (string, error) { return "", nil }
`

// importable are the packages that snippets may use, by name.
var importable = map[string]string{
	"app": "tafe/app", "context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "io": "io", "log": "log", "loop": "tafe/loop",
	"looptest": "tafe/loop/looptest", "middleware": "tafe/app/middleware", "reactor": "tafe/loop/reactor", "slog": "log/slog", "sync": "sync",
	"testing": "testing", "time": "time", "watchdog": "tafe/loop/watchdog", "client": "tafe/app/client", "websocket": "tafe/app/websocket", "hub": "tafe/app/hub", "static": "tafe/app/static", "fs": "io/fs", "os": "os", "proxy": "tafe/app/proxy",
}

// pieceOf makes a package of a snippet.
func pieceOf(text string) string {
	if strings.HasPrefix(text, "package ") {
		return text
	}
	body := "func _() {\n" + text + "\n}\n"
	if regexp.MustCompile(`(?m)^(func [A-Z(]|type |import )`).MatchString(text) {
		body = text
	}
	source := assumed + body
	var imports strings.Builder
	for name, path := range importable {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(source) {
			fmt.Fprintf(&imports, "import %s %q\n", name, path)
		}
	}
	return "package piece\n" + imports.String() + source
}

// unusedResult is an error that snippets may have, because they show only the beginning.
var unusedResult = regexp.MustCompile(`: declared and not used: \w+$`)

func TestGoInDocumentsCompiles(t *testing.T) {
	onceIsEnough(t)
	pieces := of(documents(t), "go")
	require.GreaterOrEqual(t, len(pieces), 5)
	root, dir := moduleRoot(t), t.TempDir()
	overlay := map[string]map[string]string{"Replace": {}}
	packages := map[string]block{}
	for i, b := range pieces {
		name := fmt.Sprintf("piece%d", i)
		file := filepath.Join(dir, name+".go")
		require.NoError(t, os.WriteFile(file, []byte(pieceOf(b.text)), 0o600))
		overlay["Replace"][filepath.Join(root, "cmd", name, "main.go")] = file
		packages["./cmd/"+name] = b
	}
	list, err := json.Marshal(overlay)
	require.NoError(t, err)
	file := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(file, list, 0o600))
	for name, b := range packages {
		cmd := exec.Command("go", "build", "-gcflags=-e", "-overlay", file, "-o", os.DevNull, name)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "#") && !unusedResult.MatchString(line) {
				t.Errorf("%v: %s", b, line)
			}
		}
		if err != nil && len(out) == 0 {
			t.Errorf("%v: %v", b, err)
		}
	}
	for _, b := range of(documents(t), "indented", "") {
		require.NotRegexp(t, `(?m)^(func |package |\t?\w+, err := |looptest\.|a\.(Get|Post)\()`, b.text, "%v: Go stands in a fence that says so", b)
	}
}

func TestTOMLInDocumentsIsGood(t *testing.T) {
	pieces := of(documents(t), "toml")
	require.GreaterOrEqual(t, len(pieces), 3)
	for _, b := range pieces {
		text := b.text
		if !strings.Contains(text, "[[route]]") || !regexp.MustCompile(`(?m)^\[\[route\]\]`).MatchString(text) {
			text += "\n[[route]]\npath = \"/\"\nrespond = {}\n"
		}
		file := filepath.Join(t.TempDir(), "f.toml")
		writeConfig(t, file, text)
		check := start(t, "check", "-c", file)
		code, _ := check.wait()
		for line := range strings.Lines(check.stderr.String()) { // the files and the handlers that it names are the reader's
			require.Regexp(t, `no such file or directory|no such (handler|middleware) is compiled in|^tafe check: \S+ has \d+ problems?$`, strings.TrimSpace(line), "%v", b)
		}
		require.Contains(t, []int{exitOK, exitFailure}, code, "%v", b)
	}
	for _, b := range of(documents(t), "indented", "") {
		require.NotRegexp(t, `(?m)^\[\[?[a-z_.]+\]\]?$`, b.text, "%v: TOML stands in a fence that says so", b)
	}
}

// aCommand is a command line of tafe.
var aCommand = regexp.MustCompile(`(?m)^(?:\$ )?(?:exec )?(?:\S*/)?tafe ([a-z]+)((?: [^#\n|&>]*)?)`)

func TestCommandsInDocumentsExist(t *testing.T) {
	onceIsEnough(t)
	found := 0
	for _, b := range of(documents(t), "indented", "", "sh", "console") {
		for _, m := range aCommand.FindAllStringSubmatch(b.text, -1) {
			found++
			requireFlags(t, append([]string{m[1]}, strings.Fields(m[2])...))
		}
	}
	require.GreaterOrEqual(t, found, 4)
	for _, text := range documents(t) {
		require.NotRegexp(t, `http\.server \d+(?: --bind \S+)? *(&|$)`, text.text, "%v publishes the directory that holds the key", text)
	}
}

// The example names no directory in which a server's own files lie.
func TestExampleIsGoodWithoutAnEnvironment(t *testing.T) {
	require.NoError(t, os.Unsetenv("TAFE_ADMIN_PASSWORD"))
	p := start(t, "check", "-c", example)
	code, out := p.wait()
	require.Equal(t, exitOK, code, p.stderr)
	require.Equal(t, example+" is good, with 1 warning: 11 routes\n", out)
	require.Contains(t, p.stderr.String(), `warning: route.basic_auth.users.admin: the environment has no variable "TAFE_ADMIN_PASSWORD" here`)
}
