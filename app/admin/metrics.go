// /metrics: all counters as Prometheus series. A scrape only converts what is counted elsewhere.
// newSeries lists the labels. Their values are bounded: loops, registered routes, common methods, statuses, reasons, verdicts,
// upstreams with their servers, listeners, names of certificates, and logs.

package admin

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

// unmatched is the route label of requests that matched no route.
const unmatched = "unmatched"

// bounds are the buckets of exported histograms, from 10 us to 50 s. loop.Histogram is exact at
// these values.
var bounds = func() (all []time.Duration) {
	for decade := 10 * time.Microsecond; decade <= 10*time.Second; decade *= 10 {
		all = append(all, decade, 2*decade, 5*decade)
	}
	return all
}()

// series has the descriptions of all series except those of the Go runtime and the process.
type series struct {
	all []*prometheus.Desc

	requests, duration, queue, active, refusals, protocols, connsHTTP2 *prometheus.Desc
	eventStreams, webSockets, webSocketMessages                        *prometheus.Desc

	slices, lag, held, age, stale, queued, timers, tasks, tasksStarted, panics *prometheus.Desc
	waiting, dialed, dials                                                     *prometheus.Desc
	conns, opened, connsMax, refused, acceptErrors, bytesIn, bytesOut          *prometheus.Desc
	overrunRun, routeOverrunRun                                                *prometheus.Desc
	handoffs, released, routeHandoffs                                          *prometheus.Desc
	draining, uptime, introspection                                            *prometheus.Desc

	watched, budget, overrunsActive, overruns, overrunTime, victims, victimTime *prometheus.Desc
	routeSlices, routeOverruns, routeOverrunTime, routeVictimTime               *prometheus.Desc

	upstreamUp, upstreamWeight, upstreamActive, upstreamRequests, upstreamFailures *prometheus.Desc
	upstreamWaiting, upstreamRefused, upstreamLookups, upstreamGRPC, grpc          *prometheus.Desc
	spans, spansExported, spansFailed                                              *prometheus.Desc

	daysLeft, certificateProblem, certificatesIssued, certificatesFailed, certificatesRefused *prometheus.Desc

	build, certificate, reloads, reloadsFailed, watchdogLost, logDropped, configProblems *prometheus.Desc
}

