package admin

// /metrics: what the survey and the account know, as Prometheus series. Everything is counted elsewhere; a scrape only turns it
// into text. The labels are bounded: loops, routes as registered, common methods, statuses, reasons and verdicts.

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/watchdog"
)

// unmatched is the label of requests that no route took.
const unmatched = "unmatched"

// bounds are the buckets of the exported histograms: those of loop.Histogram that it is exact for, where servers live.
var bounds = func() (all []time.Duration) {
	for decade := 10 * time.Microsecond; decade <= 10*time.Second; decade *= 10 {
		all = append(all, decade, 2*decade, 5*decade)
	}
	return all
}()

// series are the descriptions of all series but the Go runtime's and the process's.
type series struct {
	all []*prometheus.Desc

	requests, duration, queue, active, refusals *prometheus.Desc

	slices, lag, held, age, stale, queued, timers, tasks, tasksStarted, panics *prometheus.Desc
	waiting, dialed, dials                                                     *prometheus.Desc
	conns, opened, connsMax, refused, acceptErrors, bytesIn, bytesOut          *prometheus.Desc
	overrunRun, routeOverrunRun                                                *prometheus.Desc
	handoffs, released, routeHandoffs                                          *prometheus.Desc
	draining, uptime, introspection                                            *prometheus.Desc

	watched, budget, overrunsActive, overruns, overrunTime, victims, victimTime *prometheus.Desc
	routeSlices, routeOverruns, routeOverrunTime, routeVictimTime               *prometheus.Desc

	upstreamUp, upstreamActive, upstreamRequests, upstreamFailures *prometheus.Desc
	spans, spansExported, spansFailed                              *prometheus.Desc

	build, certificate, reloads, reloadsFailed, watchdogLost, logDropped, configProblems *prometheus.Desc
}

