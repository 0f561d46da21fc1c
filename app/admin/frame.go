// Frame, the message that updates the live page.

package admin

import (
	"os"
	"slices"
	"strings"
	"time"

	"tafe/loop"
	"tafe/loop/watchdog"
)

const (
	culpritsShown = 20
	overrunsShown = 20
	routesShown   = 50
	waitingMax    = 10_000 // most waits for a held loop that are counted in the lag
)

// Frame is one message of /events. Durations are in milliseconds. Rates are per second, over the
// last ten seconds.
type Frame struct {
	At       time.Time       `json:"at"`
	Uptime   float64         `json:"uptime_s"`
	Status   string          `json:"status"` // ok, draining or stuck
	Host     string          `json:"host"`
	Addr     string          `json:"addr"` // first address that the server listens on
	PID      int             `json:"pid"`
	Version  string          `json:"version"`
	Budget   watchdog.Millis `json:"budget_ms"`
	Watchdog bool            `json:"watchdog"`

	Rate     float64         `json:"rate"`
	Failures float64         `json:"failures"` // responses with status 500 or above, per second
	P50      watchdog.Millis `json:"p50_ms"`
	P99      watchdog.Millis `json:"p99_ms"`
	P999     watchdog.Millis `json:"p999_ms"`
	Lag50    watchdog.Millis `json:"lag_p50_ms"`
	Lag99    watchdog.Millis `json:"lag_p99_ms"`
	Conns    int             `json:"conns"`
	ConnsMax int             `json:"conns_max"`
	Active   int             `json:"active"`
	Refused  uint64          `json:"refused"` // total of refused messages and connections
	In       float64         `json:"bytes_in"`
	Out      float64         `json:"bytes_out"`
	Rates    []float64       `json:"rates"` // request rate of each step, oldest first

	Loops     []LoopRow    `json:"lanes"`
	Culprits  []Culprit    `json:"culprits"`
	Overruns  []OverrunRow `json:"overruns"` // newest first
	Routes    []RouteRow   `json:"routes"`
	Upstreams []Upstream   `json:"upstreams,omitempty"`
	Problems  []string     `json:"problems,omitempty"` // unusable parts of the configuration

	Certificates []Certificate `json:"certificates,omitempty"` // those that expire first
}

// LoopRow is a loop and its last minute. Columns has one character per step, oldest first: a digit
// for the share of time that the loop was busy, in tenths, x if a slice exceeded the budget, and .
// if nothing is known.
type LoopRow struct {
	LoopState
	Columns string `json:"columns"`
}

// OverrunRow is an overrun without its stacks.
type OverrunRow struct {
	ID       uint64           `json:"id"`
	Final    bool             `json:"final"`
	Loop     int              `json:"loop"`
	Started  time.Time        `json:"started"`
	Held     watchdog.Millis  `json:"held_ms"`
	Ran      watchdog.Millis  `json:"ran_ms"`
	Released bool             `json:"released"`
	Verdict  watchdog.Verdict `json:"verdict"`
	Blamed   bool             `json:"blamed"`
	Method   string           `json:"method"`
	Path     string           `json:"path"`
	Key      string           `json:"key"`
	Victims  int              `json:"victims"`
	Cost     watchdog.Millis  `json:"victim_ms"`
}

// RouteRow is the traffic of one route over the last ten seconds. Total counts from the start.
type RouteRow struct {
	Route    string          `json:"route"`
	Rate     float64         `json:"rate"`
	Failures float64         `json:"failures"`
	P50      watchdog.Millis `json:"p50_ms"`
	P99      watchdog.Millis `json:"p99_ms"`
	Total    uint64          `json:"total"`
	// Slices are the expected lengths of the slices of a request, first to last; of several loops the largest.
	Slices []watchdog.Millis `json:"slices_ms,omitempty"`
}