func newSeries() *series {
	s := &series{}
	of := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("tafe_"+name, help, labels, nil)
		s.all = append(s.all, d)
		return d
	}
	s.requests = of("requests_total", "Responses by route, method and status.", "route", "method", "status")
	s.duration = of("request_duration_seconds", "Time from the arrival of the request head to the end of the response.", "route")
	s.queue = of("request_queue_seconds", "Time that requests waited for earlier requests on the same connection.", "loop")
	s.active = of("requests_active", "Requests in flight.", "loop")
	s.grpc = of("grpc_requests_total", "Requests of gRPC, by the name of the status that was sent; UNKNOWN if none was.", "code")
	s.refusals = of("refusals_total", "Refused messages and aborted responses, by reason.", "reason")

	s.protocols = of("protocol_requests_total", "Requests that reached a handler, by protocol version.", "protocol")
	s.connsHTTP2 = of("connections_http2", "Open accepted connections that use HTTP/2.", "loop")
	s.eventStreams = of("event_streams", "Open streams of server-sent events.", "loop")
	s.webSockets = of("websockets", "Open WebSockets.", "loop")
	s.webSocketMessages = of("websocket_messages_total", "Messages of WebSockets.", "loop", "direction")

	s.slices = of("slice_duration_seconds", "Length of slices, the uninterrupted runs of tasks.", "loop")
	s.lag = of("loop_lag_seconds", "Time from a task becoming ready to its loop running it.", "loop")
	s.held = of("loop_held_seconds", "Time since the current slice or callback of the loop began; 0 while the loop waits for events.", "loop")
	s.age = of("loop_report_age_seconds", "Time since the last turn of the loop. Idle loops turn once a second.", "loop")
	s.stale = of("loop_stale", "1 if the loop is held beyond its budget or has stopped turning, so that its counters do not advance.", "loop")
	s.queued = of("loop_queued_tasks", "Tasks ready to run.", "loop")
	s.timers = of("loop_timers", "Armed timers.", "loop")
	s.tasks = of("loop_tasks", "Live tasks.", "loop")
	s.tasksStarted = of("loop_tasks_started_total", "Tasks started.", "loop")
	s.panics = of("loop_panics_total", "Tasks that ended with a panic.", "loop")
	s.handoffs = of("loop_handoffs_total", "Handoffs: slices that ran on after their loop was taken over.", "loop")
	s.released = of("loop_released_tasks", "Tasks whose code runs beside the loop.", "loop")
	s.routeHandoffs = of("route_handoffs_total", "Handoffs caused by requests of the route.", "route")
	s.conns = of("connections", "Open accepted connections.", "loop")
	s.dialed = of("connections_dialed", "Open outgoing connections, such as to upstreams.", "loop")
	s.opened = of("connections_opened_total", "Connections accepted.", "loop")
	s.dials = of("connections_dialed_total", "Outgoing connections made.", "loop")
	s.waiting = of("loop_waiting", "Approximate number of tasks and connections that wait for a loop held beyond its budget.", "loop")
	s.connsMax = of("connections_max", "Limit of accepted connections.")
	s.refused = of("connections_refused_total", "Connections refused because of the limit.")
	s.acceptErrors = of("accept_errors_total", "Failed accepts, for example for lack of file descriptors.")
	s.bytesIn = of("received_bytes_total", "Bytes read from connections.", "loop")
	s.bytesOut = of("sent_bytes_total", "Bytes written to connections.", "loop")
	s.draining = of("draining", "1 while the server drains.")
	s.uptime = of("uptime_seconds", "Time since the admin listener started.")

	s.introspection = of("runtime_introspection", "1 if this part of the Go runtime can be inspected with the Go release of the build.", "part")

	s.watched = of("watchdog_enabled", "1 if the watchdog watches the loops.")
	s.budget = of("slice_budget_seconds", "Slice budget of routes without one of their own.")
	s.overrunsActive = of("overruns_active", "Overruns that are not over.")
	s.overruns = of("overruns_total", "Slices whose code ran beyond their budget.", "verdict")
	s.overrunTime = of("overrun_seconds_total", "Time that overruns held their loops.", "verdict")
	s.overrunRun = of("overrun_run_seconds_total", "Time that the code of overruns ran, on its loop and beside it.", "verdict")
	s.victims = of("overrun_victims_total", "Tasks delayed by overruns.", "verdict")
	s.victimTime = of("overrun_victim_seconds_total", "Time that overruns delayed other tasks.", "verdict")
	s.routeSlices = of("route_slice_duration_seconds", "Length of slices by route; none stands for slices outside requests.", "route")
	s.routeOverruns = of("route_overruns_total", "Overruns blamed on the code of the route.", "route")
	s.routeOverrunTime = of("route_overrun_seconds_total", "Time that overruns of the route held their loops.", "route")
	s.routeOverrunRun = of("route_overrun_run_seconds_total", "Time that the code of the route's overruns ran.", "route")
	s.routeVictimTime = of("route_overrun_victim_seconds_total", "Time that overruns of the route delayed other tasks.", "route")

	s.upstreamUp = of("upstream_up", "1 if the upstream server is considered healthy.", "upstream", "addr")
	s.upstreamWeight = of("upstream_weight", "Weight of the upstream server.", "upstream", "addr")
	s.upstreamActive = of("upstream_requests_active", "Requests to the upstream server in flight.", "upstream", "addr")
	s.upstreamRequests = of("upstream_requests_total", "Requests to the upstream server.", "upstream", "addr")
	s.upstreamFailures = of("upstream_failures_total", "Failed requests to the upstream server.", "upstream", "addr")
	s.upstreamGRPC = of("upstream_grpc_responses_total", "Complete responses of gRPC by the upstream server, by the name of their status.", "upstream", "addr", "code")
	s.upstreamWaiting = of("upstream_requests_waiting", "Requests that wait for a server of the upstream.", "upstream")
	s.upstreamRefused = of("upstream_requests_refused_total", "Requests without a server: none was available, too many waited, or the wait was too long.", "upstream", "reason")
	s.upstreamLookups = of("upstream_lookups_failed_total", "Failed lookups of host names of the upstream.", "upstream")
	s.logDropped = of("log_lines_dropped_total", "Log lines dropped because the log's reader or disk was too slow.", "log")
	s.configProblems = of("config_problems", "Parts of the configuration that cannot be used, such as certificates or directories. The live page lists them.")
	s.spans = of("spans_total", "Ended spans. Spans neither exported nor failed are queued or were dropped.")
	s.spansExported = of("spans_exported_total", "Spans exported to the collector.")
	s.spansFailed = of("spans_failed_total", "Spans whose export failed.")

	s.build = of("build_info", "Always 1; the label is the version of the server.", "version")
	s.certificate = of("certificate_expires_timestamp_seconds", "Earliest expiry of the listener's certificates.", "addr")
	s.daysLeft = of("certificate_days_left", "Days until the certificate expires; negative once it has.", "name", "source")
	s.certificateProblem = of("certificate_problem", "1 if the name has no certificate, or one that has expired or could not be renewed.", "name", "source")
	s.certificatesIssued = of("certificates_issued_total", "Certificates that this process has obtained or renewed.")
	s.certificatesFailed = of("certificates_failed_total", "Failed attempts to obtain or renew a certificate.")
	s.certificatesRefused = of("certificates_refused_total", "Handshakes for names that get no certificate on demand.")
	s.reloads = of("config_reloads_total", "Configuration reloads.")
	s.reloadsFailed = of("config_reloads_failed_total", "Failed reloads, after which the previous configuration stays in use.")
	s.watchdogLost = of("watchdog_records_lost_total", "Watchdog records that its log or file did not get.")
	return s
}

