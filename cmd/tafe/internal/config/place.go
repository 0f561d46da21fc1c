// The line in which each key of a file stands.

package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// path is the way to a key: names, and for elements of arrays their index.
type path []string

func (p path) child(name string) path { return append(p[:len(p):len(p)], name) }
func (p path) index(i int) path       { return p.child(strconv.Itoa(i)) }
func (p path) id() string             { return strings.Join(p, "\x00") }

// String is the path as an operator would write it; elements of arrays lose their index, since the line tells.
func (p path) String() string {
	names := make([]string, 0, len(p))
	for _, name := range p {
		if _, err := strconv.Atoi(name); err != nil {
			names = append(names, name)
		}
	}
	return strings.Join(names, ".")
}

// source is a file's name and lines.
type source struct {
	file  string
	lines map[string]int // by path.id
}

// line is where the key stands, or the nearest above it; 0 if none does.
func (s *source) line(p path) int {
	for n := len(p); n > 0; n-- {
		if line := s.lines[p[:n].id()]; line > 0 {
			return line
		}
	}
	return 0
}

// index fills in the lines of text, which is known to be good TOML.
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

// enter follows a header. Names of arrays of tables on the way mean their last element; a [[header]] begins a new one.
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

// pair notes "key = value", a dotted key in each of its parts.
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

// note keeps the first line of p.
func (x *indexer) note(p path, n *unstable.Node) {
	if x.lines[p.id()] == 0 && n.Raw.Length > 0 {
		x.lines[p.id()] = x.parser.Shape(n.Raw).Start.Line
	}
}

// Problem is one thing that is wrong with a file.
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

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}
