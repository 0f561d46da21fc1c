// Check: every problem of a file, from its syntax to the files that it names.

package config

import (
	"errors"
	"slices"
)

// Check returns every problem of a file, and warnings: likely mistakes, and environment variables that are not set where the
// check runs. It makes the compiled parts, runs their hooks for the stop, and starts nothing. c is nil if the file is not TOML; err is the error of reading it.
func Check(file string, registry *Registry) (c *Config, problems, warnings Problems, err error) {
	text, err := read(file)
	if err != nil {
		return nil, nil, nil, err
	}
	c, problems = parse(file, text, registry, true)
	if c == nil {
		return nil, problems, nil, nil
	}
	_, resources, err := c.App(c.Options(), nil, nil)
	if resources != nil {
		problems = append(problems, resources.Broken()...)
		resources.Close()
	}
	problems = append(problems, c.unwritable()...)
	var acmeErr error
	if c.ObtainsCertificates() {
		var broken Problems
		_, broken, acmeErr = c.acmeOptions()
		problems = append(problems, broken...)
	}
	_, stores, listenErr := c.AppListeners(Sources{})
	for _, s := range stores {
		problems = append(problems, s.Problems()...)
	}
	for _, e := range []error{err, acmeErr, listenErr} {
		var more Problems
		if e != nil && !errors.As(e, &more) {
			return nil, nil, nil, e
		}
		problems = append(problems, more...)
	}
	slices.SortStableFunc(problems, Problem.compare)
	problems = slices.Compact(problems) // each listener reports the certificates of sites
	return c, problems, c.warnings, nil
}

// Warnings returns likely mistakes. The server runs with them.
func (c *Config) Warnings() Problems { return c.warnings }
