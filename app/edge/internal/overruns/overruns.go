// Package overruns reads a saved log of the watchdog and ranks it: which places in the code delayed other requests, and what the
// delays would have been without each of them.
package overruns

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tafe/loop"
	"tafe/loop/watchdog"
)

// lineMax bounds one record, in bytes.
const lineMax = 4 << 20

// Place is one place in the code, with the totals of its overruns.
type Place struct {
	Verdict         watchdog.Verdict
	Route           string
	Where           string // the culprit, or the route where no stack was taken
	Advice          string
	Count, Victims  int
	Held, Ran, Cost watchdog.Millis // of loops; of its code; of others
	Released        int             // of Count
	Longest         watchdog.Millis
	Stack           []watchdog.Frame
	waited, without loop.Histogram
}

// Log has the totals of a log.
type Log struct {
	Places   []*Place // the most expensive for others first
	Innocent map[watchdog.Verdict]int
	Records  int
	Bad      int // lines that were no records
	From, To time.Time

	waits     loop.Histogram
	summaries int
}

// Read reads JSON lines as the Sink of the watchdog writes them. It counts and skips lines that are neither overrun nor
// summary. A log without any of these is an error.
func Read(r io.Reader) (*Log, error) {
	l := &Log{Innocent: map[watchdog.Verdict]int{}}
	places := map[string]*Place{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			l.line(line, places)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if l.Records+l.summaries == 0 && l.Bad > 0 {
		return nil, errors.New("no record of the watchdog found")
	}
	for _, p := range places {
		l.Places = append(l.Places, p)
	}
	slices.SortFunc(l.Places, func(a, b *Place) int {
		if a.Cost != b.Cost {
			return int(b.Cost - a.Cost)
		}
		return int(b.Ran - a.Ran)
	})
	return l, nil
}

func (l *Log) line(line []byte, places map[string]*Place) {
	var record struct {
		watchdog.Overrun
		Waits watchdog.Sparse `json:"waits"`
	}
	switch err := json.Unmarshal(line, &record); {
	case err != nil || record.ID == 0 && record.Waits == nil:
		l.Bad++
	case record.Waits != nil:
		l.summaries++
		record.Waits.AddTo(&l.waits, 1)
	default:
		l.overrun(&record.Overrun, places)
	}
}

func (l *Log) overrun(o *watchdog.Overrun, places map[string]*Place) {
	l.Records++
	if l.From.IsZero() || o.Started.Before(l.From) {
		l.From = o.Started
	}
	if end := o.Started.Add(time.Duration(ran(o))); end.After(l.To) {
		l.To = end
	}
	if !o.Blamed {
		l.Innocent[o.Verdict]++
		return
	}
	p := places[o.Key]
	if p == nil {
		p = &Place{Verdict: o.Verdict, Route: o.Route, Where: o.Culprit.String(), Stack: o.Stack}
		if o.Culprit.Func == "" {
			p.Where = "(no stack)"
		}
		places[o.Key] = p
	}
	p.Advice = o.Advice
	p.Count++
	p.Held += o.Held
	p.Ran += ran(o)
	p.Longest = max(p.Longest, ran(o))
	if o.Released {
		p.Released++
	}
	p.Victims += o.Victims.Count
	p.Cost += o.Victims.Total
	o.Victims.Waited.AddTo(&p.waited, 1)
	o.Victims.Without.AddTo(&p.without, 1)
}

// ran returns how long the code of an overrun ran. Logs from before handoff have only the time for which it held its loop.
func ran(o *watchdog.Overrun) watchdog.Millis { return max(o.Ran, o.Held) }

// Wait returns the quantile q of the time that slices waited for their loops.
func (l *Log) Wait(q float64) watchdog.Millis { return watchdog.Millis(l.waits.Quantile(q)) }

// WaitWithout is Wait as it would be without the overruns of the place.
func (l *Log) WaitWithout(p *Place, q float64) watchdog.Millis {
	h := l.waits
	for i, n := range p.waited.Counts {
		h.Counts[i] -= min(n, h.Counts[i])
		h.Counts[i] += p.without.Counts[i]
	}
	return watchdog.Millis(h.Quantile(q))
}

// Table writes the ranking, at most top places.
func (l *Log) Table(w io.Writer, top int) error {
	fmt.Fprintf(w, "%d overruns", l.Records)
	if l.Records > 0 {
		fmt.Fprintf(w, " from %s to %s", l.From.UTC().Format(time.RFC3339), l.To.UTC().Format(time.RFC3339))
	}
	if l.Bad > 0 {
		fmt.Fprintf(w, "; %d other lines skipped", l.Bad)
	}
	fmt.Fprintln(w)
	if len(l.Places) > 0 {
		fmt.Fprintln(w)
		l.rank(w, top)
	}
	if l.summaries > 0 {
		fmt.Fprintf(w, "\nWaits for a loop: p50 %v, p99 %v, p99.9 %v.\n", l.Wait(0.5), l.Wait(0.99), l.Wait(0.999))
	} else if len(l.Places) > 0 {
		fmt.Fprint(w, "\nP99 WITHOUT is ?: the log has no summaries of waits. The watchdog writes one every minute, and one at its end.\n")
	}
	return l.innocents(w)
}

func (l *Log) rank(w io.Writer, top int) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprint(t, "VICTIM TIME\tVICTIMS\tCOUNT\tRELEASED\tHELD\tRAN\tLONGEST\tVERDICT\tROUTE\tPLACE\tP99 WITHOUT\n")
	for i, p := range l.Places {
		if i == top {
			fmt.Fprintf(t, "and %d more\n", len(l.Places)-top)
			break
		}
		without := "?"
		if l.summaries > 0 {
			without = l.WaitWithout(p, 0.99).String()
		}
		fmt.Fprintf(t, "%v\t%d\t%d\t%d\t%v\t%v\t%v\t%s\t%s\t%s\t%s\n", p.Cost, p.Victims, p.Count, p.Released, p.Held, p.Ran, p.Longest, p.Verdict, p.Route, p.Where, without)
	}
	_ = t.Flush()
	for i, p := range l.Places {
		if i < min(3, top) && p.Advice != "" {
			fmt.Fprintf(w, "\n%s: %s\n", p.Where, p.Advice)
		}
	}
}

