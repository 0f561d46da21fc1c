// A program with parts of its own, served by run in the process of the test: hooks, reload, errors.

package edge

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/loop/testrig"
)

// patience bounds each wait of a test.
const patience = time.Minute

// journal collects what hooks do.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) has(line string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if l == line {
			return true
		}
	}
	return false
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.lines...)
}

type greetingTable struct {
	Text string  `toml:"text" required:"yes"`
	Fail bool    `toml:"fail" default:"false"`
	Peer Address `toml:"peer"`
}

// testParts has the handlers hello and greet, the middleware stamp, and the module shelf.
func testParts(j *journal) []Part {
	return []Part{
		Handlers{"hello": func(c *app.Context) error { return c.String(200, "hello") }},
		Middlewares{"stamp": func(next app.Handler) app.Handler {
			return func(c *app.Context) error { c.SetHeader("X-Stamp", "yes"); return next(c) }
		}},
		Handler("greet", func(cfg *greetingTable, env *Env) (app.Handler, error) {
			env.OnStart(func(context.Context) error {
				j.add("start " + cfg.Text)
				if cfg.Fail {
					return errors.New(cfg.Text + " cannot start")
				}
				return nil
			})
			env.OnDrain(func() { j.add("drain " + cfg.Text) })
			env.OnStop(func() { j.add("stop " + cfg.Text) })
			return func(c *app.Context) error { return c.String(200, cfg.Text+" on "+env.Route+", admin "+env.Admin) }, nil
		}),
		Handler("ask", func(cfg *greetingTable, env *Env) (app.Handler, error) {
			return func(c *app.Context) error {
				conn, err := env.Dialer.DialContext(c, "tcp", string(cfg.Peer))
				if err != nil {
					return err
				}
				defer conn.Close()
				said, err := io.ReadAll(conn)
				if err != nil {
					return err
				}
				return c.String(200, string(said))
			}, nil
		}),
		Module("shelf", func(cfg *greetingTable, env *Env) (Exports, error) {
			return Exports{
				Handlers: Handlers{"show": func(c *app.Context) error { return c.String(200, cfg.Text) }},
				Middlewares: Middlewares{"sign": func(next app.Handler) app.Handler {
					return func(c *app.Context) error { c.SetHeader("X-Sign", cfg.Text); return next(c) }
				}},
			}, nil
		}),
	}
}

// running is a program that serves.
type running struct {
	t      *testing.T
	addr   string
	admin  string
	stderr *testrig.Buffer
	code   chan int
}

// serveFile runs serve with a file, and returns once it serves.
func serveFile(t *testing.T, file string, parts ...Part) *running {
	t.Helper()
	return serveArgs(t, []string{"--config", file}, parts...)
}

