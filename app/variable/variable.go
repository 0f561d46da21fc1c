// Package variable expands texts with variables, such as "https://{host}{path}?from={query.ref}".
//
// A variable is a name in braces: letters, digits, '_', '-' and '.', beginning with a letter. Other text with braces is literal, as in JSON
// or CSS. "{{name}" is the literal text "{name}".
//
// [Parse] compiles a text to a [Template] for one [Use]. The Use determines how values are escaped, so that a value cannot end a header, a
// log line, a JSON string or an HTML element, and cannot leave its part of a URL. Values are inserted as they are after escaping: text in
// braces inside a value is not a variable.
//
// # The parts, in reading order
//
//	variable.go  Template, Parse, Append
//	names.go     the variables and their values
//	escape.go    escaping for each Use
//	url.go       the parts of a URL, and values within them
package variable

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"tafe/app"
)

// Use is the place where an expanded text is put.
type Use uint8

const (
	Text   Use = iota // a body of plain text; values are not escaped
	Header            // the value of a header field
	URL               // a URL, or a path with or without a query
	HTML              // text or a quoted attribute of HTML or XML
	JSON              // a string of JSON or JavaScript, within its quotes
	Log               // a line of a log; an empty value is "-"
)

// Phase is the time at which a text is expanded. Some variables have no value before.
type Phase uint8

const (
	Request  Phase = iota // before the handler
	Response              // when the response head is written, and in error pages
	End                   // after the response
)

// Scope says which variables a text may have.
type Scope struct {
	Use   Use
	Phase Phase
	// Params are the names of the parameters of the route's pattern. {id} and {path.id} are the value of the parameter id; a parameter hides
	// a variable of that name.
	Params []string
	Path   *regexp.Regexp // app.Match.Path of the route; {path.1} and {path.name} are its groups
	// Lenient takes the name of an unknown variable as literal text, as in scripts within a page.
	Lenient bool
}

// Template is a compiled text. Its methods may be called by any goroutine, with the restrictions of the Source.
type Template struct {
	text   string
	use    Use
	pieces []piece
	names  []string
}

// piece is a literal text, or a value.
type piece struct {
	text   string
	append func(dst []byte, s Source) []byte // nil: text
}

// Source is the request whose values are inserted. A Context must be used by the goroutine of its handler, or of its loop after the handler
// has returned.
type Source struct {
	Request *app.Context   // nil: the request was refused before it had a handler
	Entry   *app.Entry     // in the Phase End
	Error   *app.HTTPError // in error pages
}

// Error is a mistake in a text.
type Error struct {
	Offset int // in bytes, of the variable
	Err    error
}

