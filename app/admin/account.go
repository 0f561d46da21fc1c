package admin

// The account of overruns: the watchdog keeps the last ones, this adds them up, by verdict, by route, and by place in the code.

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"time"

	"tafe/loop/watchdog"
)

const (
	culpritsMax      = 256 // places in the code that are remembered
	routesMax        = 256 // labels of routes; what comes later counts as otherRoute
	worstMax         = 8   // victims that a culprit names
	otherRoute       = "other"
	unroutedOverruns = "none" // the label of overruns outside of requests
)

// toll adds up overruns.
type toll struct {
	Overruns uint64          `json:"overruns"`
	Held     watchdog.Millis `json:"held_ms"`
	Victims  uint64          `json:"victims"`
	Cost     watchdog.Millis `json:"victim_ms"`
}

func (t *toll) add(o *watchdog.Overrun) {
	t.Overruns++
	t.Held += o.Held
	t.Victims += uint64(o.Victims.Count)
	t.Cost += o.Victims.Total
}

// Culprit is one place in the code and what it cost.
type Culprit struct {
	Key     string           `json:"key"`
	Verdict watchdog.Verdict `json:"verdict"`
	Route   string           `json:"route"`
	Method  string           `json:"method"`
	Place   string           `json:"place"`
	toll
	Longest watchdog.Millis   `json:"longest_ms"`
	Last    time.Time         `json:"last"`
	Advice  string            `json:"advice,omitempty"`
	Stack   []watchdog.Frame  `json:"stack"`
	Worst   []watchdog.Victim `json:"worst,omitempty"` // the longest delays first
	Live    bool              `json:"live"`            // it holds a loop now
	LiveFor watchdog.Millis   `json:"live_ms,omitempty"`
}

// account may be used by any goroutine.
type account struct {
	mu       sync.Mutex
	seen     map[uint64]bool // closed overruns of the last take
	live     int
	verdicts map[watchdog.Verdict]*toll
	routes   map[string]*toll
	culprits map[string]*Culprit
}

func newAccount() *account {
	a := &account{seen: map[uint64]bool{}, verdicts: map[watchdog.Verdict]*toll{}, routes: map[string]*toll{}, culprits: map[string]*Culprit{}}
	for _, v := range watchdog.Verdicts {
		a.verdicts[v] = &toll{}
	}
	return a
}

// take adds up what is new among the watchdog's recent overruns. An overrun takes a loop for longer than its budget, so that
// between two takes there are fewer than the watchdog keeps.
func (a *account) take(recent []watchdog.Overrun) {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := make(map[uint64]bool, len(recent))
	a.live = 0
	for i := len(recent) - 1; i >= 0; i-- {
		o := &recent[i]
		if !o.Final {
			a.live++
			continue
		}
		seen[o.ID] = true
		if !a.seen[o.ID] {
			a.enter(o)
		}
	}
	a.seen = seen
}

func (a *account) enter(o *watchdog.Overrun) {
	verdict := a.verdicts[o.Verdict]
	if verdict == nil {
		verdict = a.verdicts[watchdog.Unknown]
	}
	verdict.add(o)
	if !o.Blamed {
		return
	}
	route := o.Route
	if route == "" {
		route = unroutedOverruns
	}
	if a.routes[route] == nil && len(a.routes) >= routesMax {
		route = otherRoute
	}
	if a.routes[route] == nil {
		a.routes[route] = &toll{}
	}
	a.routes[route].add(o)
	a.blame(o)
}

// blame enters an overrun at its place in the code. When there are too many places, the one that cost others the least goes.
func (a *account) blame(o *watchdog.Overrun) {
	c := a.culprits[o.Key]
	if c == nil {
		if len(a.culprits) >= culpritsMax {
			ranked := a.ranked()
			delete(a.culprits, ranked[len(ranked)-1].Key)
		}
		c = &Culprit{Key: o.Key}
		a.culprits[o.Key] = c
	}
	c.enter(o)
}

func (c *Culprit) enter(o *watchdog.Overrun) {
	c.add(o)
	c.Verdict, c.Route, c.Method, c.Advice, c.Last = o.Verdict, o.Route, o.Method, o.Advice, o.Started
	c.Longest = max(c.Longest, o.Held)
	if len(o.Stack) > 0 {
		c.Stack, c.Place = o.Stack, o.Culprit.String()
	}
	if len(o.Victims.Worst) > 0 {
		c.Worst = append(slices.Clone(c.Worst), o.Victims.Worst...)
		slices.SortStableFunc(c.Worst, func(x, y watchdog.Victim) int { return cmp.Compare(y.Delay, x.Delay) })
		c.Worst = c.Worst[:min(len(c.Worst), worstMax)]
	}
}

// ranked are the culprits by what they cost others, then by how long they held their loops. Under the lock.
func (a *account) ranked() []*Culprit {
	all := make([]*Culprit, 0, len(a.culprits))
	for _, c := range a.culprits {
		all = append(all, c)
	}
	slices.SortFunc(all, func(x, y *Culprit) int {
		return cmp.Or(cmp.Compare(y.Cost, x.Cost), cmp.Compare(y.Held, x.Held), cmp.Compare(x.Key, y.Key))
	})
	return all
}

// top are copies of the worst culprits, and before them those that hold a loop at this moment: an overrun that never ends is
// never added up.
func (a *account) top(n int, recent []watchdog.Overrun) []Culprit {
	a.mu.Lock()
	defer a.mu.Unlock()
	top := make([]Culprit, 0, n)
	live := map[string]bool{}
	for i := range recent {
		o := &recent[i]
		if o.Final || live[o.Key] || len(top) == n {
			continue
		}
		c := &Culprit{Key: o.Key}
		if known := a.culprits[o.Key]; known != nil {
			*c = *known
		}
		c.enter(o)
		c.Live, c.LiveFor = true, o.Held
		live[o.Key] = true
		top = append(top, *c)
	}
	for _, c := range a.ranked() {
		if !live[c.Key] && len(top) < n {
			top = append(top, *c)
		}
	}
	return top
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
