package admin

// Overruns as the page and /overruns show them: the watchdog's account, ranked, with those that are going on.

import (
	"net/http"
	"slices"

	"tafe/loop/watchdog"
)

const (
	routesMax  = 256 // labels of routes; what comes later counts as otherRoute
	otherRoute = "other"
)

// Culprit is one place in the code and what it cost.
type Culprit struct {
	watchdog.Stack
	Place   string          `json:"place"`
	Live    bool            `json:"live"` // an overrun of it is going on
	LiveFor watchdog.Millis `json:"live_ms,omitempty"`
}

// culprits are at most n places: first those of overruns that are going on, since one that never ends is never added up, then
// those that cost others the most.
func culprits(n int, stacks []watchdog.Stack, recent []watchdog.Overrun) []Culprit {
	top := make([]Culprit, 0, n)
	live := map[string]bool{}
	for i := range recent {
		o := &recent[i]
		if o.Final || live[o.Key] || len(top) == n {
			continue
		}
		c := Culprit{Stack: watchdog.Stack{Key: o.Key}, Live: true, LiveFor: o.Ran}
		if known := slices.IndexFunc(stacks, func(s watchdog.Stack) bool { return s.Key == o.Key }); known >= 0 {
			c.Stack = stacks[known]
		}
		c.Add(o)
		live[o.Key] = true
		top = append(top, c)
	}
	for _, s := range stacks {
		if !live[s.Key] && len(top) < n {
			top = append(top, Culprit{Stack: s})
		}
	}
	for i := range top {
		c := &top[i]
		if c.Stack.Culprit.Func != "" {
			c.Place = c.Stack.Culprit.String()
		}
	}
	return top
}

// culprits are those of the watchdog.
func (d *desk) culprits(n int, recent []watchdog.Overrun) []Culprit {
	if d.config.Watchdog == nil {
		return []Culprit{}
	}
	return culprits(n, d.config.Watchdog.Stacks(), recent)
}

// overruns answers with the watchdog's records, newest first, at most ?n of them.
func (d *desk) overruns(w http.ResponseWriter, r *http.Request) {
	n, err := number(r, "n", 256, 10_000)
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