func (l *Log) innocents(w io.Writer) error {
	var outside, unknown []string
	for _, v := range watchdog.Verdicts {
		n := l.Innocent[v]
		switch {
		case n == 0:
		case v == watchdog.Unknown:
			unknown = append(unknown, fmt.Sprintf("%d %s", n, v))
		default:
			outside = append(outside, fmt.Sprintf("%d %s", n, v))
		}
	}
	var text string
	if len(outside) > 0 {
		text += fmt.Sprintf("\nCause outside of the code: %s.\n", strings.Join(outside, ", "))
	}
	if len(unknown) > 0 {
		text += fmt.Sprintf("\nCause not determined: %s.\n", strings.Join(unknown, ", "))
	}
	_, err := io.WriteString(w, text)
	return err
}

// Weights are the weights for Folded: the time for which code held loops, the time for which it ran, and the delay of others.
var Weights = map[string]func(p *Place) watchdog.Millis{
	"held":    func(p *Place) watchdog.Millis { return p.Held },
	"ran":     func(p *Place) watchdog.Millis { return p.Ran },
	"victims": func(p *Place) watchdog.Millis { return p.Cost },
}

// Folded writes the stacks for a flame graph, in microseconds by one of Weights.
func (l *Log) Folded(w io.Writer, weight func(p *Place) watchdog.Millis) error {
	for _, p := range l.Places {
		stack := watchdog.Folded(p.Stack)
		if stack == "" {
			stack = p.Route + " " + p.Where
		}
		if _, err := fmt.Fprintf(w, "%s;[%s] %d\n", stack, p.Verdict, time.Duration(weight(p)).Microseconds()); err != nil {
			return err
		}
	}
	return nil
}
