// The line in which each key of a file stands.

package config

import (
	"fmt"
	"strconv"
	"strings"

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

// source is the name and the lines of a file.
type source struct {
	file  string
	lines map[string]int // by path.id
}

// line returns the line of the key, or of the nearest parent that has one, or 0.
func (s *source) line(p path) int {
	for n := len(p); n > 0; n-- {
		if line := s.lines[p[:n].id()]; line > 0 {
			return line
		}
	}
	return 0
}

// index records the lines of text, which must be valid TOML.
func (s *source) index(text []byte) {
	s.lines = map[string]int{}
	x := indexer{source: s, arrays: map[string]int{}}
	x.parser.Reset(text)
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

// note records the first line of p.
func (x *indexer) note(p path, n *unstable.Node) {
	if x.lines[p.id()] == 0 && n.Raw.Length > 0 {
		x.lines[p.id()] = x.parser.Shape(n.Raw).Start.Line
	}
}

// Problem is an error in a file.
type Problem struct {
	File string
	Line int // 0: of the file as a whole
	Text string
	part string // see path.part
}

func (p Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
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