func newSeries() *series {
	s := &series{}
	of := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("tafe_"+name, help, labels, nil)
		s.all = append(s.all, d)
		return d
	}
	s.requests = of("requests_total", "Answers of routes.", "route", "method", "status")
	s.duration = of("request_duration_seconds", "From the arrival of a request's head to the end of its answer.", "route")
	s.queue = of("request_queue_seconds", "What requests waited behind others of their connection.", "loop")
	s.active = of("requests_active", "Requests whose handler has not ended.", "loop")
	s.refusals = of("refusals_total", "Messages refused and answers broken off, by reason.", "reason")

	s.slices = of("slice_duration_seconds", "Uninterrupted runs of tasks.", "loop")
	s.lag = of("loop_lag_seconds", "From when a task could run to when its loop ran it.", "loop")
	s.held = of("loop_held_seconds", "For how long the loop has been running what it runs now; 0 when it waits.", "loop")
	s.age = of("loop_report_age_seconds", "Since the loop last turned; idle loops turn once a second.", "loop")
	s.stale = of("loop_stale", "1 if the loop is held beyond the budget, or nobody drives it: its counters stand still.", "loop")
	s.queued = of("loop_queued_tasks", "Tasks that are ready to run.", "loop")
	s.timers = of("loop_timers", "Timers that are armed.", "loop")
	s.tasks = of("loop_tasks", "Tasks alive.", "loop")
	s.tasksStarted = of("loop_tasks_started_total", "Tasks started.", "loop")
	s.panics = of("loop_panics_total", "Tasks that ended by a panic.", "loop")
	s.handoffs = of("loop_handoffs_total", "Slices whose loop was handed over while they ran.", "loop")
	s.released = of("loop_released_tasks", "Tasks whose code runs beside the loop.", "loop")
	s.routeHandoffs = of("route_handoffs_total", "Handoffs of loops from the route's requests.", "route")
	s.conns = of("connections", "Open connections that were accepted.", "loop")
	s.dialed = of("connections_dialed", "Open connections to others, such as upstreams.", "loop")
	s.opened = of("connections_opened_total", "Connections accepted.", "loop")
	s.dials = of("connections_dialed_total", "Connections made to others.", "loop")
	s.waiting = of("loop_waiting", "About how many tasks and connections wait for a loop that is held beyond its budget.", "loop")
	s.connsMax = of("connections_max", "The bound on accepted connections.")
	s.refused = of("connections_refused_total", "Connections beyond the bound.")
	s.acceptErrors = of("accept_errors_total", "Accepts that failed, such as those for want of a descriptor.")
	s.bytesIn = of("received_bytes_total", "Bytes read from connections.", "loop")
	s.bytesOut = of("sent_bytes_total", "Bytes written to connections.", "loop")
	s.draining = of("draining", "1 while the server drains.")
	s.uptime = of("uptime_seconds", "Since the admin listener started.")

	s.introspection = of("runtime_introspection", "1 if what tafe reads of the Go runtime beyond its API works with this Go release.", "part")

	s.watched = of("watchdog_enabled", "1 if the watchdog watches the loops.")
	s.budget = of("slice_budget_seconds", "What a slice may take where its route does not say otherwise.")
	s.overrunsActive = of("overruns_active", "Overruns that are going on.")
	s.overruns = of("overruns_total", "Slices whose code ran beyond their budget.", "verdict")
	s.overrunTime = of("overrun_seconds_total", "Time that overruns held their loops.", "verdict")
	s.overrunRun = of("overrun_run_seconds_total", "Time that the code of overruns ran, on their loops and beside them.", "verdict")
	s.victims = of("overrun_victims_total", "Tasks that overruns kept waiting.", "verdict")
	s.victimTime = of("overrun_victim_seconds_total", "Time that tasks waited for overruns.", "verdict")
	s.routeSlices = of("route_slice_duration_seconds", "Uninterrupted runs of a route's tasks; of all others the route is none.", "route")
	s.routeOverruns = of("route_overruns_total", "Overruns that the route's code is to blame for.", "route")
	s.routeOverrunTime = of("route_overrun_seconds_total", "Time that those held their loops.", "route")
	s.routeOverrunRun = of("route_overrun_run_seconds_total", "Time that the code of those ran.", "route")
	s.routeVictimTime = of("route_overrun_victim_seconds_total", "Time that other tasks waited for those.", "route")

	s.upstreamUp = of("upstream_up", "1 if the upstream is thought healthy.", "upstream", "addr")
	s.upstreamActive = of("upstream_requests_active", "Requests to the upstream in flight.", "upstream", "addr")
	s.upstreamRequests = of("upstream_requests_total", "Requests to the upstream.", "upstream", "addr")
	s.upstreamFailures = of("upstream_failures_total", "Requests to the upstream that failed.", "upstream", "addr")
	s.logDropped = of("log_lines_dropped_total", "Lines that were not written because the log's reader or disk did not take them.", "log")
	s.configProblems = of("config_problems", "Parts of the configuration that cannot be used, such as certificates and directories; the page names them.")
	s.spans = of("spans_total", "Spans of tracing that ended. What is neither exported nor failed waits, or was dropped.")
	s.spansExported = of("spans_exported_total", "Spans that the collector has taken.")
	s.spansFailed = of("spans_failed_total", "Spans whose export failed.")

	s.build = of("build_info", "1; the label says what runs.", "version")
	s.certificate = of("certificate_expires_timestamp_seconds", "When the first of a listener's certificates expires.", "addr")
	s.reloads = of("config_reloads_total", "Reloads of the configuration that were tried.")
	s.reloadsFailed = of("config_reloads_failed_total", "Reloads that failed: the configuration before goes on.")
	s.watchdogLost = of("watchdog_records_lost_total", "Records of the watchdog that its log and its file did not get.")
	return s
}

// collector is the desk as Prometheus sees it.
type collector struct {
	*series
	desk *desk
}

func (d *desk) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{newSeries(), d}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.all {
		out <- d
	}
}

