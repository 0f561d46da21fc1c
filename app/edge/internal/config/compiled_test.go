// Handlers, middlewares and modules of the binary: what a file may say of them, and what it is told otherwise.

package config

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

type bidTable struct {
	Deadline time.Duration  `toml:"deadline" default:"50ms" min:"1ms" max:"1s"`
	Key      Secret         `toml:"key" required:"yes"`
	Mode     string         `toml:"mode" default:"fast" oneof:"fast|exact"`
	Shards   uint8          `toml:"shards" default:"4" min:"1" max:"16"`
	Ratio    float32        `toml:"ratio"`
	From     []netip.Prefix `toml:"from"`
	Weights  map[string]int `toml:"weights"`
	Store    *storeTable    `toml:"store"`
}

type storeTable struct {
	Addr  Address `toml:"addr" required:"yes"`
	Pool  int64   `toml:"pool,omitempty" default:"8" min:"1" max:"64"`
	Local bool    `toml:"-"`
}

type noteTable struct {
	Folder string `toml:"folder" default:"inbox"`
}

// calls records what the parts of testRegistry are made of.
type calls struct {
	bids  []bidTable
	order []string
	fail  string // the part whose start fails
}

func answer(text string) app.Handler {
	return func(c *app.Context) error { return c.String(200, text) }
}

func marking(name string) app.Middleware {
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			c.AddHeader("X-Mark", name)
			return next(c)
		}
	}
}

// testRegistry has the handlers hello and bid, the middlewares mark and tag, and the module notes with list and guard.
func testRegistry(seen *calls) *Registry {
	hooks := func(name string, life *app.Life) {
		life.OnStart(func(context.Context) error {
			seen.order = append(seen.order, "start "+name)
			if name == seen.fail {
				return errors.New(name + " failed")
			}
			return nil
		})
		life.OnDrain(func() { seen.order = append(seen.order, "drain "+name) })
		life.OnStop(func() { seen.order = append(seen.order, "stop "+name) })
	}
	return &Registry{
		Handlers: map[string]Compiled[app.Handler]{
			"hello": {Make: func(_ any, route string, life *app.Life) (app.Handler, error) {
				hooks("hello "+route, life)
				return answer("hello from " + route), nil
			}},
			"bid": {Config: reflect.TypeFor[bidTable](), Make: func(cfg any, route string, life *app.Life) (app.Handler, error) {
				c := cfg.(*bidTable)
				seen.bids = append(seen.bids, *c)
				if c.Mode == "exact" && c.Shards > 1 {
					return nil, errors.New("mode exact needs one shard")
				}
				hooks("bid", life)
				return answer("bid"), nil
			}},
		},
		Middlewares: map[string]Compiled[app.Middleware]{
			"mark": {Make: func(_ any, route string, life *app.Life) (app.Middleware, error) {
				hooks("mark "+route, life)
				return marking("mark"), nil
			}},
			"tag": {Config: reflect.TypeFor[noteTable](), Make: func(cfg any, _ string, _ *app.Life) (app.Middleware, error) {
				return marking(cfg.(*noteTable).Folder), nil
			}},
		},
		Modules: map[string]Compiled[Exports]{
			"notes": {Config: reflect.TypeFor[noteTable](), Make: func(cfg any, route string, life *app.Life) (Exports, error) {
				folder := cfg.(*noteTable).Folder
				if folder == "" {
					return Exports{}, errors.New("the folder is empty")
				}
				hooks("notes", life)
				return Exports{Handlers: map[string]app.Handler{"list": answer("notes of " + folder)},
					Middlewares: map[string]app.Middleware{"guard": marking("guard")}}, nil
			}},
		},
	}
}

