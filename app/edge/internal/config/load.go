// Load: from a file to a Config, or to all its Problems.

package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// fileBytesMax bounds the size of a configuration file.
const fileBytesMax = 16 << 20

// Load reads a file that may use the parts of registry. Its error is Problems, with all of them, or that of reading the file. Config.App may find more problems.
func Load(file string, registry *Registry) (*Config, error) {
	text, err := read(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, text, registry)
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

// Parse is Load for a text; file is its name in Problems.
func Parse(file string, text []byte, registry *Registry) (*Config, error) {
	c, problems := parse(file, text, registry, false)
	if len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

// parse returns a Config, or nil if the text is not TOML. With checking, it applies the rules between values although some
// values are wrong, and accepts environment variables that are not set.
func parse(file string, text []byte, registry *Registry, checking bool) (*Config, Problems) {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, Problems{syntaxProblem(file, err)}
	}
	if registry == nil {
		registry = &Registry{}
	}
	c := &Config{source: &source{file: file}, registry: registry}
	c.source.index(text)
	d := decoder{source: c.source, checking: checking, registry: registry}
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
		p.Line, p.Column = at.Position()
	}
	return p
}

func (d *decoder) sorted() Problems {
	slices.SortStableFunc(d.problems, Problem.compare)
	return slices.CompactFunc(d.problems, func(a, b Problem) bool { return a == b })
}