// frame returns the current frame.
func (d *dashboard) frame() Frame {
	_, requests := d.survey.results()
	states, recent := d.states(), d.recent()
	f := Frame{
		At: d.clock(), Uptime: d.clock().Sub(d.started).Seconds(), Status: d.status(), Budget: watchdog.Millis(d.config.Budget),
		Watchdog: d.config.Watchdog != nil, Conns: d.config.Server.Engine().Conns(), ConnsMax: requests.ConnMax, Active: requests.Active,
		Host: d.host, Addr: d.config.Server.Addr().String(), PID: os.Getpid(), Version: d.config.Version,
		Refused: requests.Refused, Culprits: d.culprits(culpritsShown, recent), Overruns: overrunRows(recent),
	}
	for _, n := range requests.Reasons {
		f.Refused += n
	}
	if d.config.Upstreams != nil {
		f.Upstreams = d.config.Upstreams()
	}
	if d.config.Problems != nil {
		f.Problems = d.config.Problems()
	}
	if d.config.CertificateList != nil {
		all := d.config.CertificateList()
		f.Certificates = all[:min(len(all), certificatesShown)]
	}
	h := d.history
	h.mu.Lock()
	defer h.mu.Unlock()
	f.Rates = slices.Clone(h.rates)
	for i, s := range states {
		f.Loops = append(f.Loops, LoopRow{s, string(h.columns[i])})
	}
	from, to, passed := h.window()
	f.measure(from, to, passed, states)
	return f
}

func (d *dashboard) status() string {
	switch {
	case len(d.stuck()) > 0:
		return "stuck"
	case d.config.Server.Draining():
		return "draining"
	}
	return "ok"
}

// expectedSlices returns RouteRow.Slices of a route.
func expectedSlices(states []LoopState, route string) (largest []watchdog.Millis) {
	for _, s := range states {
		for i, d := range s.Estimates[route] {
			if i == len(largest) {
				largest = append(largest, d)
			}
			largest[i] = max(largest[i], d)
		}
	}
	return largest
}

// measure sets rates and percentiles for the time between two moments. Tasks that wait for a held
// loop are not in the loop's counters yet. Their waits so far are added to the lag while the loop
// is held.
func (f *Frame) measure(from, to moment, passed time.Duration, states []LoopState) {
	f.Routes = []RouteRow{}
	if passed <= 0 {
		return
	}
	before := map[string]*routeTraffic{}
	for _, r := range from.routes {
		before[r.name] = r
	}
	all := to.total.since(&from.total)
	f.Rate, f.Failures, f.P50, f.P99 = all.row(passed)
	f.P999 = watchdog.Millis(all.duration.Quantile(0.999))
	for _, r := range to.routes {
		row := RouteRow{Route: r.name}
		row.Rate, row.Failures, row.P50, row.P99 = r.since(before[r.name]).row(passed)
		row.Total, _ = r.count()
		f.Routes = append(f.Routes, row)
	}
	slices.SortStableFunc(f.Routes, func(a, b RouteRow) int { return compareRows(a, b) })
	f.Routes = f.Routes[:min(len(f.Routes), routesShown)]
	for i := range f.Routes {
		f.Routes[i].Slices = expectedSlices(states, f.Routes[i].Route)
	}
	var lag loop.Histogram
	for i := range to.loops {
		newer, older := &to.loops[i], &from.loops[i]
		lag.Add(&newer.lags)
		lag.Sub(&older.lags)
		f.In += float64(newer.stats.BytesIn-older.stats.BytesIn) / passed.Seconds()
		f.Out += float64(newer.stats.BytesOut-older.stats.BytesOut) / passed.Seconds()
	}
	for i := range states {
		for range min(states[i].Waiting, waitingMax) {
			lag.Observe(time.Duration(states[i].For))
		}
	}
	f.Lag50, f.Lag99 = watchdog.Millis(lag.Quantile(0.5)), watchdog.Millis(lag.Quantile(0.99))
}

// compareRows sorts routes by requests, then by name, so that rows keep their order.
func compareRows(a, b RouteRow) int {
	switch {
	case a.Total > b.Total:
		return -1
	case a.Total < b.Total:
		return 1
	}
	return strings.Compare(a.Route, b.Route)
}

func overrunRows(recent []watchdog.Overrun) []OverrunRow {
	all := make([]OverrunRow, 0, overrunsShown)
	for _, o := range recent[:min(len(recent), overrunsShown)] {
		all = append(all, OverrunRow{o.ID, o.Final, o.Loop, o.Started, o.Held, o.Ran, o.Released, o.Verdict, o.Blamed, o.Method, o.Path, o.Key, o.Victims.Count, o.Victims.Total})
	}
	return all
}