func TestCompiledPartsAreCheckedWithTheirLine(t *testing.T) {
	const bid = "[[route]]\npath = \"/bid\"\nhandler = \"bid\"\n"
	for _, c := range []struct{ text, want, why string }{
		{"[[route]]\npath = \"/\"\nhandler = \"helo\"", `f.toml:3:1: route.handler = "helo": no such handler is compiled in; did you mean hello?`, "a slip"},
		{"[[route]]\npath = \"/\"\nhandler = \"report\"", `no such handler is compiled in; there are bid, hello, notes.…`, "nothing near: the list"},
		{"[[route]]\npath = \"/\"\nhandler = 1", "f.toml:3:1: route.handler = 1: want text in quotes", "not a name"},
		{"[[route]]\npath = \"/\"\nhandler = \"hello\"\nrespond = {}", "route / has 2 actions", "which?"},
		{"[[route]]\npath = \"/\"\nhandler = \"hello\"\nconfig = {}", "f.toml:4:1: route.config: handler hello takes no configuration: remove the table", "even if it is empty"},
		{"[[route]]\npath = \"/\"\nhandler = \"hello\"\n[route.config]\na = 1", "f.toml:4:8: route.config: handler hello takes no configuration", "as a section"},
		{"[[route]]\npath = \"/\"\nrespond = {}\nconfig = { a = 1 }", "f.toml:4:1: route.config is the table of a handler, and the route has none", "a table for nobody"},
		{"[[route]]\npath = \"/\"\nhandler = \"hello\"\nconfig = 1", "f.toml:4:1: route.config = 1: want a table, such as { key = value }", "not a table"},
		{bid + "config = { key = \"k\",\n deadlin = \"1ms\" }", "f.toml:5:2: unknown key route.config.deadlin; did you mean deadline?", "a slip in a key"},
		{bid + "config = { key = \"k\", internal = \"x\" }", "unknown key route.config.internal; there are deadline, from", "nothing near: the list"},
		{bid + "[route.config]\nkey = \"k\"\n[route.config.store]\naddr = \"a:1\"\nLocal = true", "f.toml:8:1: unknown key route.config.store.Local", `toml:"-"`},
		{bid + "config = {}", "f.toml:4:1: route.config lacks the key key", "a required key"},
		{bid, "f.toml:1:3: handler bid needs a configuration: route.config lacks the key key", "no table at all"},
		{bid + "config.key = \"env:TAFE_TEST_NOT_SET\"", `f.toml:4:8: route.config.key = (secret): the environment has no variable "TAFE_TEST_NOT_SET"`, "a secret that is not there"},
		{bid + "config = { key = \"k\", deadline = 5 }", `f.toml:4:23: route.config.deadline = 5: want a duration in quotes`, "of what?"},
		{bid + "config = { key = \"k\", deadline = \"2s\" }", `route.config.deadline = 2s: want from 1ms to 1s`, "beyond its bounds"},
		{bid + "config = { key = \"k\", mode = \"slow\" }", `route.config.mode = "slow": want one of fast, exact`, "none of the list"},
		{bid + "config = { key = \"k\", shards = -1 }", `route.config.shards = -1: want a whole number from 0 on`, "no sign"},
		{bid + "config = { key = \"k\", shards = 256 }", `route.config.shards = 256: want a whole number from 0 on`, "more than the field holds"},
		{bid + "config = { key = \"k\", shards = 17 }", `route.config.shards = 17: want from 1 to 16`, "more than the bound"},
		{bid + "config = { key = \"k\", ratio = \"1\" }", `route.config.ratio = "1": want a number`, "in quotes"},
		{bid + "config = { key = \"k\", from = [\"10.0.0.0/8\",\n\"ten\"] }", `f.toml:5:1: route.config.from = "ten": netip.ParsePrefix("ten")`, "the type's own words"},
		{bid + "config = { key = \"k\", from = [1] }", `route.config.from = 1: want text in quotes`, "a type that reads text"},
		{bid + "config = { key = \"k\", weights = { a = \"x\" } }", `route.config.weights.a = "x": want a whole number`, "in a map"},
		{bid + "config = { key = \"k\", store = {} }", "route.config.store lacks the key addr", "in a table of the table"},
		{bid + "config = { key = \"k\", mode = \"exact\" }", "f.toml:4:1: handler bid: mode exact needs one shard", "what the handler itself says"},
		{"[middleware]\nuse = [{ name = \"mrak\" }]" + minimal, `f.toml:2:10: middleware.use.name = "mrak": no such middleware is compiled in; did you mean mark?`, "around all requests"},
		{"[middleware]\nuse = [\"mark\"]" + minimal, `f.toml:2:8: middleware.use = "mark": want a table`, "a name alone"},
		{"[middleware]\nuse = [{}]" + minimal, "f.toml:2:8: middleware.use lacks the key name", "which?"},
		{"[[middleware.use]]\nname = \"mark\"\nconfig = { a = 1 }" + minimal, "f.toml:3:1: middleware.use.config: middleware mark takes no configuration", "a middleware without a table"},
		{minimal + "use = [{ name = \"tag\",\n config = { folde = \"x\" } }]", "f.toml:6:13: unknown key route.use.config.folde; did you mean folder?", "of a route"},
		{minimal + "use = [{ name = \"hello\" }]", `route.use.name = "hello": no such middleware is compiled in; there are mark, notes.…, tag`, "a handler is no middleware"},
		{"[module.nots]" + minimal, "f.toml:1:9: module nots is not compiled in; did you mean notes?", "a module"},
		{"[module.notes]\nfoldr = \"x\"" + minimal, "f.toml:2:1: unknown key module.notes.foldr; did you mean folder?", "its keys"},
		{"[module.notes]\nfolder = \"\"" + minimal, "f.toml:1:9: module notes: the folder is empty", "its own words"},
		{"[[route]]\npath = \"/\"\nhandler = \"notes.lst\"", `f.toml:3:1: route.handler = "notes.lst": module notes has no such handler; did you mean list?`, "what it exports"},
		{"[[route]]\npath = \"/\"\nhandler = \"notes.guard\"", `route.handler = "notes.guard": module notes has no such handler; there are list`, "and as what"},
		{"[[route]]\npath = \"/\"\nhandler = \"notes.list\"\nconfig = {}", "f.toml:4:1: route.config: handler notes.list takes no configuration", "its table is the module's"},
		{"[[route]]\npath = \"/\"\nhandler = \"nots.list\"", `route.handler = "nots.list": no such handler is compiled in; there are bid, hello, notes.…`, "a module that is not there"},
	} {
		parsed, err := Parse("f.toml", []byte(c.text), testRegistry(&calls{}))
		if err == nil {
			_, _, err = parsed.App(quietly(parsed), nil, nil)
		}
		require.ErrorContains(t, err, c.want, "%s:\n%s", c.why, c.text)
		require.NotContains(t, err.Error(), "\n", "one cause, one problem: %s", c.text)
		file := filepath.Join(t.TempDir(), "f.toml")
		require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
		_, problems, warnings, err := Check(file, testRegistry(&calls{}))
		require.NoError(t, err)
		require.Len(t, append(problems, warnings...), 1, "check says the same: %s", c.text)
	}
	_, err := Parse("f.toml", []byte("[[route]]\npath = \"/\"\nhandler = \"hello\""), nil)
	require.ErrorContains(t, err, "no such handler is compiled in; this binary has none")
}

