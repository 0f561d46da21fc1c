// Texts with variables, and the conditions of routes.

package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"tafe/app"
	"tafe/app/variable"
	"tafe/httpparse"
)

// template compiles the text at p. It returns nil after reporting every mistake in it with its place.
func (d *decoder) template(p path, text string, scope variable.Scope) *variable.Template {
	mistakes := variable.Errors(text, scope)
	for _, e := range mistakes {
		d.problemAt(p, d.inText(p, e.Offset), "%s: %s", p, withSuggestion(e, scope))
	}
	if len(mistakes) > 0 {
		return nil
	}
	t, err := variable.Parse(text, scope)
	if err != nil {
		panic("config: a text has a mistake that variable.Errors did not find: " + err.Error())
	}
	return t
}

// withSuggestion returns the text of an error, and for an unknown variable the most similar one, or all that have a value there.
func withSuggestion(err error, scope variable.Scope) string {
	var unknown *variable.Unknown
	if !errors.As(err, &unknown) || unknown.Want != "" {
		return err.Error()
	}
	names := scope.Names()
	family, member, parts := strings.Cut(unknown.Name, ".")
	var known []string
	for _, name := range names {
		if name, _, ok := strings.Cut(name, "."); ok == parts {
			known = append(known, name)
		}
	}
	best := mostSimilar(family, known)
	switch {
	case best == "":
		return fmt.Sprintf("%v; there are %s", err, strings.Join(names, ", "))
	case parts:
		best += "." + member
	}
	return fmt.Sprintf("%v; did you mean {%s}?", err, best)
}

// patternParam is a parameter of a pattern: its name, and "..." behind that of a catch-all.
var patternParam = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}`)

// shape returns a pattern without the names of its parameters: patterns with the same shape match the same paths.
func shape(pattern string) string { return patternParam.ReplaceAllString(pattern, "{$2}") }

// scope returns the variables that the texts of a route may have.
func (r *Route) scope() variable.Scope {
	s := variable.Scope{}
	for _, m := range patternParam.FindAllStringSubmatch(r.Path, -1) {
		s.Params = append(s.Params, m[1])
	}
	if r.Match != nil && r.Match.Path != "" {
		s.Path, _ = regexp.Compile(r.Match.Path) // an error is reported by match
	}
	return s
}

// Match has the conditions of a route beside its path and methods. All of them must be met. A value is compared as a whole and with case; "*"
// stands for any value, and "~…" for a regular expression (RE2) that must match a part of it. An array has alternatives.
type Match struct {
	// Request headers, such as { X-Version = "2", Accept = "~json" }.
	Header map[string]Alternatives `toml:"header"`
	// Query parameters, decoded, such as { preview = "*" }.
	Query map[string]Alternatives `toml:"query"`
	// Cookies.
	Cookie map[string]Alternatives `toml:"cookie"`
	// Networks of the client, such as ["10.0.0.0/8"]. Behind a proxy, list the proxy in server.trusted_proxies.
	Client []Network `toml:"client"`
	// Regular expression (RE2) for the decoded path. It matches a part of the path, unless it begins with ^ and ends with $.
	// {path.1} is its first group.
	Path string `toml:"path" default:""`
}

// Alternatives are one text, or several in an array.
type Alternatives []string

func (a *Alternatives) set(v any) error {
	switch v := v.(type) {
	case string:
		*a = Alternatives{v}
		return nil
	case []any:
		all := Alternatives{}
		for _, element := range v {
			text, ok := element.(string)
			if !ok {
				return errAlternatives
			}
			all = append(all, text)
		}
		if len(all) > 0 {
			*a = all
			return nil
		}
	}
	return errAlternatives
}

var errAlternatives = errors.New(`want text in quotes, or an array of texts, such as ["a", "~^b"]`)

// match returns the conditions as an app.Match; ok is false after a problem was reported.
func (b *builder) match(p path, m *Match) (_ app.Match, ok bool) {
	ok = true
	fields := func(p path, table map[string]Alternatives, valid func(name string) bool) (all []app.FieldMatch) {
		for _, name := range slices.Sorted(maps.Keys(table)) {
			f, err := fieldMatch(name, table[name])
			if !valid(name) {
				err = fmt.Errorf("%q is not a name that a request can have there", name)
			}
			if err != nil {
				b.problem(p.child(name), "%s: %v", p.child(name), err)
				ok = false
			}
			all = append(all, f)
		}
		return all
	}
	a := app.Match{
		Headers: fields(p.child("header"), m.Header, httpparse.ValidToken),
		Query:   fields(p.child("query"), m.Query, func(name string) bool { return name != "" }),
		Cookies: fields(p.child("cookie"), m.Cookie, httpparse.ValidToken),
		Clients: prefixes(m.Client),
	}
	if m.Path != "" {
		var err error
		if a.Path, err = regexp.Compile(m.Path); err != nil {
			b.problem(p.child("path"), "%s: %v", p.child("path"), regexpProblem(err))
			ok = false
		}
	}
	if ok && reflect.DeepEqual(a, app.Match{}) {
		b.problem(p, "%s has no condition: want header, query, cookie, client or path", p)
		ok = false
	}
	return a, ok
}

func fieldMatch(name string, values Alternatives) (app.FieldMatch, error) {
	f := app.FieldMatch{Name: name}
	var patterns []string
	for _, v := range values {
		pattern, isPattern := strings.CutPrefix(v, "~")
		switch {
		case v == "*" && len(values) > 1:
			return f, errors.New(`"*" is any value: want it alone`)
		case v == "*":
			return f, nil
		case isPattern:
			if _, err := regexp.Compile(pattern); err != nil {
				return f, regexpProblem(err)
			}
			patterns = append(patterns, "(?:"+pattern+")")
		default:
			f.Values = append(f.Values, v)
		}
	}
	if len(patterns) > 0 {
		f.Pattern = regexp.MustCompile(strings.Join(patterns, "|"))
	}
	return f, nil
}

func regexpProblem(err error) error {
	return fmt.Errorf("not a regular expression in the syntax of RE2: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}
