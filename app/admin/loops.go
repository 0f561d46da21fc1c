// /loops: the current state of each loop, read from its slice record without involving the loop.

package admin

import (
	"net/http"
	"time"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/watchdog"
)

// States of a loop.
const (
	stateWaiting = "waiting"
	stateBusy    = "busy"
	stateOverrun = "overrun"
)

// LoopState is one loop in /loops. Times are in milliseconds.
type LoopState struct {
	Loop     int             `json:"loop"`
	State    string          `json:"state"` // waiting, busy or overrun
	For      watchdog.Millis `json:"for_ms,omitempty"`
	Route    string          `json:"route,omitempty"` // of the running task
	Method   string          `json:"method,omitempty"`
	Path     string          `json:"path,omitempty"`
	Task     uint64          `json:"task,omitempty"`
	Callback bool            `json:"callback,omitempty"` // a callback runs, not a task
	Budget   watchdog.Millis `json:"budget_ms"`
	Age      watchdog.Millis `json:"age_ms"` // since the loop last turned
	Conns    int             `json:"conns"`  // accepted
	Dialed   int             `json:"dialed"` // connections to upstreams and others
	Tasks    int             `json:"tasks"`
	Queued   int             `json:"queued"`
	Timers   int             `json:"timers"`
	// Waiting is the approximate number of tasks and connections that wait for the loop, while it is
	// in state overrun.
	Waiting int `json:"waiting,omitempty"`
	// Estimates are the expected lengths of the first, second and later slices of a request, by route.
	Estimates map[string][]watchdog.Millis `json:"estimates,omitempty"`
	// Handoffs counts handoffs of the loop. Released is the number of tasks that run beside it.
	Handoffs uint64 `json:"handoffs"`
	Released int    `json:"released"`
	Slices   uint64 `json:"slices"`
	In       uint64 `json:"bytes_in"`
	Out      uint64 `json:"bytes_out"`
}

// look returns what a loop is running.
func look(l *loop.Loop, budget time.Duration) (s LoopState) {
	s.Loop, s.State, s.Budget = l.ID(), stateWaiting, watchdog.Millis(budget)
	slice := l.Observe().Slice()
	since, task, ok := slice.Load()
	if ok {
		what := task.Observe().Description()
		s.State, s.Budget = stateBusy, watchdog.Millis(task.Budget())
		s.Task, s.Route, s.Method, s.Path = what.TaskID, what.Route, what.Method, what.Path
		if !slice.Still(since) {
			return LoopState{Loop: s.Loop, State: stateBusy, Budget: watchdog.Millis(budget)} // the slice has ended meanwhile
		}
	} else if since, ok = slice.BetweenTasks(); ok {
		s.State, s.Callback = stateBusy, true
	}
	if ok {
		s.For = watchdog.Millis(max(l.Clock()-since, 0))
		if s.For >= s.Budget && s.Budget > 0 {
			s.State = stateOverrun
			s.Waiting = l.Observe().Waiting()
		}
	}
	return s
}

// states returns the state of every loop.
func (d *dashboard) states() []LoopState {
	last, requests := d.survey.results()
	states := make([]LoopState, len(last))
	for i, l := range d.config.Server.Engine().Loops() {
		s := look(l, d.config.Budget)
		t := &last[i]
		s.Age = watchdog.Millis(t.sinceTurn)
		s.Conns, s.Dialed = t.stats.Conns-t.stats.ConnsDialed, t.stats.ConnsDialed
		s.Tasks, s.Queued, s.Timers = t.stats.TasksAlive, t.stats.Queued, t.stats.Timers
		s.Handoffs, s.Released = t.stats.Handoffs, t.stats.Released
		s.Slices, s.In, s.Out = t.stats.Slices, t.stats.BytesIn, t.stats.BytesOut
		s.Estimates = estimates(requests.Loops[i].Routes)
		states[i] = s
	}
	return states
}

// estimates returns the estimates of at most routesMax route names. If several routes share a name,
// those of one of them are used.
func estimates(routes []app.RouteStats) map[string][]watchdog.Millis {
	all := map[string][]watchdog.Millis{}
	for i := range routes {
		r := &routes[i]
		if r.Route == nil || len(all) >= routesMax {
			continue
		}
		var known []watchdog.Millis
		for _, d := range r.Cost.Estimates() {
			if d == 0 {
				break
			}
			known = append(known, watchdog.Millis(d))
		}
		if len(known) > 0 {
			all[r.Route.Name] = known
		}
	}
	return all
}

func (d *dashboard) loops(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, d.states())
}