// Collect lists what is known.
func (c collector) Collect(out chan<- prometheus.Metric) {
	asked := c.desk.clock()
	e := emitter{out}
	last, requests := c.desk.survey.results()
	c.loopSeries(e, last)
	c.requestSeries(e, requests)
	c.handoffSeries(e)
	c.watchdogSeries(e)
	if c.desk.config.Upstreams != nil {
		c.upstreamSeries(e, c.desk.config.Upstreams())
	}
	if c.desk.config.Problems != nil {
		e.gauge(c.configProblems, float64(len(c.desk.config.Problems())))
	}
	if c.desk.config.LogLinesDropped != nil {
		for log, n := range c.desk.config.LogLinesDropped() {
			e.counter(c.logDropped, float64(n), log)
		}
	}
	if c.desk.config.Spans != nil {
		ended, exported, failed := c.desk.config.Spans()
		e.counter(c.spans, float64(ended))
		e.counter(c.spansExported, float64(exported))
		e.counter(c.spansFailed, float64(failed))
	}
	c.buildSeries(e)
	e.gauge(c.draining, flag(c.desk.config.Server.Draining()))
	e.gauge(c.uptime, asked.Sub(c.desk.started).Seconds())
	e.gauge(c.budget, c.desk.config.Budget.Seconds())
	degraded := loop.Runtime().Missing()
	for _, part := range loop.Runtime().Parts() {
		e.gauge(c.introspection, flag(!slices.Contains(degraded, part)), part)
	}
}

// buildSeries are what the one who runs the server tells of it.
func (c collector) buildSeries(e emitter) {
	config := &c.desk.config
	e.gauge(c.build, 1, config.Version)
	if config.Certificates != nil {
		for addr, expires := range config.Certificates() {
			e.gauge(c.certificate, float64(expires.Unix()), addr)
		}
	}
	if config.Reloads != nil {
		all, failed := config.Reloads()
		e.counter(c.reloads, float64(all))
		e.counter(c.reloadsFailed, float64(failed))
	}
	if config.Watchdog != nil {
		e.counter(c.watchdogLost, float64(config.Watchdog.Lost()))
	}
}

// staleMin is for how long a loop does not turn before its series are called stale.
const staleMin = 200 * time.Millisecond

func (c collector) loopSeries(e emitter, last []told) {
	loops := c.desk.config.Server.Engine().Loops()
	held := c.desk.config.Server.Engine().Stuck(staleMin)
	for i := range last {
		t, n := &last[i], strconv.Itoa(i)
		now := look(loops[i], c.desk.config.Budget)
		e.gauge(c.held, time.Duration(now.For).Seconds(), n)
		e.gauge(c.waiting, float64(now.Waiting), n)
		e.gauge(c.age, t.silent.Seconds(), n)
		e.gauge(c.stale, flag(now.State == stateOverrun || slices.Contains(held, i)), n)
		e.gauge(c.queued, float64(t.stats.Queued), n)
		e.gauge(c.timers, float64(t.stats.Timers), n)
		e.gauge(c.tasks, float64(t.stats.TasksAlive), n)
		e.gauge(c.conns, float64(t.stats.Conns-t.stats.ConnsDialed), n)
		e.gauge(c.dialed, float64(t.stats.ConnsDialed), n)
		e.counter(c.dials, float64(t.stats.Dialed), n)
		e.counter(c.handoffs, float64(t.stats.Handoffs), n)
		e.gauge(c.released, float64(t.stats.Released), n)
		e.counter(c.tasksStarted, float64(t.stats.Tasks), n)
		e.counter(c.panics, float64(t.stats.Panics), n)
		e.counter(c.opened, float64(t.stats.Opened-t.stats.Dialed), n)
		e.counter(c.bytesIn, float64(t.stats.BytesIn), n)
		e.counter(c.bytesOut, float64(t.stats.BytesOut), n)
		e.histogram(c.slices, &t.slices, n)
		e.histogram(c.lag, &t.lags, n)
	}
}

