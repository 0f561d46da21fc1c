// Handlers and middlewares that are compiled into the binary: the keys handler, config, use and [module]. types.go checks the structs of
// their tables.

package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"

	"tafe/app"
)

// Registry are the handlers, middlewares and modules that are compiled into the binary, by name. A nil Registry is empty.
type Registry struct {
	Handlers    map[string]Compiled[app.Handler]
	Middlewares map[string]Compiled[app.Middleware]
	Modules     map[string]Compiled[Exports]
	DNS         certmagic.DNSProvider // nil: none
}

// Exports are the handlers and middlewares of a module. The file names them MODULE.NAME.
type Exports struct {
	Handlers    map[string]app.Handler
	Middlewares map[string]app.Middleware
}

// Compiled makes what one name stands for.
type Compiled[T any] struct {
	// Config is the struct of the table, for which CheckType returned nil. nil: there is no table.
	Config reflect.Type
	// Make is called once for each use of the name in the file, by one goroutine. config points to a Config, or is nil. route is the path
	// of the route, or "" outside of routes. Hooks are added to life.
	Make func(config any, route string, life *app.Life) (T, error)
}

// Table is the table of a compiled handler, middleware or module, before it is decoded.
type Table struct {
	tree  map[string]any
	given bool
}

func (t *Table) set(v any) error {
	tree, ok := v.(map[string]any)
	if !ok {
		return errWantTable
	}
	t.tree, t.given = tree, true
	return nil
}

// Use names a middleware that is compiled into the binary.
type Use struct {
	// Name of the middleware, or MODULE.NAME.
	Name string `toml:"name" required:"yes"`
	// Its configuration.
	Config Table `toml:"config"`

	config any // decoded; nil: none
}

// compiled checks and decodes what the file says of compiled parts.
func (d *decoder) compiled(c *Config) {
	r := d.registry
	c.modules = map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(c.Modules)) {
		p := path{"module", name}
		if _, ok := r.Modules[name]; !ok {
			d.problem(p, "module %s is not compiled in; %s", name, nearest(name, slices.Collect(maps.Keys(r.Modules))))
			continue
		}
		c.modules[name] = decodeTable(d, p, p, "module", name, r.Modules[name], c.Modules[name])
	}
	d.used(c, path{"middleware", "use"}, c.Middleware.Use)
	for i := range c.Sites {
		d.used(c, path{"site"}.index(i).child("middleware").child("use"), c.Sites[i].Middleware.Use)
	}
	c.eachRoute(func(p path, route *Route) {
		d.used(c, p.child("use"), route.Use)
		switch {
		case route.Handler == "" && route.Config.given:
			d.problem(p.child("config"), "route.config is the table of a handler, and the route has none")
		case route.Handler != "":
			h, ok := named(d, c, p.child("handler"), "handler", route.Handler, r.Handlers)
			if ok {
				route.config = decodeTable(d, p, p.child("config"), "handler", route.Handler, h, route.Config)
			}
		}
	})
}

// used is compiled for a list of middlewares.
func (d *decoder) used(c *Config, p path, list []Use) {
	for i := range list {
		u, at := &list[i], p.index(i)
		if m, ok := named(d, c, at.child("name"), "middleware", u.Name, d.registry.Middlewares); ok {
			u.config = decodeTable(d, at, at.child("config"), "middleware", u.Name, m, u.Config)
		}
	}
}

// named returns what name stands for. For a name of a module it returns an empty Compiled, without configuration, and notes that the module
// is needed. It reports unknown names.
func named[T any](d *decoder, c *Config, p path, kind, name string, all map[string]Compiled[T]) (Compiled[T], bool) {
	if found, ok := all[name]; ok {
		return found, true
	}
	if module, _, ok := strings.Cut(name, "."); ok {
		if m, ok := d.registry.Modules[module]; ok {
			if _, made := c.modules[module]; !made {
				c.modules[module] = decodeTable(d, p, path{"module", module}, "module", module, m, Table{})
			}
			return Compiled[T]{}, true
		}
	}
	names := slices.Collect(maps.Keys(all))
	for module := range d.registry.Modules {
		names = append(names, module+".…")
	}
	d.problem(p, "%s = %q: no such %s is compiled in; %s", p, name, kind, nearest(name, names))
	return Compiled[T]{}, false
}

