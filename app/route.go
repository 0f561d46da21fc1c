// Handler, Middleware, Route, route options, and the grammar of patterns. router.go looks routes up.

package app

import (
	"fmt"
	"strings"
	"time"

	"tafe/httpparse"
)

// A Handler answers one request. It runs as a task on the loop of the connection. Calls on c may wait, and the loop runs other tasks
// meanwhile. If the handler holds the loop for too long while other work waits, it continues beside the loop; see Handoff. Handlers run
// concurrently, also with themselves.
//
// If the handler returns an error and nothing was written, the error is answered (see HTTPError). If a body was begun, the connection is
// reset, so that the client notices the truncation. A panic is treated as an error with status 500. c and the views taken from it are
// invalid after the handler has returned.
type Handler func(c *Context) error

// A Middleware wraps a handler. It is called once per route, when registration ends. The state that it keeps is shared by all loops and
// must be safe for concurrent use.
type Middleware func(next Handler) Handler

// chain wraps h in middlewares, the first outermost.
func chain(h Handler, middlewares []Middleware) Handler {
	for i := len(middlewares) - 1; i >= 0; i-- {
		h = middlewares[i](h)
	}
	return h
}

// paramsMax bounds the parameters of one pattern.
const paramsMax = 16

// Route is a registered method and pattern with its limits. It does not change after registration has ended, and may then be read by any
// goroutine.
type Route struct {
	Method  string // "" for every method
	Host    string // first name of its Host; "" for the routes of the App
	Pattern string // with the prefixes of its groups
	Name    string // shown in logs and metrics; default Host and Pattern

	Budget  time.Duration // longest slice before the watchdog reports an overrun; 0: the default of the loop
	Timeout time.Duration // from the start of the handler to its cancellation; 0: Options.HandlerTimeout
	BodyMax int64         // bytes of the request body, beyond: 413; 0: Options.Limits.BodyBytesMax

	Handoff  time.Duration // longest slice before the loop is handed over; 0: ServerConfig.Handoff; negative: never
	SlowBody bool          // Options.BodyRateMin does not apply
	Blocking bool          // the handler starts beside its loop

	when        *Match // nil: no conditions
	placement   placement
	handler     Handler      // as registered
	middlewares []Middleware // of the groups, outermost first
	serve       Handler      // handler within all middlewares, set by compose
	refused     Handler      // answers Context.refusal within all middlewares, set by compose
	names       []string     // of the parameters, in the order of the pattern
	rest        bool         // the last parameter is a catch-all
}

// identity is equal for the same route of two Apps.
type identity struct{ host, method, pattern, name, when string }

func (r *Route) identity() identity {
	return identity{r.Host, r.Method, r.Pattern, r.Name, r.when.String()}
}

// RouteOption sets a property of a route at its registration.
type RouteOption func(*Route)

// Budget sets the longest time that one slice of the route's handler may hold its loop before the watchdog reports it. It panics unless d is
// above 0.
func Budget(d time.Duration) RouteOption {
	mustBePositive("Budget", int64(d))
	return func(r *Route) { r.Budget = d }
}

// Timeout sets the time after which the Context is cancelled, measured from the start of the handler. If nothing was written, the response
// is a 503. It panics unless d is above 0.
func Timeout(d time.Duration) RouteOption {
	mustBePositive("Timeout", int64(d))
	return func(r *Route) { r.Timeout = d }
}

// BodyMax sets the limit on the request body to n bytes, in place of Options.Limits.BodyBytesMax. Larger bodies are answered with 413. It
// panics unless n is above 0.
func BodyMax(n int64) RouteOption {
	mustBePositive("BodyMax", n)
	return func(r *Route) { r.BodyMax = n }
}

// SlowBody accepts request bodies at any rate, without Options.BodyRateMin. It is for clients that stream data as it arises.
func SlowBody() RouteOption {
	return func(r *Route) { r.SlowBody = true }
}

// Handoff sets the time for which the route's handler may hold its loop while other work waits, in place of ServerConfig.Handoff. Then
// another goroutine takes the loop over, and the handler continues beside it. With a negative d the loop is never handed over.
func Handoff(d time.Duration) RouteOption {
	return func(r *Route) { r.Handoff = d }
}

// Blocking starts the route's handler on a goroutine beside its loop. It is for handlers that always block or compute for long: other
// requests do not even wait for the handoff time. The Context works as usual.
func Blocking() RouteOption {
	return func(r *Route) { r.Blocking = true }
}

// Name sets Route.Name, which logs and metrics show in place of the pattern.
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
			return nil, fmt.Errorf("{%s...} matches everything and must come last", p.text)
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

// checkStatic refuses segments that no request can match, or that are probably mistakes.
func checkStatic(segment string, last bool) error {
	switch {
	case segment == "" && !last:
		return fmt.Errorf("has an empty segment")
	case segment == "." || segment == "..":
		return fmt.Errorf("has a dot segment, which is removed from every request")
	case strings.ContainsAny(segment, "?#"):
		return fmt.Errorf("has a query or a fragment; a pattern is a path")
	}
	for i := 0; i < len(segment); i++ {
		if segment[i] < ' ' || segment[i] == 0x7f {
			return fmt.Errorf("has a control character")
		}
		if segment[i] == '%' && i+2 < len(segment) && httpparse.IsHex(segment[i+1]) && httpparse.IsHex(segment[i+2]) {
			return fmt.Errorf("has the escape %s; write the decoded character, because paths are decoded before they are matched", segment[i:i+3])
		}
	}
	return nil
}

func parseParam(segment string) (part, error) {
	name, opened := strings.CutPrefix(segment, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed || strings.ContainsAny(name, "{}") {
		return part{}, fmt.Errorf("segment %q: a parameter must be a whole segment, as in /{id}/", segment)
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
			return part{}, fmt.Errorf("segment %q: the name of a parameter must consist of letters, digits and '_'", segment)
		}
	}
	return p, nil
}