func serveArgs(t *testing.T, args []string, parts ...Part) *running {
	t.Helper()
	r := &running{t: t, stderr: &testrig.Buffer{}, code: make(chan int, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--loops", "2"}, args...)
	go func() {
		r.code <- newProgram(parts).run(ctx, args, write, r.stderr)
		_ = write.Close()
	}()
	t.Cleanup(func() {
		cancel()
		r.wait()
		_ = read.Close()
	})
	line, err := bufio.NewReader(read).ReadString('\n')
	require.NoError(t, err, r.stderr.String())
	m := regexp.MustCompile(`^serving http://([^/]+)/, admin http://([^/]+)/`).FindStringSubmatch(line)
	require.NotNil(t, m, line)
	r.addr, r.admin = m[1], m[2]
	return r
}

// wait returns the exit code.
func (r *running) wait() int {
	code := <-r.code
	r.code <- code
	return code
}

func (r *running) get(target string) (int, http.Header, string) {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.addr + target)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, resp.Header, string(text)
}

// hangup sends SIGHUP to the process of the test, and returns once the log has said text once more.
func (r *running) hangup(text string) {
	r.t.Helper()
	before := strings.Count(r.stderr.String(), text)
	require.NoError(r.t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(r.t, func() bool { return strings.Count(r.stderr.String(), text) > before }, patience, time.Millisecond, r.stderr)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func TestProgramServesItsParts(t *testing.T) {
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer peer.Close()
	go func() {
		for {
			conn, err := peer.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "from the peer")
			_ = conn.Close()
		}
	}()
	file := filepath.Join(t.TempDir(), "edge.toml")
	writeFile(t, file, `
[middleware]
use = [{ name = "stamp" }]
[module.shelf]
text = "books"
[[route]]
path = "/hello"
handler = "hello"
[[route]]
path = "/greet/{name}"
handler = "greet"
config = { text = "hi" }
[[route]]
path = "/ask"
handler = "ask"
config = { text = "", peer = "`+peer.Addr().String()+`" }
[[route]]
path = "/shelf"
handler = "shelf.show"
use = [{ name = "shelf.sign" }]
`)
	r := serveFile(t, file, testParts(&journal{})...)
	for _, c := range []struct{ target, want, why string }{
		{"/hello", "hello", "a handler without configuration"},
		{"/greet/x", "hi on /greet/{name}, admin " + r.admin, "one with, and what it knows"},
		{"/ask", "from the peer", "a connection of the loop"},
		{"/shelf", "books", "of a module"},
	} {
		status, header, text := r.get(c.target)
		require.Equal(t, 200, status, "%s: %s", c.why, text)
		require.Equal(t, c.want, text, c.why)
		require.Equal(t, "yes", header.Get("X-Stamp"), c.why)
	}
	_, header, _ := r.get("/shelf")
	require.Equal(t, "books", header.Get("X-Sign"))
}

func TestReloadMakesPartsAnewOrKeepsThem(t *testing.T) {
	const route = "[[route]]\npath = \"/\"\nhandler = \"greet\"\nconfig = { text = \"%\" }\n"
	text := func(s string) string { return strings.ReplaceAll(route, "%", s) }
	file := filepath.Join(t.TempDir(), "edge.toml")
	writeFile(t, file, text("one"))
	j := &journal{}
	r := serveFile(t, file, testParts(j)...)
	require.Equal(t, []string{"start one"}, j.all(), "before the first request")
	for _, c := range []struct{ text, logged, want, why string }{
		{text("two"), "configuration reloaded", "two", "a new configuration"},
		{text("three") + "[[route]]\npath = \"/b\"\nhandler = \"greet\"\nconfig = { text = \"four\", fail = true }\n", "four cannot start", "two", "one of two parts cannot start"},
		{text("five") + "[[route]]\npath = \"/b\"\nhandler = \"gret\"\n", "did you mean greet?", "two", "a name that is not compiled in"},
		{text("six") + "[[route]]\npath = \"/b\"\nhandler = \"greet\"\n", "lacks the key text", "two", "a key that is missing"},
		{text("seven"), "configuration reloaded", "seven", "and a good one again"},
	} {
		writeFile(t, file, c.text)
		r.hangup(c.logged)
		_, _, body := r.get("/")
		require.Contains(t, body, c.want+" on /", c.why)
	}
	require.Eventually(t, func() bool { return j.has("drain one") && j.has("drain two") }, patience, time.Millisecond, "what was replaced is told")
	for _, line := range []string{"start three", "start four", "stop four", "stop three"} {
		require.True(t, j.has(line), "%s: %v", line, j.all())
	}
	for _, line := range []string{"stop one", "drain seven", "stop seven", "start five", "start six"} {
		require.False(t, j.has(line), "%s: %v", line, j.all())
	}

	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	require.Equal(t, exitOK, r.wait(), r.stderr)
	ends := j.all()[len(j.all())-4:]
	require.Equal(t, "drain seven", ends[0])
	require.ElementsMatch(t, []string{"stop one", "stop two", "stop seven"}, ends[1:])
}

func TestProgramThatCannotServe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edge.toml")
	for _, c := range []struct {
		text string
		want string
		why  string
	}{
		{"[[route]]\npath = \"/\"\nhandler = \"greet\"\nconfig = { text = \"a\", fail = true }\n", "NAME serve: a cannot start\n", "a start hook fails"},
		{"[[route]]\npath = \"/\"\nhandler = \"greeet\"\n", "NAME serve: FILE:3:1: route.handler = \"greeet\": no such handler is compiled in; did you mean greet?\n", "a slip"},
		{"[[route]]\npath = \"/\"\nhandler = \"hello\"\nconfig = { a = 1 }\n", "NAME serve: FILE:4:1: route.config: handler hello takes no configuration: remove the table\n", "a table for nothing"},
	} {
		writeFile(t, file, c.text)
		var stdout, stderr strings.Builder
		code := newProgram(testParts(&journal{})).run(t.Context(), []string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "-c", file}, &stdout, &stderr)
		require.Equal(t, exitFailure, code, c.why)
		require.Equal(t, strings.NewReplacer("NAME", programName(), "FILE", file).Replace(c.want), stderr.String(), c.why)
		require.Empty(t, stdout.String())
	}
}

