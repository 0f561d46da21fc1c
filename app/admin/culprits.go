// Overruns: /overruns, and the ranking of the places in the code that cause them.

package admin

import (
	"cmp"
	"net/http"
	"slices"

	"tafe/loop/watchdog"
)

const (
	routesMax = 256 // route labels; later routes are counted as watchdog.OtherRoutes
)

// Culprit is one place in the code and the cost of its overruns.
type Culprit struct {
	watchdog.StackTotals
	Place   string          `json:"place"`
	Live    bool            `json:"live"` // one of its overruns is not over
	LiveFor watchdog.Millis `json:"live_ms,omitempty"`
	// LiveCost is the victims' delay so far of its overruns that are not over.
	LiveCost watchdog.Millis `json:"live_victim_ms,omitempty"`
}

// culprits returns at most n places. Places with an overrun that is not over come first, because an
// overrun that never ends does not enter the totals. Each group is sorted by the victims' delay.
func culprits(n int, stacks []watchdog.StackTotals, recent []watchdog.Overrun) []Culprit {
	top := make([]Culprit, 0, n)
	live := map[string]int{} // index in top
	for i := range recent {
		o := &recent[i]
		if o.Final {
			continue
		}
		at, known := live[o.Key]
		if !known {
			c := Culprit{StackTotals: watchdog.StackTotals{Key: o.Key}, Live: true}
			if ended := slices.IndexFunc(stacks, func(s watchdog.StackTotals) bool { return s.Key == o.Key }); ended >= 0 {
				c.StackTotals = stacks[ended]
			}
			at = len(top)
			live[o.Key] = at
			top = append(top, c)
		}
		top[at].Add(o)
		top[at].LiveFor = max(top[at].LiveFor, o.Ran)
		top[at].LiveCost += o.Victims.Total
	}
	slices.SortStableFunc(top, func(a, b Culprit) int {
		return cmp.Or(cmp.Compare(b.LiveCost, a.LiveCost), cmp.Compare(b.LiveFor, a.LiveFor))
	})
	top = top[:min(len(top), n)]
	for _, s := range stacks {
		if _, goesOn := live[s.Key]; !goesOn && len(top) < n {
			top = append(top, Culprit{StackTotals: s})
		}
	}
	for i := range top {
		c := &top[i]
		if c.StackTotals.Culprit.Func != "" {
			c.Place = c.StackTotals.Culprit.String()
		}
	}
	return top
}

// culprits returns at most n culprits of the watchdog.
func (d *dashboard) culprits(n int, recent []watchdog.Overrun) []Culprit {
	if d.config.Watchdog == nil {
		return []Culprit{}
	}
	return culprits(n, d.config.Watchdog.Stacks(), recent)
}

// overruns serves the latest overruns, newest first, at most ?n of them.
func (d *dashboard) overruns(w http.ResponseWriter, r *http.Request) {
	n, err := queryInt(r, "n", 256, 10_000)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	recent := d.recent()
	if recent == nil {
		recent = []watchdog.Overrun{}
	}
	answerJSON(w, recent[:min(n, len(recent))])
}

// recent returns the watchdog's latest overruns, newest first. It omits the sample tree of an
// overrun that is not over.
func (d *dashboard) recent() []watchdog.Overrun {
	if d.config.Watchdog == nil {
		return nil
	}
	recent := d.config.Watchdog.Recent()
	for i := range recent {
		if !recent[i].Final {
			recent[i].Tree = nil
		}
	}
	return recent
}