func TestCompiledPartsServe(t *testing.T) {
	seen := &calls{}
	c, err := Parse("f.toml", []byte(`
[middleware]
secure_headers = {}
use = [{ name = "mark" }, { name = "tag", config = { folder = "one" } }, { name = "tag" }]
[module.notes]
folder = "work"
[[route]]
path = "/hello"
handler = "hello"
[[route]]
path = "/again"
handler = "hello"
use = [{ name = "notes.guard" }]
[[route]]
path = "/notes"
handler = "notes.list"
[[route]]
path = "/bid"
handler = "bid"
config = { key = "k" }
[[route]]
path = "/bids"
handler = "bid"
[route.config]
key = "secret"
deadline = "1s"
mode = "fast"
shards = 16
ratio = 0.5
from = ["10.0.0.0/8"]
weights = { a = 1 }
store = { addr = "a:1" }
`), testRegistry(seen))
	require.NoError(t, err)
	a, resources, err := c.App(quietly(c), nil, nil)
	require.NoError(t, err)
	for _, x := range []struct {
		target, body string
		marks        []string
		why          string
	}{
		{"/hello", "hello from /hello", []string{"mark", "one", "inbox"}, "in the order of the list; a default"},
		{"/again", "hello from /again", []string{"mark", "one", "inbox", "guard"}, "a handler that is used twice, and a middleware of its route"},
		{"/notes", "notes of work", []string{"mark", "one", "inbox"}, "a handler of a module"},
		{"/nowhere", "", []string{"mark", "one", "inbox"}, "paths without a route have the middlewares too"},
	} {
		r := ask(a, "GET", x.target)
		require.Contains(t, body(r), x.body, x.why)
		require.Equal(t, x.marks, r.Header.Values("X-Mark"), x.why)
		require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"), x.why)
	}
	require.Equal(t, []bidTable{
		{Deadline: 50 * time.Millisecond, Key: Secret{"k"}, Mode: "fast", Shards: 4},
		{Deadline: time.Second, Key: Secret{"secret"}, Mode: "fast", Shards: 16, Ratio: 0.5, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Weights: map[string]int{"a": 1}, Store: &storeTable{Addr: "a:1", Pool: 8}},
	}, seen.bids)
	require.NoError(t, resources.Start(t.Context()))
	for range 2 { // once
		resources.Drain()
		resources.Close()
	}
	require.Equal(t, []string{
		"start notes", "start mark ", "start hello /hello", "start hello /again", "start bid", "start bid",
		"drain notes", "drain mark ", "drain hello /hello", "drain hello /again", "drain bid", "drain bid",
		"stop bid", "stop bid", "stop hello /again", "stop hello /hello", "stop mark ", "stop notes",
	}, seen.order, "in the order in which they were made, and back")
}

