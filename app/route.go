// This file owns the vocabulary of registration: Handler, Middleware, Route, the options of a route and the grammar
// of patterns. It knows nothing of how a route is found (router.go) or of connections.

package app

import (
	"fmt"
	"strings"
	"time"
)

// A Handler answers one request. It runs as a task on the connection's loop and is written straight down: any call on
// c may wait, and gives the loop to others meanwhile. A handler that holds its loop for too long goes on beside it: see Handoff.
//
// A non-nil error answers the request as long as nothing was written (see HTTPError), and otherwise breaks the
// connection off, so that the client sees the truncation. c and every view taken from it are invalid once the handler
// has returned.
type Handler func(c *Context) error

// A Middleware wraps a handler. It is called once per route when registration ends, never per request; what it keeps
// is shared by all loops and must be safe for concurrent use.
type Middleware func(next Handler) Handler

// chain wraps h so that the first middleware is the outermost.
func chain(h Handler, middlewares []Middleware) Handler {
	for i := len(middlewares) - 1; i >= 0; i-- {
		h = middlewares[i](h)
	}
	return h
}

// paramsMax bounds the parameters of one pattern, whose values stay in the Context's memory.
const paramsMax = 16

// Route is one registered method and pattern with its limits. It does not change once the server listens, and may
// then be read from any goroutine.
type Route struct {
	Method  string // "" answers every method
	Pattern string // whole, with the prefixes of its groups
	Name    string // for logs and metrics; the pattern unless Name was given

	Budget  time.Duration // longest slice before the watchdog reports an overrun; 0: the loop's default
	Timeout time.Duration // from the start of the handler to its cancellation; 0: Options.HandlerTimeout
	BodyMax int64         // request body in bytes, beyond: 413; 0: Options.Limits.BodyBytesMax

	Handoff  time.Duration // longest slice before the loop is handed over; 0: ServerConfig.Handoff; less than 0: never
	SlowBody bool          // Options.BodyRateMin does not hold
	// Blocking: the handler starts beside its loop; see Blocking.
	Blocking bool

	placement   placement
	handler     Handler      // as registered
	middlewares []Middleware // of its groups, outermost first
	serve       Handler      // handler within all middlewares, from compose
	tooLarge    Handler      // the refusal of a body, within all middlewares
	names       []string     // of the parameters, in the order of the pattern
	rest        bool         // the last of them is a catch-all
}

// RouteOption sets one property of a route at its registration.
type RouteOption func(*Route)

// Budget sets the longest slice the route's handler may hold the loop before the watchdog reports it.
func Budget(d time.Duration) RouteOption {
	mustBePositive("Budget", int64(d))
	return func(r *Route) { r.Budget = d }
}

// Timeout sets the time the handler has: after it the Context is cancelled, and answered with 503 if nothing was
// written.
func Timeout(d time.Duration) RouteOption {
	mustBePositive("Timeout", int64(d))
	return func(r *Route) { r.Timeout = d }
}

// BodyMax bounds the request body in bytes, in place of Options.Limits.BodyBytesMax; beyond it the answer is 413.
func BodyMax(n int64) RouteOption {
	mustBePositive("BodyMax", n)
	return func(r *Route) { r.BodyMax = n }
}

// SlowBody lets the route's request bodies come at any rate: it is for routes to which clients stream what they have.
func SlowBody() RouteOption {
	return func(r *Route) { r.SlowBody = true }
}

// Handoff sets for how long the route's handler may hold its loop while other work waits, in place of ServerConfig.Handoff; less
// than 0 means that the loop is never taken from it.
func Handoff(d time.Duration) RouteOption {
	return func(r *Route) { r.Handoff = d }
}

// Blocking says that the route's handler is slow by itself: it computes for long, or blocks. It then starts on a goroutine beside its
// loop and costs the others nothing, not even the time after which a loop is handed over. Handler and Context are the same.
func Blocking() RouteOption {
	return func(r *Route) { r.Blocking = true }
}

