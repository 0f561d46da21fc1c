// Host: routes for some hosts, and the table that finds the Host of a request before its path is looked up.

package app

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
)

// A Host has the routes of one site: of the host names that were given to App.Host. It is for one goroutine, before registration ends.
//
// A request is served by the Host with the most specific name: the exact name first, then the longest wildcard, then "*". If that Host
// has no route for the method and path, the routes of the App are looked up, which serve all hosts. No other Host is tried.
type Host struct {
	registry
	app        *App
	names      []string
	outer      []Middleware
	unknown    Handler // nil: of the App
	disallowed Handler // nil: of the App
	page       ErrorPage
	accessLog  func(*Entry)

	// Handlers within the middlewares of the Host and of the App, set by freeze.
	fallbacks
}

// fallbacks are the handlers of requests that no route serves, and of those that are refused before their handler.
type fallbacks struct {
	notFound, methodNotAllowed, options204, refused, addSlash Handler
}

// An ErrorPage writes the response to an error in place of the default text or JSON. e is the error that is answered; its Status is that of
// the response. ErrorPage is called on the loop, after the handler has returned: it must not wait. If it writes nothing, the default response
// is sent.
type ErrorPage func(c *Context, e *HTTPError) error

// Host returns the routes of a site with these host names. A name is a host without a port in ASCII, "*.example.org" for all hosts below
// example.org at any depth, or "*" for all hosts that no other name matches. Case and a final dot do not matter. Host panics if there is no
// name, and on a name that is invalid or taken.
func (a *App) Host(names ...string) *Host {
	if len(names) == 0 {
		panic("app: Host: no name")
	}
	if a.hosts == nil {
		a.hosts = &hostTable{}
	}
	h := &Host{app: a}
	a.hosts.all = append(a.hosts.all, h)
	for _, name := range names {
		key, err := hostKey(name)
		if err != nil {
			panic(fmt.Sprintf("app: host %q: %v", name, err))
		}
		if !a.hosts.add(key, h) {
			panic(fmt.Sprintf("app: host %q: the name is taken", name))
		}
		h.names = append(h.names, key)
	}
	h.router = &router{host: h.names[0]}
	return h
}

// Names returns the host names in lower case. The slice must not be modified.
func (h *Host) Names() []string { return h.names }

// Use adds middlewares, the first outermost. They run inside those of App.Use and outside of those of groups, and also around the responses
// to requests for which neither the Host nor the App has a route. They do not run around the routes of the App.
func (h *Host) Use(middlewares ...Middleware) { h.outer = append(h.outer, middlewares...) }

// NotFound sets the handler for paths without a route, in place of that of the App.
func (h *Host) NotFound(f Handler) { h.unknown = f }

// MethodNotAllowed sets the handler for paths whose routes do not include the request's method, in place of that of the App.
func (h *Host) MethodNotAllowed(f Handler) { h.disallowed = f }

// ErrorPages sets the function that answers errors, in place of that of the App, for all requests to the Host.
func (h *Host) ErrorPages(f ErrorPage) { h.page = f }

// AccessLog sets the function that is called for responses, in place of Options.AccessLog, for all requests to the Host.
func (h *Host) AccessLog(f func(*Entry)) { h.accessLog = f }

// freeze ends registration.
func (h *Host) freeze() {
	outer := slices.Concat(h.app.outer, h.outer)
	h.router.compose(outer)
	unknown, disallowed := h.unknown, h.disallowed
	if unknown == nil {
		unknown = h.app.unknown
	}
	if disallowed == nil {
		disallowed = h.app.disallowed
	}
	h.fallbacks = fallbacksOf(unknown, disallowed, outer)
}

func fallbacksOf(unknown, disallowed Handler, outer []Middleware) fallbacks {
	return fallbacks{
		notFound: chain(unknown, outer), methodNotAllowed: chain(disallowed, outer), options204: chain(answerOptions, outer),
		refused: chain(answerRefusal, outer), addSlash: chain(answerAddSlash, outer),
	}
}

