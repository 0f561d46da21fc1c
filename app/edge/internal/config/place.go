// The line and column at which each key and each text of a file stands.

package config

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// path identifies a key: names, and indexes for elements of arrays.
type path []string

func (p path) child(name string) path { return append(p[:len(p):len(p)], name) }
func (p path) index(i int) path       { return p.child(strconv.Itoa(i)) }
func (p path) id() string             { return strings.Join(p, "\x00") }

// String returns the path as in the file, without indexes: errors have the line.
func (p path) String() string {
	names := make([]string, 0, len(p))
	for _, name := range p {
		if _, err := strconv.Atoi(name); err != nil {
			names = append(names, name)
		}
	}
	return strings.Join(names, ".")
}

// source is the name of a file, and where its keys and texts are.
type source struct {
	file  string
	keys  map[string]place // by path.id
	texts map[string]text
}

// place is a line and a column, in bytes, both from 1.
type place struct{ line, column int }

// text is a text value as it is written in the file, with its quotes.
type text struct {
	raw string
	at  place
}

// hasKey reports whether the file has the key.
func (s *source) hasKey(p path) bool { return s.keys[p.id()].line > 0 }

// place returns the place of the key, or of the nearest parent that has one, or the zero place.
func (s *source) place(p path) place {
	for n := len(p); n > 0; n-- {
		if at := s.keys[p[:n].id()]; at.line > 0 {
			return at
		}
	}
	return place{}
}

// line returns the line of place.
func (s *source) line(p path) int { return s.place(p).line }

// inText returns the place of the byte n of the text at p.
func (s *source) inText(p path, n int) place {
	t, ok := s.texts[p.id()]
	if !ok {
		return s.place(p)
	}
	at := t.at
	for _, b := range []byte(t.raw[:rawOffset(t.raw, n)]) {
		if at.column++; b == '\n' {
			at = place{at.line + 1, 1}
		}
	}
	return at
}

// rawOffset returns the offset in a quoted text of the byte n of its value.
func rawOffset(raw string, n int) int {
	quotes := 1
	if strings.HasPrefix(raw, `"""`) || strings.HasPrefix(raw, "'''") {
		quotes = 3
	}
	i := quotes
	if quotes == 3 && strings.HasPrefix(raw[i:], "\n") { // the first line feed is not part of the value
		i++
	}
	for ; n > 0 && i < len(raw); n-- {
		if raw[0] != '"' || raw[i] != '\\' {
			i++
			continue
		}
		skip, bytes := escape(raw[i:])
		i, n = i+skip, n-bytes+1
	}
	return min(i, len(raw))
}

// escape returns the length of the escape sequence at the start of a basic text, and that of its value.
func escape(raw string) (skip, bytes int) {
	switch rest := raw[1:]; {
	case rest[0] == 'u' || rest[0] == 'U' || rest[0] == 'x':
		digits := map[byte]int{'u': 4, 'U': 8, 'x': 2}[rest[0]]
		r, err := strconv.ParseUint(rest[1:min(1+digits, len(rest))], 16, 32)
		if err != nil {
			return 2, 1
		}
		return 2 + digits, utf8.RuneLen(rune(r))
	case strings.IndexByte(" \t\n\r", rest[0]) >= 0: // a line that goes on
		return 1 + len(rest) - len(strings.TrimLeft(rest, " \t\n\r")), 0
	}
	return 2, 1
}

// index records the places of a file's content, which must be valid TOML.
func (s *source) index(content []byte) {
	s.keys, s.texts = map[string]place{}, map[string]text{}
	x := indexer{source: s, arrays: map[string]int{}}
	x.parser.Reset(content)
	for x.parser.NextExpression() {
		e := x.parser.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			x.table = x.enter(e)
		case unstable.KeyValue:
			x.pair(x.table, e)
		}
	}
}

type indexer struct {
	*source
	parser unstable.Parser
	table  path           // that the last header opened
	arrays map[string]int // elements so far, of arrays of tables
}

// enter handles a header. Names of arrays of tables in the path mean their last element; a [[header]] adds one.
func (x *indexer) enter(e *unstable.Node) (p path) {
	keys := e.Key()
	for keys.Next() {
		key := keys.Node()
		p = p.child(string(key.Data))
		last := keys.IsLast()
		if last && e.Kind == unstable.ArrayTable {
			x.note(p, key)
			x.arrays[p.id()]++
		}
		if n := x.arrays[p.id()]; n > 0 {
			p = p.index(n - 1)
		}
		if last {
			x.note(p, key)
		}
	}
	return p
}

// pair records "key = value", and each part of a dotted key.
func (x *indexer) pair(p path, e *unstable.Node) {
	keys := e.Key()
	for keys.Next() {
		p = p.child(string(keys.Node().Data))
		x.note(p, keys.Node())
	}
	x.value(p, e.Value())
}

func (x *indexer) value(p path, v *unstable.Node) {
	if v.Kind == unstable.String {
		at := x.parser.Shape(v.Raw).Start
		x.texts[p.id()] = text{string(x.parser.Raw(v.Raw)), place{at.Line, at.Column}}
	}
	children := v.Children()
	for i := 0; children.Next(); i++ {
		child := children.Node()
		if child.Kind == unstable.KeyValue {
			x.pair(p, child)
			continue
		}
		x.note(p.index(i), child)
		x.value(p.index(i), child)
	}
}

// note records the first place of p.
func (x *indexer) note(p path, n *unstable.Node) {
	if x.keys[p.id()].line == 0 && n.Raw.Length > 0 {
		at := x.parser.Shape(n.Raw).Start
		x.keys[p.id()] = place{at.Line, at.Column}
	}
}

// Problem is an error in a file.
type Problem struct {
	File   string
	Line   int // from 1; 0: of the file as a whole
	Column int // in bytes, from 1
	Text   string
	part   string // see path.part
}

// newProblem makes a Problem at a place that belongs to p.
func (s *source) newProblem(p path, at place, format string, args ...any) Problem {
	return Problem{s.file, at.line, at.column, fmt.Sprintf(format, args...), p.part()}
}

func (p Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

func (p Problem) compare(o Problem) int {
	return cmp.Or(cmp.Compare(p.Line, o.Line), cmp.Compare(p.Column, o.Column))
}

// Problems are the errors of a file, by line.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}