// Name sets the name under which logs and metrics show the route.
func Name(name string) RouteOption {
	return func(r *Route) { r.Name = name }
}

func mustBePositive(option string, n int64) {
	if n <= 0 {
		panic(fmt.Sprintf("app: %s(%d): must be above 0", option, n))
	}
}

// part is a piece of a parsed pattern: static text, one parameter, or the catch-all.
type part struct {
	text string // static text, or the parameter's name
	kind partKind
}

type partKind uint8

const (
	partStatic partKind = iota
	partParam           // one whole segment, not empty
	partRest            // everything to the end, possibly empty
)

// parsePattern splits a pattern into parts. The grammar:
//
//	pattern = 1*( "/" segment )
//	segment = *char | "{" name "}" | "{" name "...}"     the last form only at the end
//	name    = ( letter | "_" ) *( letter | digit | "_" )
//
// Static text is compared with the decoded path, so it is written decoded: "/a b", not "/a%20b".
func parsePattern(pattern string) ([]part, error) {
	if !strings.HasPrefix(pattern, "/") {
		return nil, fmt.Errorf("must begin with '/'")
	}
	var parts []part
	var text strings.Builder
	seen := map[string]bool{}
	segments := strings.Split(pattern[1:], "/")
	for i, segment := range segments {
		text.WriteByte('/')
		last := i == len(segments)-1
		if !strings.ContainsAny(segment, "{}") {
			if err := checkStatic(segment, last); err != nil {
				return nil, err
			}
			text.WriteString(segment)
			continue
		}
		p, err := parseParam(segment)
		switch {
		case err != nil:
			return nil, err
		case seen[p.text]:
			return nil, fmt.Errorf("names {%s} twice", p.text)
		case len(seen) == paramsMax:
			return nil, fmt.Errorf("has more than %d parameters", paramsMax)
		case p.kind == partRest && !last:
			return nil, fmt.Errorf("{%s...} takes everything: it must come last", p.text)
		}
		seen[p.text] = true
		parts = append(parts, part{text.String(), partStatic}, p)
		text.Reset()
	}
	if text.Len() > 0 {
		parts = append(parts, part{text.String(), partStatic})
	}
	return parts, nil
}

// checkStatic refuses segments that no request could ever match, or only one that the author did not mean.
func checkStatic(segment string, last bool) error {
	switch {
	case segment == "" && !last:
		return fmt.Errorf("has an empty segment")
	case segment == "." || segment == "..":
		return fmt.Errorf("has a dot segment, which is removed from every request")
	case strings.ContainsAny(segment, "?#"):
		return fmt.Errorf("has a query or a fragment: patterns are paths")
	}
	for i := 0; i < len(segment); i++ {
		if segment[i] < ' ' || segment[i] == 0x7f {
			return fmt.Errorf("has a control character")
		}
		if segment[i] == '%' && i+2 < len(segment) && isHex(segment[i+1]) && isHex(segment[i+2]) {
			return fmt.Errorf("has the escape %s: write the character itself, since paths are decoded before", segment[i:i+3])
		}
	}
	return nil
}

func parseParam(segment string) (part, error) {
	name, opened := strings.CutPrefix(segment, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed || strings.ContainsAny(name, "{}") {
		return part{}, fmt.Errorf("segment %q: a parameter fills its whole segment, as in /{id}/", segment)
	}
	p := part{name, partParam}
	if rest, ok := strings.CutSuffix(name, "..."); ok {
		p = part{rest, partRest}
	}
	if p.text == "" {
		return part{}, fmt.Errorf("segment %q: the parameter has no name", segment)
	}
	for i := 0; i < len(p.text); i++ {
		b := p.text[i]
		letter := b == '_' || 'a' <= b|0x20 && b|0x20 <= 'z'
		if !letter && (i == 0 || b < '0' || b > '9') {
			return part{}, fmt.Errorf("segment %q: a parameter's name is letters, digits and '_'", segment)
		}
	}
	return p, nil
}

func isHex(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f'
}