// hostTable finds the Host of a request. It is built by one goroutine, and then safe for concurrent reading.
type hostTable struct {
	all      []*Host // in the order of registration
	names    map[string]*Host
	fallback *Host // "*"; nil: none

	// names without "*", in an open-addressed hash table: a lookup reads two cache lines, where that of a map reads four or more
	// (BenchmarkHosts). A wildcard stands for itself as ".example.org". A name whose length none has is not looked up.
	slots            []hostSlot
	seed             maphash.Seed
	exact, wildcards lengthSet
	below            bool // there are wildcards
}

// lengthSet has a bit for each length of a name.
type lengthSet [hostBytesMax/64 + 1]uint64

func (s *lengthSet) add(n int)      { s[n/64] |= 1 << (n % 64) }
func (s *lengthSet) has(n int) bool { return s[n/64]&(1<<(n%64)) != 0 }

type hostSlot struct {
	hash uint64
	name string
	host *Host // nil: the slot is free
}

// hostBytesMax is the longest host name in bytes (RFC 1035 section 2.3.4).
const hostBytesMax = 255

// add adds a name from hostKey. It returns false if the name is taken.
func (t *hostTable) add(key string, h *Host) bool {
	if t.names[key] != nil {
		return false
	}
	if t.names == nil {
		t.names = map[string]*Host{}
	}
	t.names[key] = h
	return true
}

// freeze builds the hash table.
func (t *hostTable) freeze() {
	size := 8
	for size < 2*len(t.names) {
		size *= 2
	}
	t.slots, t.seed = make([]hostSlot, size), maphash.MakeSeed()
	for key, h := range t.names {
		if key == "*" {
			t.fallback = h
			continue
		}
		name, wildcard := strings.CutPrefix(key, "*")
		if wildcard {
			t.below = true
			t.wildcards.add(len(name))
		} else {
			t.exact.add(len(name))
		}
		hash := maphash.String(t.seed, name)
		i := hash & uint64(size-1)
		for t.slots[i].host != nil {
			i = (i + 1) & uint64(size-1)
		}
		t.slots[i] = hostSlot{hash, name, h}
	}
}

// find returns the Host of a request's host, which may have a port, or nil. It does not allocate.
func (t *hostTable) find(host []byte) *Host {
	n := len(host)
	if n > 0 && host[0] == '[' {
		n = bytes.IndexByte(host, ']') + 1
	} else if i := bytes.IndexByte(host, ':'); i >= 0 {
		n = i
	}
	if n > 1 && host[n-1] == '.' {
		n--
	}
	switch {
	case n > hostBytesMax:
		return t.fallback
	case hasUpper(host[:n]):
		return t.lower(host[:n])
	}
	return t.get(host[:n])
}

// hasUpper reports whether b has an ASCII letter in upper case.
func hasUpper(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		low := w & 0x7f7f7f7f7f7f7f7f
		// The top bit of each byte: at least 'A', not more than 'Z', ASCII.
		if (low+0x3f3f3f3f3f3f3f3f)&^(low+0x2525252525252525)&^w&0x8080808080808080 != 0 {
			return true
		}
	}
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

// lower is get for a name with upper-case letters.
func (t *hostTable) lower(name []byte) *Host {
	var space [hostBytesMax]byte
	for i, b := range name {
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		space[i] = b
	}
	return t.get(space[:len(name)])
}

// get returns the Host of a name without port and final dot, in lower case.
func (t *hostTable) get(name []byte) *Host {
	if t.exact.has(len(name)) && name[0] != '.' {
		if h := t.slot(name); h != nil {
			return h
		}
	}
	if t.below {
		for i := 1; i < len(name); i++ {
			if name[i] != '.' || !t.wildcards.has(len(name)-i) {
				continue
			}
			if h := t.slot(name[i:]); h != nil {
				return h
			}
		}
	}
	return t.fallback
}