// collector implements prometheus.Collector.
type collector struct {
	*series
	dashboard *dashboard
}

func (d *dashboard) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{newSeries(), d}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.all {
		out <- d
	}
}

// Collect emits all series.
func (c collector) Collect(out chan<- prometheus.Metric) {
	asked := c.dashboard.clock()
	e := emitter{out}
	last, requests := c.dashboard.survey.results()
	c.loopSeries(e, last)
	c.requestSeries(e, requests)
	c.handoffSeries(e)
	c.watchdogSeries(e)
	if c.dashboard.config.Upstreams != nil {
		c.upstreamSeries(e, c.dashboard.config.Upstreams())
	}
	if c.dashboard.config.UpstreamGroups != nil {
		for _, u := range c.dashboard.config.UpstreamGroups() {
			e.gauge(c.upstreamWaiting, float64(u.Waiting), u.Name)
			e.counter(c.upstreamRefused, float64(u.NoServer), u.Name, "none")
			e.counter(c.upstreamRefused, float64(u.QueueFull), u.Name, "full")
			e.counter(c.upstreamRefused, float64(u.QueueTimeouts), u.Name, "timeout")
			e.counter(c.upstreamLookups, float64(u.LookupsFailed), u.Name)
		}
	}
	if c.dashboard.config.Problems != nil {
		e.gauge(c.configProblems, float64(len(c.dashboard.config.Problems())))
	}
	if c.dashboard.config.LogLinesDropped != nil {
		for log, n := range c.dashboard.config.LogLinesDropped() {
			e.counter(c.logDropped, float64(n), log)
		}
	}
	if c.dashboard.config.Spans != nil {
		ended, exported, failed := c.dashboard.config.Spans()
		e.counter(c.spans, float64(ended))
		e.counter(c.spansExported, float64(exported))
		e.counter(c.spansFailed, float64(failed))
	}
	c.certificateSeries(e)
	c.buildSeries(e)
	e.gauge(c.draining, flag(c.dashboard.config.Server.Draining()))
	e.gauge(c.uptime, asked.Sub(c.dashboard.started).Seconds())
	e.gauge(c.budget, c.dashboard.config.Budget.Seconds())
	degraded := loop.Runtime().Missing()
	for _, part := range loop.Runtime().Parts() {
		e.gauge(c.introspection, flag(!slices.Contains(degraded, part)), part)
	}
}

