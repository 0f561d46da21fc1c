// The parts of a program: handlers, middlewares and modules that its configuration names, an embedded configuration, and commands.

package edge

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"regexp"
	"slices"

	"tafe/app"
	"tafe/app/edge/internal/config"
	"tafe/loop/reactor"
)

// Part is something that a program adds to the server: Handlers, Handler, Middlewares, Middleware, Module, WithDNS, Embedded, Command.
type Part interface{ addTo(*program) }

// Types of values for the keys of authors, beside those of Go: strings, bools, numbers, time.Duration, every encoding.TextUnmarshaler, and
// structs, pointers to structs, slices and maps of these.
type (
	// Secret is text that logs and errors do not show. In the file, "env:NAME" is the value of an environment variable.
	Secret = config.Secret
	// Bytes is a size: a whole number, or text such as "64KiB" or "10MiB".
	Bytes = config.Bytes
	// Address is HOST:PORT.
	Address = config.Address
)

// Handlers are handlers without configuration, by the names under which routes ask for them: handler = "NAME".
type Handlers map[string]app.Handler

func (h Handlers) addTo(p *program) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if h[name] == nil {
			panic("edge: handler " + name + " is nil")
		}
		register(p.handlers, "handler", name, nil, func(any, *Env) (app.Handler, error) { return h[name], nil })
	}
}

// Middlewares are middlewares without configuration, by the names under which the file asks for them: use = [{ name = "NAME" }].
type Middlewares map[string]app.Middleware

func (m Middlewares) addTo(p *program) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name] == nil {
			panic("edge: middleware " + name + " is nil")
		}
		register(p.middlewares, "middleware", name, nil, func(any, *Env) (app.Middleware, error) { return m[name], nil })
	}
}

// Handler is a handler with a configuration: make is called for each route that asks for the handler, with its table route.config decoded
// into a new C. C is a struct whose fields have the tags of the server's own keys: toml names the key; default is the value without it; min
// and max are bounds; oneof lists the values, separated by |; required:"yes" marks keys that must be given. A slip in the table, and an
// error of make, are reported with file and line by check, at the start and at a reload, and keep the server from using the file.
//
// make runs at the start, at each reload, and for check. It returns quickly and starts nothing: see Env.OnStart. Handler panics if C cannot be
// decoded.
func Handler[C any](name string, make func(cfg *C, env *Env) (app.Handler, error)) Part {
	return partFunc(func(p *program) { register(p.handlers, "handler", name, reflect.TypeFor[C](), typed(make)) })
}

// Middleware is a middleware with a configuration, as Handler is a handler with one. make is called for each use of the name.
func Middleware[C any](name string, make func(cfg *C, env *Env) (app.Middleware, error)) Part {
	return partFunc(func(p *program) { register(p.middlewares, "middleware", name, reflect.TypeFor[C](), typed(make)) })
}

// Exports are the handlers and middlewares of a module.
type Exports struct {
	Handlers    Handlers
	Middlewares Middlewares
}

// Module is a group of handlers and middlewares that share a configuration and a state, such as a pool of connections: make is called once
// for each App, with the table [module.NAME] decoded into a new C as by Handler. The file names what it exports NAME.LOCAL. A module that
// the file neither configures nor uses is not made.
func Module[C any](name string, make func(cfg *C, env *Env) (Exports, error)) Part {
	convert := func(cfg any, env *Env) (config.Exports, error) {
		c, ok := cfg.(*C)
		if !ok {
			c = new(C) // a struct without fields
		}
		e, err := make(c, env)
		return config.Exports{Handlers: e.Handlers, Middlewares: e.Middlewares}, err
	}
	return partFunc(func(p *program) { register(p.modules, "module", name, reflect.TypeFor[C](), convert) })
}

// Embedded is the configuration that serve uses without --config.
type Embedded struct {
	// Config returns its text. It is called once the flags are parsed. Errors of Usagef end serve with the exit code 2.
	Config func() (string, error)
	// Flags, if not nil, adds flags to those of serve. They cannot be used with --config.
	Flags func(fs *flag.FlagSet)
}