func TestCheckKnowsTheParts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edge.toml")
	j := &journal{}
	for _, c := range []struct {
		text string
		code int
		want string
	}{
		{"[[route]]\npath = \"/\"\nhandler = \"greet\"\nconfig = { text = \"a\" }\n", exitOK, file + " is good: 1 route\n"},
		{"[[route]]\npath = \"/\"\nhandler = \"greet\"\nconfig = { txt = \"a\", text = \"b\" }\n", exitFailure, file + ":4:12: unknown key route.config.txt; did you mean text?\n"},
	} {
		writeFile(t, file, c.text)
		var stdout, stderr strings.Builder
		require.Equal(t, c.code, newProgram(testParts(j)).run(t.Context(), []string{"check", "-c", file}, &stdout, &stderr))
		require.Contains(t, stdout.String()+stderr.String(), c.want)
	}
	require.Equal(t, []string{"stop a"}, j.all(), "made, and not started")
}

func TestEmbeddedConfiguration(t *testing.T) {
	var greeting string
	embedded := Embedded{
		Flags: func(fs *flag.FlagSet) { fs.StringVar(&greeting, "greeting", "good day", "`text` of the page") },
		Config: func() (string, error) {
			if greeting == "" {
				return "", Usagef("--greeting is empty")
			}
			return "[[route]]\npath = \"/\"\nhandler = \"greet\"\nconfig = { text = \"" + greeting + "\" }\n", nil
		},
	}
	parts := append(testParts(&journal{}), embedded)
	r := serveArgs(t, []string{"--greeting", "well met"}, parts...)
	_, _, text := r.get("/")
	require.Contains(t, text, "well met on /")
	r.hangup("no log file to reopen and no configuration file to read")

	file := filepath.Join(t.TempDir(), "edge.toml")
	writeFile(t, file, "[[route]]\npath = \"/\"\nhandler = \"hello\"\n")
	for _, c := range []struct{ line, want string }{
		{"serve --greeting=", "--greeting is empty"},
		{"serve --greeting a -c " + file, "--greeting belong to the embedded configuration and cannot be used with --config"},
	} {
		var stderr strings.Builder
		require.Equal(t, exitUsage, newProgram(parts).run(t.Context(), strings.Fields(c.line), io.Discard, &stderr))
		require.Contains(t, stderr.String(), c.want)
	}
}

func TestPartsThatCannotBeRegistered(t *testing.T) {
	hello := func(c *app.Context) error { return c.NoContent(204) }
	for _, c := range []struct {
		parts []Part
		want  string
	}{
		{[]Part{Handlers{"a": hello}, Handlers{"a": hello}}, `edge: handler "a" is registered twice`},
		{[]Part{Handlers{"a.b": hello}}, `edge: handler "a.b": want letters, digits, _ and - as its name`},
		{[]Part{Handlers{"": hello}}, `edge: handler ""`},
		{[]Part{Handlers{"a": nil}}, `edge: handler a is nil`},
		{[]Part{Middlewares{"a": nil}}, `edge: middleware a is nil`},
		{[]Part{Handler("a", func(*struct{ Addr string }, *Env) (app.Handler, error) { return hello, nil })}, `edge: handler "a": its configuration: struct { Addr string }.Addr has no name in a toml tag`},
		{[]Part{Module("a", func(*int, *Env) (Exports, error) { return Exports{}, nil })}, `edge: module "a": its configuration: int is not a struct`},
	} {
		require.PanicsWithError(t, c.want, func() {
			defer func() {
				if text, ok := recover().(string); ok {
					if strings.HasPrefix(text, c.want) {
						text = c.want
					}
					panic(errors.New(text))
				}
			}()
			newProgram(c.parts)
		})
	}
	// A handler and a middleware may have the same name.
	newProgram([]Part{Handlers{"a": hello}, Middlewares{"a": func(next app.Handler) app.Handler { return next }}})
}

func TestConstructorThatReturnsNil(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edge.toml")
	writeFile(t, file, "[[route]]\npath = \"/\"\nhandler = \"none\"\n")
	var stdout, stderr strings.Builder
	none := Handler("none", func(*struct{}, *Env) (app.Handler, error) { return nil, nil })
	require.Equal(t, exitFailure, newProgram([]Part{none}).run(t.Context(), []string{"check", "-c", file}, &stdout, &stderr))
	require.Contains(t, stderr.String(), file+":3:1: handler none: its constructor returned nil\n")
}
