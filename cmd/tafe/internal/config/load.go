// This file owns the way from a file to a Config, or to everything that is wrong with it.

package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// fileBytesMax keeps a slip from reading a disk.
const fileBytesMax = 16 << 20

// Load reads a file. What is wrong with it comes as Problems, all of it at once; a file that cannot be read as the error of
// reading it. Building the App may find more: see Config.App.
func Load(file string) (*Config, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() && info.Mode()&os.ModeNamedPipe == 0 || info.Size() > fileBytesMax {
		return nil, fmt.Errorf("%s: not a file of less than %v", file, Bytes(fileBytesMax))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, text)
}

// Parse is Load of a text; file is what Problems call it.
func Parse(file string, text []byte) (*Config, error) {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, Problems{syntaxProblem(file, err)}
	}
	c := &Config{source: &source{file: file}}
	c.source.index(text)
	d := decoder{source: c.source}
	setDefaults(c)
	d.config(c, tree)
	d.rules(c)
	if len(d.problems) > 0 {
		return nil, d.sorted()
	}
	return c, nil
}

func syntaxProblem(file string, err error) Problem {
	p := Problem{File: file, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		p.Line, _ = at.Position()
	}
	return p
}

func (d *decoder) sorted() Problems {
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return slices.CompactFunc(d.problems, func(a, b Problem) bool { return a == b })
}
