// Load: from a file to a Config, or to all its Problems.

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
	text, err := read(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, text)
}

func read(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory, not a file", file)
	case !info.Mode().IsRegular() && info.Mode()&os.ModeNamedPipe == 0:
		return nil, fmt.Errorf("%s is a device or socket, not a file", file)
	case info.Size() > fileBytesMax:
		return nil, fmt.Errorf("%s is larger than %v", file, Bytes(fileBytesMax))
	}
	return os.ReadFile(file)
}

// Parse is Load of a text; file is what Problems call it.
func Parse(file string, text []byte) (*Config, error) {
	c, problems := parse(file, text, false)
	if len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

// parse returns a Config in any case, nil if the text is not TOML. Checking, it looks at what the values are to each other although some of
// them are wrong, and does without environment variables that are not set.
func parse(file string, text []byte, checking bool) (*Config, Problems) {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, Problems{syntaxProblem(file, err)}
	}
	c := &Config{source: &source{file: file}}
	c.source.index(text)
	d := decoder{source: c.source, envUnset: checking}
	setDefaults(c)
	d.config(c, tree)
	if d.stage(); checking || len(d.problems) == 0 {
		d.rules(c)
	}
	c.warnings = d.warnings
	if len(d.problems) > 0 {
		d.stage()
		c.spoilt = d.spoilt
	}
	return c, d.sorted()
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