func TestWhatIsMadeIsStoppedIfTheFileIsNotUsed(t *testing.T) {
	const hello = "[[route]]\npath = \"/\"\nhandler = \"hello\"\n"
	for _, c := range []struct {
		text, fail string
		want       []string
		why        string
	}{
		{hello + "[[route]]\npath = \"x\"\nhandler = \"notes.list\"", "", []string{"stop hello /", "stop notes"}, "another route has a problem"},
		{hello + "use = [{ name = \"mark\" }]\n[module.notes]", "notes", []string{"start notes", "stop mark /", "stop hello /", "stop notes"}, "a start hook fails: those behind it do not run"},
	} {
		seen := &calls{fail: c.fail}
		parsed, err := Parse("f.toml", []byte(c.text), testRegistry(seen))
		require.NoError(t, err)
		_, resources, err := parsed.App(quietly(parsed), nil, nil)
		if c.fail == "" {
			require.Error(t, err)
		} else {
			require.NoError(t, err)
			require.EqualError(t, resources.Start(t.Context()), c.fail+" failed")
			resources.Discard(nil)
		}
		require.Equal(t, c.want, seen.order, c.why)
	}
}

func TestCheckStopsWhatItMakes(t *testing.T) {
	seen := &calls{}
	file := filepath.Join(t.TempDir(), "f.toml")
	require.NoError(t, os.WriteFile(file, []byte("[module.notes]\n[[route]]\npath = \"/\"\nhandler = \"hello\"\n"), 0o600))
	_, problems, _, err := Check(file, testRegistry(seen))
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Equal(t, []string{"stop hello /", "stop notes"}, seen.order)
}

func TestCheckType(t *testing.T) {
	type inner struct {
		A int `toml:"a"`
	}
	for _, c := range []struct {
		of   any
		want string
		why  string
	}{
		{bidTable{}, "", "all that there is"},
		{struct{}{}, "", "nothing"},
		{struct{ inner }{}, "", "an embedded struct"},
		{struct {
			T time.Time `toml:"t"`
		}{}, "", "a type that reads text"},
		{1, "int is not a struct", "no table"},
		{struct{ Addr string }{}, ".Addr has no name in a toml tag", "it would never be set"},
		{struct {
			addr string `toml:"addr"`
		}{}, ".addr has a toml tag and is not exported", "it cannot be set"},
		{struct {
			C chan int `toml:"c"`
		}{}, ".C: a file cannot give a value of type chan int", "no value of TOML"},
		{struct {
			C any `toml:"c"`
		}{}, ".C: a file cannot give a value of type interface {}", "any value is no check"},
		{struct {
			C *int `toml:"c"`
		}{}, ".C: a file cannot give a value of type *int", "a pointer to no table"},
		{struct {
			C map[int]string `toml:"c"`
		}{}, ".C: a file cannot give a value of type map[int]string", "keys of TOML are text"},
		{struct {
			C []struct{ D int } `toml:"c"`
		}{}, ".D has no name in a toml tag", "below a list"},
		{struct {
			C time.Duration `toml:"c" default:"5"`
		}{}, `.C: default "5": not a duration`, "a default that cannot be"},
		{struct {
			C int8 `toml:"c" min:"0" max:"200"`
		}{}, `.C: max "200": strconv.ParseInt`, "a bound beyond the type"},
		{struct {
			C string `toml:"c" min:"a" max:"b"`
		}{}, ".C: the tag min does not fit string", "text has no bounds"},
		{struct {
			C int `toml:"c" min:"1"`
		}{}, ".C: min and max go together", "half a range"},
		{struct {
			C []string `toml:"c" default:"a"`
		}{}, ".C: the tag default does not fit []string", "a list has no text"},
	} {
		err := CheckType(reflect.TypeOf(c.of))
		if c.want == "" {
			require.NoError(t, err, c.why)
		} else {
			require.ErrorContains(t, err, c.want, c.why)
		}
	}
}