func (c collector) requestSeries(e emitter, stats app.Stats) {
	for i := range stats.Loops {
		n := strconv.Itoa(i)
		e.histogram(c.queue, &stats.Loops[i].Queued, n)
		e.gauge(c.active, float64(stats.Loops[i].Active), n)
	}
	for _, r := range routesOf(stats) {
		e.histogram(c.duration, &r.duration, r.name)
		for key, n := range r.answers {
			e.counter(c.requests, float64(n), r.name, key.method, strconv.Itoa(key.status))
		}
	}
	for reason, n := range stats.Reasons {
		e.counter(c.refusals, float64(n), reason)
	}
	e.gauge(c.connsMax, float64(stats.ConnMax))
	e.counter(c.refused, float64(stats.Refused))
	e.counter(c.acceptErrors, float64(stats.AcceptErrors))
}

// handoffSeries adds up by name, as traffic does.
func (c collector) handoffSeries(e emitter) {
	byName := map[string]uint64{}
	for _, r := range c.desk.config.Server.App().Routes() {
		name := r.Name
		if _, known := byName[name]; !known && len(byName) >= routesMax {
			name = otherRoute
		}
		byName[name] += r.Handoffs()
	}
	for name, n := range byName {
		e.counter(c.routeHandoffs, float64(n), name)
	}
}

func (c collector) watchdogSeries(e emitter) {
	e.gauge(c.watched, flag(c.desk.config.Watchdog != nil))
	dog := c.desk.config.Watchdog
	if dog == nil {
		return
	}
	totals := dog.Totals()
	e.gauge(c.overrunsActive, float64(totals.Active))
	for _, verdict := range watchdog.Verdicts {
		t := totals.Verdicts[verdict]
		e.counter(c.overruns, float64(t.Overruns), string(verdict))
		e.counter(c.overrunTime, seconds(t.Held), string(verdict))
		e.counter(c.overrunRun, seconds(t.Ran), string(verdict))
		e.counter(c.victims, float64(t.Victims), string(verdict))
		e.counter(c.victimTime, seconds(t.Cost), string(verdict))
	}
	for _, r := range dog.Routes() {
		if r.Slices.Count() > 0 {
			e.histogram(c.routeSlices, &r.Slices, cmp.Or(r.Route, watchdog.NoRoute))
		}
	}
	for route, t := range totals.Routes {
		e.counter(c.routeOverruns, float64(t.Overruns), route)
		e.counter(c.routeOverrunTime, seconds(t.Held), route)
		e.counter(c.routeOverrunRun, seconds(t.Ran), route)
		e.counter(c.routeVictimTime, seconds(t.Cost), route)
	}
}

func (c collector) upstreamSeries(e emitter, upstreams []Upstream) {
	type address struct{ name, addr string }
	seen := map[address]bool{}
	for _, u := range upstreams {
		if key := (address{u.Name, u.Addr}); seen[key] {
			continue // listed twice: a series is there once
		} else {
			seen[key] = true
		}
		e.gauge(c.upstreamUp, flag(u.Up), u.Name, u.Addr)
		e.gauge(c.upstreamActive, float64(u.Active), u.Name, u.Addr)
		e.counter(c.upstreamRequests, float64(u.Requests), u.Name, u.Addr)
		e.counter(c.upstreamFailures, float64(u.Failures), u.Name, u.Addr)
	}
}

func seconds(m watchdog.Millis) float64 { return time.Duration(m).Seconds() }

func flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// emitter turns numbers into metrics.
type emitter struct{ out chan<- prometheus.Metric }

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (e emitter) counter(d *prometheus.Desc, v float64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (e emitter) histogram(d *prometheus.Desc, h *loop.Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(bounds))
	for _, bound := range bounds {
		buckets[bound.Seconds()] = h.AtMost(bound)
	}
	e.out <- prometheus.MustNewConstHistogram(d, h.Count(), h.Sum.Seconds(), buckets, labels...)
}