// buildSeries emits the build, certificates of listeners, reloads, and lost records of the watchdog.
func (c collector) buildSeries(e emitter) {
	config := &c.dashboard.config
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

// staleMin is the time without a turn after which a loop's series are called stale.
const staleMin = 200 * time.Millisecond

func (c collector) loopSeries(e emitter, last []loopSnapshot) {
	loops := c.dashboard.config.Server.Engine().Loops()
	held := c.dashboard.config.Server.Engine().Stuck(staleMin)
	for i := range last {
		t, n := &last[i], strconv.Itoa(i)
		now := look(loops[i], c.dashboard.config.Budget)
		e.gauge(c.held, time.Duration(now.For).Seconds(), n)
		e.gauge(c.waiting, float64(now.Waiting), n)
		e.gauge(c.age, t.sinceTurn.Seconds(), n)
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
		e.gauge(c.connsHTTP2, float64(stats.Loops[i].ConnsHTTP2), n)
		e.gauge(c.eventStreams, float64(stats.Loops[i].EventStreams), n)
		e.gauge(c.webSockets, float64(stats.Loops[i].WebSockets.Open), n)
		e.counter(c.webSocketMessages, float64(stats.Loops[i].WebSockets.In), n, "received")
		e.counter(c.webSocketMessages, float64(stats.Loops[i].WebSockets.Out), n, "sent")
	}
	stats.EachProto(func(proto string, requests uint64) { e.counter(c.protocols, float64(requests), proto) })
	for _, r := range routesOf(stats) {
		e.histogram(c.duration, &r.duration, r.name)
		for key, n := range r.answers {
			e.counter(c.requests, float64(n), r.name, key.method, strconv.Itoa(key.status))
		}
	}
	for reason, n := range stats.Reasons {
		e.counter(c.refusals, float64(n), reason)
	}
	for code, n := range stats.GRPC {
		if n > 0 {
			e.counter(c.grpc, float64(n), app.GRPCCodes[code])
		}
	}
	e.gauge(c.connsMax, float64(stats.ConnMax))
	e.counter(c.refused, float64(stats.Refused))
	e.counter(c.acceptErrors, float64(stats.AcceptErrors))
}

// handoffSeries emits handoffs by route name.
func (c collector) handoffSeries(e emitter) {
	byName := map[string]uint64{}
	for _, r := range c.dashboard.config.Server.App().Routes() {
		name := r.Name
		if _, known := byName[name]; !known && len(byName) >= routesMax {
			name = watchdog.OtherRoutes
		}
		byName[name] += r.Handoffs()
	}
	for name, n := range byName {
		e.counter(c.routeHandoffs, float64(n), name)
	}
}

func (c collector) watchdogSeries(e emitter) {
	e.gauge(c.watched, flag(c.dashboard.config.Watchdog != nil))
	dog := c.dashboard.config.Watchdog
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
			continue // listed twice; a series must be unique
		} else {
			seen[key] = true
		}
		e.gauge(c.upstreamUp, flag(u.Up), u.Name, u.Addr)
		e.gauge(c.upstreamWeight, float64(u.Weight), u.Name, u.Addr)
		e.gauge(c.upstreamActive, float64(u.Active), u.Name, u.Addr)
		e.counter(c.upstreamRequests, float64(u.Requests), u.Name, u.Addr)
		e.counter(c.upstreamFailures, float64(u.Failures), u.Name, u.Addr)
		for code, n := range u.GRPC {
			e.counter(c.upstreamGRPC, float64(n), u.Name, u.Addr, code)
		}
	}
}

func seconds(m watchdog.Millis) float64 { return time.Duration(m).Seconds() }

func flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// emitter sends metrics to a channel.
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
