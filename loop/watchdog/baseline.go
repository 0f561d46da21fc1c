// Baseline: the overruns that a project already knows. Tests fail only for overruns that are not
// listed, or that got worse.

package watchdog

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Baseline maps each known place (see Overrun.Place) to the longest time that its code is known to
// run.
type Baseline map[string]time.Duration

// Place identifies the code of an overrun by its verdict and the handler's functions, innermost
// first. It has no line numbers, so that edits of other code do not change it.
func (o *Overrun) Place() string {
	var names []string
	for _, f := range o.Stack {
		if ownerOf(f) == ownerHandler && !slices.Contains(names, shortFunc(f.Func)) {
			names = append(names, shortFunc(f.Func))
		}
	}
	if len(names) == 0 {
		names = []string{shortFunc(o.Culprit.Func)}
	}
	return string(o.Verdict) + " " + strings.Join(names, " < ")
}

// ReadBaseline reads lines of the form "duration place". It skips empty lines and lines that begin
// with #.
// The error names the first line that cannot be read.
func ReadBaseline(r io.Reader) (Baseline, error) {
	b := Baseline{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		duration, place, ok := strings.Cut(line, " ")
		d, err := time.ParseDuration(duration)
		if !ok || err != nil {
			return nil, fmt.Errorf("baseline, line %d: %q is not a duration and a place", n, line)
		}
		b[strings.TrimSpace(place)] = d
	}
	return b, lines.Err()
}

// Write writes the baseline sorted by place, so that two versions of it can be compared line by
// line.
func (b Baseline) Write(w io.Writer) error {
	places := make([]string, 0, len(b))
	for place := range b {
		places = append(places, place)
	}
	slices.Sort(places)
	if _, err := fmt.Fprintln(w, "# Known overruns: how long the code ran, and where."); err != nil {
		return err
	}
	for _, place := range places {
		if _, err := fmt.Fprintln(w, b[place], place); err != nil {
			return err
		}
	}
	return nil
}

// Add records an overrun. It rounds the run time up to the next 10 ms, so that a slightly slower
// machine does not exceed it.
func (b Baseline) Add(o *Overrun) {
	step := 10 * time.Millisecond
	ran := (time.Duration(o.Ran)/step + 1) * step
	b[o.Place()] = max(b[o.Place()], ran)
}

// worse is the factor by which the run time of a known place may grow before News reports it.
const worse = 2

// News returns one line that says why the baseline does not cover an overrun. It returns an empty
// string if the overrun is covered or not blamed on the code.
func (b Baseline) News(o *Overrun) string {
	if !o.Blamed {
		return ""
	}
	known, ok := b[o.Place()]
	switch {
	case !ok:
		return "new overrun: " + o.Line()
	case time.Duration(o.Ran) > worse*known:
		return fmt.Sprintf("worse than the known %v: %s", known, o.Line())
	}
	return ""
}