func (e Embedded) addTo(p *program) { p.embedded = &e }

// Env is where a handler, a middleware or a module is made.
type Env struct {
	// Log is the log of the server.
	Log *slog.Logger
	// Loops is the number of event loops.
	Loops int
	// Admin is the address of the admin listener.
	Admin string
	// Route is the path of the route; "" outside of routes.
	Route string
	// Dialer makes connections that wait cooperatively, on the loop of the task that dials. It works from OnStart on.
	Dialer *reactor.Dialer

	life *app.Life
}

// OnStart adds a hook that runs before requests are served, on a goroutine that may wait. Loops run already, so that Dialer works. If the hook
// fails, the server does not start, or keeps what it had before the reload. ctx is for the hook alone: SIGTERM ends it, and so does the end of
// the start.
func (e *Env) OnStart(f func(ctx context.Context) error) { e.life.OnStart(f) }

// OnDrain adds a hook that runs when the server stops accepting requests, or when a reload has replaced what was made: to end responses
// that would never end by themselves. It must not wait.
func (e *Env) OnDrain(f func()) { e.life.OnDrain(f) }

// OnStop adds a hook that runs once, after the last request: at the end of the server, or a minute after a reload has replaced what was made.
// It also runs if what was made never started: for check, and when another part of the file has a problem. Hooks run in reverse order.
func (e *Env) OnStop(f func()) { e.life.OnStop(f) }

type partFunc func(*program)

func (f partFunc) addTo(p *program) { f(p) }

// part is a compiled part before it knows its server.
type part[T any] struct {
	config reflect.Type // nil: none
	make   func(cfg any, env *Env) (T, error)
}

// typed returns make for a configuration of any type, and reports that it made nothing.
func typed[C any, T app.Handler | app.Middleware](make func(*C, *Env) (T, error)) func(any, *Env) (T, error) {
	return func(cfg any, env *Env) (T, error) {
		c, ok := cfg.(*C)
		if !ok {
			c = new(C) // a struct without fields
		}
		made, err := make(c, env)
		if made == nil && err == nil {
			err = errors.New("its constructor returned nil")
		}
		return made, err
	}
}

// partName is the form of names in the file. The dot separates a module from what it exports.
var partName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// register adds a part to all. It panics if the name or the configuration cannot be used, as the start of every program does then.
func register[T any](all map[string]part[T], kind, name string, cfg reflect.Type, make func(any, *Env) (T, error)) {
	if !partName.MatchString(name) {
		panic(fmt.Sprintf("edge: %s %q: want letters, digits, _ and - as its name", kind, name))
	}
	if _, twice := all[name]; twice {
		panic(fmt.Sprintf("edge: %s %q is registered twice", kind, name))
	}
	if cfg != nil {
		if err := config.CheckType(cfg); err != nil {
			panic(fmt.Sprintf("edge: %s %q: its configuration: %v", kind, name, err))
		}
		if cfg.NumField() == 0 {
			cfg = nil
		}
	}
	all[name] = part[T]{cfg, make}
}

// registry returns the parts for a server, whose Env is that of each part but for Route.
func (p *program) registry(env *Env) *config.Registry {
	return &config.Registry{
		Handlers: compiledFor(p.handlers, env), Middlewares: compiledFor(p.middlewares, env), Modules: compiledFor(p.modules, env), DNS: p.dns,
	}
}

func compiledFor[T any](parts map[string]part[T], env *Env) map[string]config.Compiled[T] {
	all := make(map[string]config.Compiled[T], len(parts))
	for name, of := range parts {
		all[name] = config.Compiled[T]{Config: of.config, Make: func(cfg any, route string, life *app.Life) (T, error) {
			own := *env
			own.Route, own.life = route, life
			return of.make(cfg, &own)
		}}
	}
	return all
}
