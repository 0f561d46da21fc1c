package watchdog

// A baseline is the list of overruns that a project knows of and lives with for
// now: its tests fail for new ones and for worse ones only.

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Baseline is the longest known time of each place that overruns.
type Baseline map[string]time.Duration

// Place names where in the code an overrun happened, for people and across
// edits: the verdict and the handler's functions, innermost first, no lines.
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

// ReadBaseline reads lines of "duration place"; empty lines and those that
// begin with # do not count.
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

// Write writes the baseline in the order of places, so that it diffs well.
func (b Baseline) Write(w io.Writer) error {
	places := make([]string, 0, len(b))
	for place := range b {
		places = append(places, place)
	}
	slices.Sort(places)
	if _, err := fmt.Fprintln(w, "# Places that are known to overrun their budget: how long their code ran, and where."); err != nil {
		return err
	}
	for _, place := range places {
		if _, err := fmt.Fprintln(w, b[place], place); err != nil {
			return err
		}
	}
	return nil
}

// Add enters an overrun at its length rounded up, so that it is not news again
// when the machine is a little slower.
func (b Baseline) Add(o *Overrun) {
	step := 10 * time.Millisecond
	ran := (time.Duration(o.Ran)/step + 1) * step
	b[o.Place()] = max(b[o.Place()], ran)
}

// worse is by how much a known place may grow before it is news.
const worse = 2

// News tells in one line why an overrun is not covered by the baseline; empty if
// it is, or if the code is not to blame for it.
func (b Baseline) News(o *Overrun) string {
	if !o.Blamed {
		return ""
	}
	known, ok := b[o.Place()]
	switch {
	case !ok:
		return "a new overrun: " + o.Line()
	case time.Duration(o.Ran) > worse*known:
		return fmt.Sprintf("worse than the %v that are known: %s", known, o.Line())
	}
	return ""
}