// Error returns the text of Err, and how text in braces is written that is no variable.
func (e *Error) Error() string {
	var unknown *Unknown
	if errors.As(e.Err, &unknown) && unknown.Want == "" {
		return fmt.Sprintf("%v; the text {%s} itself is written {{%s}", e.Err, unknown.Name, unknown.Name)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Parse compiles a text. The error is an *Error about the first mistake; see Errors.
func Parse(text string, scope Scope) (*Template, error) {
	t, errs := parse(text, scope)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return t, nil
}

// Errors returns all mistakes in a text.
func Errors(text string, scope Scope) []*Error {
	_, errs := parse(text, scope)
	return errs
}

func parse(text string, scope Scope) (*Template, []*Error) {
	t := &Template{text: text, use: scope.Use}
	var errs []*Error
	var literal strings.Builder
	parts := urlParts{}
	add := func(s string) {
		literal.WriteString(s)
		if scope.Use == URL {
			parts.skip(s)
		}
	}
	for i := 0; i < len(text); {
		if text[i] != '{' {
			end := strings.IndexByte(text[i:], '{')
			if end < 0 {
				end = len(text) - i
			}
			add(text[i : i+end])
			i += end
			continue
		}
		if escaped := nameAt(text, i+1); escaped != "" && i+1 < len(text) && text[i+1] == '{' {
			add("{" + escaped + "}")
			i += len("{{}") + len(escaped)
			continue
		}
		name := nameAt(text, i)
		if name == "" {
			add("{")
			i++
			continue
		}
		piece, rooted, err := compile(name, scope, parts.at)
		var unknown *Unknown
		switch {
		case scope.Lenient && errors.As(err, &unknown):
			add("{" + name + "}")
			i += len("{}") + len(name)
			continue
		case err != nil:
			errs = append(errs, &Error{i, err})
		default:
			if literal.Len() > 0 {
				t.pieces = append(t.pieces, literalPiece(literal.String()))
				literal.Reset()
			}
			t.pieces, t.names = append(t.pieces, piece), append(t.names, name)
		}
		parts.skipValue(name, rooted)
		i += len("{}") + len(name)
	}
	if literal.Len() > 0 {
		t.pieces = append(t.pieces, literalPiece(literal.String()))
	}
	return t, errs
}

func literalPiece(text string) piece { return piece{text: text} }

// nameAt returns the name of the variable at text[i:], "" if there is none.
func nameAt(text string, i int) string {
	if i >= len(text) || text[i] != '{' {
		return ""
	}
	for end := i + 1; end < len(text); end++ {
		b := text[end]
		letter := 'a' <= b|0x20 && b|0x20 <= 'z'
		switch {
		case b == '}':
			return text[i+1 : end]
		case letter || end > i+1 && ('0' <= b && b <= '9' || b == '_' || b == '-' || b == '.'):
		default:
			return ""
		}
	}
	return ""
}

// Append appends the expanded text to dst. A path in a URL begins with one slash, whatever the values.
func (t *Template) Append(dst []byte, s Source) []byte {
	start := len(dst)
	for i := range t.pieces {
		if p := &t.pieces[i]; p.append != nil {
			dst = p.append(dst, s)
		} else {
			dst = append(dst, p.text...)
		}
	}
	if t.use == URL {
		dst = withOneSlash(dst, start)
	}
	return dst
}

// Constant returns the expanded text if it has no variables.
func (t *Template) Constant() (text string, ok bool) {
	switch {
	case len(t.pieces) == 0:
		return "", true
	case len(t.pieces) == 1 && t.pieces[0].append == nil:
		return t.pieces[0].text, true
	}
	return "", false
}

// String returns the text that was compiled.
func (t *Template) String() string { return t.text }

// Uses reports whether the text has the variable.
func (t *Template) Uses(name string) bool {
	for _, n := range t.names {
		if n == name {
			return true
		}
	}
	return false
}

// compile returns the piece of one variable. rooted reports whether its value begins with '/'.
func compile(name string, scope Scope, at urlPart) (_ piece, rooted bool, err error) {
	v, err := resolve(name, scope)
	switch {
	case err != nil:
		return piece{}, false, err
	case v.phase > scope.Phase:
		return piece{}, false, fmt.Errorf("{%s} has no value here: it is known %s", name, v.phase)
	case v.number != nil:
		return piece{append: v.number}, false, nil
	case scope.Use == URL:
		p, err := v.inURL(name, at)
		return p, v.rooted, err
	}
	text, escape := v.text, escapers[scope.Use]
	return piece{append: func(dst []byte, s Source) []byte { return escape(dst, text(s)) }}, v.rooted, nil
}

// String completes "it is known …".
func (p Phase) String() string {
	switch p {
	case Response:
		return "when the response begins"
	case End:
		return "after the response, in the access log"
	}
	return "before the handler"
}

// Field is one member of a JSON object.
type Field struct {
	Name string
	v    value
}

// ParseField returns the member of a JSON log line for a variable, given without braces.
func ParseField(name string, scope Scope) (Field, error) {
	if inner := nameAt(name, 0); inner != "" && name == "{"+inner+"}" {
		return Field{}, fmt.Errorf("a field is written without braces: %q", inner)
	}
	if nameAt("{"+name+"}", 0) != name || name == "" {
		return Field{}, fmt.Errorf("%q is not the name of a variable", name)
	}
	v, err := resolve(name, scope)
	if err == nil && v.phase > scope.Phase {
		err = fmt.Errorf("{%s} has no value here: it is known %s", name, v.phase)
	}
	return Field{name, v}, err
}

// AppendJSON appends a JSON object with the fields. Fields with an empty value are omitted.
func AppendJSON(dst []byte, fields []Field, s Source) []byte {
	dst = append(dst, '{')
	first := len(dst)
	for i := range fields {
		f := &fields[i]
		start := len(dst)
		if start > first {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), f.Name...), `":`...)
		if f.v.number != nil {
			dst = f.v.number(dst, s)
			continue
		}
		text := f.v.text(s)
		if text == "" {
			dst = dst[:start]
			continue
		}
		dst = append(appendJSON(append(dst, '"'), text), '"')
	}
	return append(dst, '}')
}

func appendInt(get func(s Source) int64) func(dst []byte, s Source) []byte {
	return func(dst []byte, s Source) []byte { return strconv.AppendInt(dst, get(s), 10) }
}