func (t *hostTable) slot(name []byte) *Host {
	hash := maphash.Bytes(t.seed, name)
	for i := hash; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if s.host == nil || s.hash == hash && s.name == string(name) {
			return s.host
		}
	}
}

// hostKey returns a name in lower case and without a final dot, or what is wrong with it.
func hostKey(name string) (string, error) {
	key := strings.ToLower(name)
	if len(key) > 1 && key != "*." {
		key = strings.TrimSuffix(key, ".")
	}
	if key == "*" {
		return key, nil
	}
	rest := strings.TrimPrefix(key, "*.")
	switch {
	case rest == "" || rest[0] == '.' || strings.Contains(rest, ".."):
		return "", fmt.Errorf("has an empty label")
	case strings.Contains(rest, "*"):
		return "", fmt.Errorf(`has a "*" that is not its first label, as in *.example.org`)
	case strings.Contains(rest, "/"):
		return "", fmt.Errorf("has a '/': want a host, not a URL")
	case rest[0] != '[' && strings.Contains(rest, ":"):
		return "", fmt.Errorf("has a ':': want a host without a port, and an IPv6 address in brackets")
	case len(key) > hostBytesMax:
		return "", fmt.Errorf("is longer than %d bytes", hostBytesMax)
	}
	for i := range len(rest) {
		if b := rest[i]; b <= ' ' || b >= 0x7f || strings.IndexByte(`"#%,;<>?@\^{|}`+"`", b) >= 0 {
			return "", fmt.Errorf("has the character %q: want ASCII letters, digits, '-', '_' and '.'; "+
				"a name in another script is written as its A-label, xn--…", rest[i:i+1])
		}
	}
	return key, nil
}

// CheckHost returns what is wrong with a name for App.Host, or nil.
func CheckHost(name string) error {
	_, err := hostKey(name)
	return err
}

// hostFor returns the Host of a host, or nil.
func (a *App) hostFor(host []byte) *Host {
	if a.hosts == nil {
		return nil
	}
	return a.hosts.find(host)
}

// eachRouter calls f for the routers of the App and its Hosts.
func (a *App) eachRouter(f func(*router)) {
	f(a.router)
	if a.hosts != nil {
		for _, h := range a.hosts.all {
			f(h.router)
		}
	}
}

// lookUp returns the route of a request, first of its Host and then of the App. See router.find.
func (c *Context) lookUp(method, path []byte) (route *Route, allowed string) {
	if c.host != nil {
		if route, allowed = c.host.router.find(c, method, path, &c.params); route != nil {
			return route, ""
		}
	}
	route, more := c.app.router.find(c, method, path, &c.params)
	if route != nil {
		return route, ""
	}
	return nil, mergeAllow(allowed, more)
}

// fallbacks returns the handlers for a request without a route.
func (c *Context) fallbacks() *fallbacks {
	if c.host != nil {
		return &c.host.fallbacks
	}
	return &c.app.fallbacks
}

// Site returns the first name of the Host that serves the request's host, "" if there is none.
func (c *Context) Site() string {
	if c.host == nil {
		return ""
	}
	return c.host.names[0]
}

// lacksSlash reports whether the path with a final slash has a route for the method. It allocates; it is for paths without a route.
func (c *Context) lacksSlash(method, path []byte) bool {
	if path[len(path)-1] == '/' || path[len(path)-1] == escapedSlash {
		return false
	}
	longer := append(append(make([]byte, 0, len(path)+1), path...), '/')
	route, _ := c.lookUp(method, longer)
	c.params.reset()
	return route != nil
}

// answerAddSlash redirects to the request's path with a final slash. The target is relative to the path of the request, so that it also holds
// behind a proxy that removes a prefix, and never names another host.
func answerAddSlash(c *Context) error {
	raw := c.RawPathView()
	to := "./" + raw[strings.LastIndexByte(raw, '/')+1:] + "/"
	if c.HasQuery() {
		to += "?" + c.RawQueryView()
	}
	return c.Redirect(http.StatusPermanentRedirect, to)
}