// decodeTable decodes the table at p into a new struct. parent is the place of an error about a missing key if there is no table.
func decodeTable[T any](d *decoder, parent, p path, kind, name string, of Compiled[T], table Table) any {
	if of.Config == nil {
		if table.given {
			d.problem(p, "%s: %s %s takes no configuration: remove the table", p, kind, name)
		}
		return nil
	}
	v := reflect.New(of.Config)
	setDefaultsOf(v.Elem())
	if !table.given && !d.hasKey(p) {
		for _, k := range keys(of.Config) {
			if k.field.Tag.Get("required") != "" {
				d.problem(parent, "%s %s needs a configuration: %s lacks the key %s", kind, name, p, k.name)
			}
		}
		return v.Interface()
	}
	d.table(p, v.Elem(), table.tree)
	return v.Interface()
}

// nearest returns a hint at the name that was meant.
func nearest(name string, names []string) string {
	if len(names) == 0 {
		return "this binary has none"
	}
	known := make([]key, len(names))
	for i, n := range names {
		known[i].name = n
	}
	return suggestion(name, known)
}

// modules makes the modules that the file configures or uses.
func (b *builder) modules() {
	b.exports = map[string]Exports{}
	for _, name := range slices.Sorted(maps.Keys(b.config.modules)) {
		p := path{"module", name}
		if b.spoilt[p.part()] {
			return
		}
		if made, ok := makeOne(b, p, "module "+name, b.registry.Modules[name], b.config.modules[name], ""); ok {
			b.exports[name] = made
		}
	}
}

// makeOne calls Make, and reports its error.
func makeOne[T any](b *builder, p path, what string, of Compiled[T], config any, route string) (made T, ok bool) {
	life := &app.Life{}
	b.resources.lives = append(b.resources.lives, life)
	b.attempt(p, func() {
		var err error
		if made, err = of.Make(config, route, life); err != nil {
			b.problem(p, "%s: %v", what, err)
			return
		}
		ok = true
	})
	return made, ok
}

// compiled returns the handler of a route, or nil after reporting a problem.
func (b *builder) compiled(p path, r *Route) app.Handler {
	if of, ok := b.registry.Handlers[r.Handler]; ok {
		h, _ := makeOne(b, b.given(p, "config", "handler"), "handler "+r.Handler, of, r.config, r.Path)
		return h
	}
	return exported(b, p.child("handler"), "handler", r.Handler, func(e Exports) map[string]app.Handler { return e.Handlers })
}

// uses returns the compiled middlewares of a list.
func (b *builder) uses(p path, list []Use, route string) (all []app.Middleware) {
	if b.spoilt[p.part()] {
		return nil
	}
	for i := range list {
		u, at := &list[i], p.index(i)
		var m app.Middleware
		if of, ok := b.registry.Middlewares[u.Name]; ok {
			m, _ = makeOne(b, b.given(at, "config", "name"), "middleware "+u.Name, of, u.config, route)
		} else {
			m = exported(b, at.child("name"), "middleware", u.Name, func(e Exports) map[string]app.Middleware { return e.Middlewares })
		}
		if m != nil {
			all = append(all, m)
		}
	}
	return all
}

// given returns the first of two keys that the file has.
func (b *builder) given(p path, first, second string) path {
	if b.hasKey(p.child(first)) {
		return p.child(first)
	}
	return p.child(second)
}

// exported returns what a module exports under "MODULE.NAME", or nil after reporting that it does not. A module with a problem has no
// exports, and its users are not reported.
func exported[T any](b *builder, p path, kind, name string, of func(Exports) map[string]T) (found T) {
	module, local, _ := strings.Cut(name, ".")
	exports, made := b.exports[module]
	if !made {
		return found
	}
	found, ok := of(exports)[local]
	if !ok {
		b.problem(p, "%s = %q: module %s has no such %s; %s", p, name, module, kind, nearest(local, slices.Collect(maps.Keys(of(exports)))))
	}
	return found
}
