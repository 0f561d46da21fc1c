// Tests of the routes on a real server with a route that holds the loop until it is released.

package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/reactor"
	"tafe/loop/watchdog"
)

// patience is the longest time that a test waits before it fails. It allows for slow machines.
const patience = 60 * time.Second

// gnet starts a pool of workers at init that never ends.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"))
}

// rig is a server with one loop, a watchdog and an admin listener.
type rig struct {
	t       *testing.T
	server  *app.Server
	admin   *Endpoint
	client  *http.Client
	release func() // ends /hold, now and from then on
	stop    func() // stops everything; called at the end of the test at the latest
}

func newRig(t *testing.T, upstreams func() []Upstream) *rig {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	held := make(chan struct{})
	r := &rig{t: t, client: &http.Client{Timeout: patience, Transport: &http.Transport{}}, release: sync.OnceFunc(func() { close(held) })}
	a := app.New(app.Options{Log: quiet})
	a.Get("/plaintext", func(c *app.Context) error { return c.String(200, "Hello, World!") })
	a.Get("/nap", func(c *app.Context) error {
		if err := c.Task().Sleep(time.Millisecond); err != nil {
			return err
		}
		return c.NoContent(204)
	})
	a.Get("/hold/{what}", func(c *app.Context) error {
		waitBadly(held)
		return c.NoContent(204)
	})
	dog := watchdog.New(watchdog.Config{Log: quiet})
	budget := 10 * time.Millisecond
	var err error
	r.server, err = app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1, Limits: reactor.Limits{Limits: loop.Limits{SliceBudget: budget}}, Handoff: -1, Observe: dog.Observe})
	require.NoError(t, err)
	dog.Start()
	r.admin, err = Listen("127.0.0.1:0")
	require.NoError(t, err)
	r.admin.Serve(Config{Server: r.server, Watchdog: dog, Budget: budget, Upstreams: upstreams, Log: quiet, Version: "v1.2.3",
		UpstreamGroups: func() []UpstreamGroup {
			return []UpstreamGroup{{Name: "bidders", Waiting: 8, QueueFull: 9, LookupsFailed: 10}}
		},
		Certificates: func() map[string]time.Time {
			return map[string]time.Time{"127.0.0.1:443": time.Unix(1_800_000_000, 0)}
		},
		CertificateList: func() []Certificate {
			return []Certificate{
				{Name: "new.example", Source: "acme", Problem: "no <b>answer</b>", Failures: 2, Next: time.Unix(1_800_000_000, 0)},
				{Name: "old.example", Source: "file", Issuer: "Test CA", Expires: time.Now().Add(-24 * time.Hour)},
				{Name: "a.example", Source: "on demand", Issuer: "Test CA", Expires: time.Now().Add(48 * time.Hour), Staple: "good"},
				{Name: "b.example", Source: "on demand", Issuer: "Test CA", Expires: time.Now().Add(480 * time.Hour)},
			}
		},
		CertificateCounts: func() CertificateCounts { return CertificateCounts{Issued: 4, Failed: 5, Refused: 6} },
		Reloads:           func() (all, failed uint64) { return 7, 2 }, LogLinesDropped: func() map[string]uint64 { return map[string]uint64{"log": 3} }})
	r.stop = sync.OnceFunc(func() {
		r.release()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		select {
		case <-r.server.Done():
		default:
			require.NoError(t, r.server.Stop(ctx))
		}
		dog.Stop()
		require.NoError(t, r.admin.Close())
		r.client.CloseIdleConnections()
	})
	t.Cleanup(r.stop)
	return r
}

// waitBadly holds the loop. A handler should wait through its Context instead.
//
//go:noinline
func waitBadly(held <-chan struct{}) { <-held }

// page is the address of the live page.
func (r *rig) page() string { return "http://" + r.admin.Addr().String() + "/" }

// get requests target from the admin listener.
func (r *rig) get(target string) (int, http.Header, string) {
	r.t.Helper()
	return r.fetch("http://" + r.admin.Addr().String() + target)
}

func (r *rig) fetch(address string) (int, http.Header, string) {
	r.t.Helper()
	response, err := r.client.Get(address)
	require.NoError(r.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	return response.StatusCode, response.Header, string(body)
}

// request requests target from the server.
func (r *rig) request(target string) int {
	r.t.Helper()
	status, _, _ := r.fetch("http://" + r.server.Addr().String() + target)
	return status
}

// hold holds the only loop. The returned function waits for the response after release.
func (r *rig) hold(what string) (answered func()) {
	r.t.Helper()
	status := make(chan int, 1)
	go func() {
		response, err := r.client.Get("http://" + r.server.Addr().String() + "/hold/" + url.PathEscape(what))
		if err != nil {
			status <- 0
			return
		}
		_ = response.Body.Close()
		status <- response.StatusCode
	}()
	r.await("the loop is held", func() bool { return r.overruns()[0].Route == "/hold/{what}" })
	return func() { require.Equal(r.t, 204, <-status) }
}

func (r *rig) overruns() []watchdog.Overrun {
	r.t.Helper()
	_, header, body := r.get("/overruns")
	require.Equal(r.t, "application/json", header.Get("Content-Type"))
	var all []watchdog.Overrun
	require.NoError(r.t, json.Unmarshal([]byte(body), &all), body)
	return append(all, watchdog.Overrun{}) // so that there is at least one
}

// await waits until met returns true.
func (r *rig) await(what string, met func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !met(); time.Sleep(5 * time.Millisecond) {
		require.True(r.t, time.Now().Before(end), "waited in vain: %s", what)
	}
}

func TestRoutes(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		target string
		status int
		want   string
		why    string
	}{
		{"/healthz", 200, "ok", "alive"},
		{"/readyz", 200, "ok", "ready"},
		{"/loops", 200, `"loop":0`, "a loop"},
		{"/overruns", 200, "[]", "no overrun is an empty list, not null"},
		{"/overruns?n=0", 400, "whole number", "none of them"},
		{"/overruns?n=1x", 400, "whole number", "trailing bytes"},
		{"/trace?seconds=1", 200, "traceEvents", "the format of Perfetto"},
		{"/trace?seconds=86400", 400, "from 1 to 3600", "longer than any recorder reaches back"},
		{"/", 200, "<title>tafe</title>", "the page"},
		{"/page.js", 200, "EventSource", "its script"},
		{"/metrics", 200, "tafe_watchdog_enabled 1", "metrics"},
		{"/metrics", 200, `tafe_runtime_introspection{part="state"} ` + works("state"), "a part of the runtime's introspection"},
		{"/metrics", 200, `tafe_runtime_introspection{part="thread"} ` + works("thread"), "another"},
		{"/metrics", 200, `tafe_runtime_introspection{part="thread_lock"} ` + works("thread_lock"), "another"},
		{"/metrics", 200, `tafe_build_info{version="v1.2.3"} 1`, "the version"},
		{"/metrics", 200, `tafe_certificate_problem{name="new.example",source="acme"} 1`, "a name without a certificate"},
		{"/metrics", 200, `tafe_certificate_days_left{name="old.example",source="file"} -1`, "one that has expired"},
		{"/metrics", 200, `tafe_certificate_days_left{name="on demand",source="on demand"} 1.99`, "names that clients choose have one series"},
		{"/metrics", 200, `tafe_certificates_issued_total 4`, "certificates of this process"},
		{"/metrics", 200, `tafe_certificates_failed_total 5`, "failed attempts"},
		{"/metrics", 200, `tafe_certificates_refused_total 6`, "refused on demand"},
		{"/certificates", 200, `"name":"new.example","source":"acme","next":"2027`, "without dates that are not known"},
		{"/metrics", 200, `tafe_certificate_expires_timestamp_seconds{addr="127.0.0.1:443"} 1.8e+09`, "until when its certificates are good"},
		{"/metrics", 200, "tafe_config_reloads_failed_total 2", "whether the configuration is the one of the file"},
		{"/metrics", 200, `tafe_log_lines_dropped_total{log="log"} 3`, "dropped log lines"},
		{"/metrics", 200, "tafe_watchdog_records_lost_total 0", "and dropped watchdog records"},
		{"/debug/pprof/", 200, "goroutine", "profiles"},
		{"/debug/pprof/goroutine?debug=1", 200, "goroutine profile", "each of them"},
		{"/other", 404, "", "nothing else"},
	} {
		status, header, body := r.get(c.target)
		require.Equal(t, c.status, status, c.why)
		require.Contains(t, body, c.want, c.why)
		require.Equal(t, "no-store", header.Get("Cache-Control"), c.target)
		require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'", c.target)
	}
}

// works is the value of tafe_runtime_introspection for a part.
func works(part string) string {
	if slices.Contains(loop.Runtime().Missing(), part) {
		return "0"
	}
	return "1"
}

func TestAnswersWhileTheOnlyLoopIsHeld(t *testing.T) {
	r := newRig(t, nil)
	require.Equal(t, 200, r.request("/plaintext"))
	require.Regexp(t, `"estimates":\{"/plaintext":\[[0-9.]+\]`, func() string { _, _, body := r.get("/loops"); return body }(), "the estimated slice lengths of a route")
	answered := r.hold("fast")
	for _, target := range []string{"/healthz", "/metrics", "/trace"} {
		status, _, body := r.get(target)
		require.Equal(t, 200, status, "%s: %s", target, body)
	}
	var states []LoopState
	_, _, body := r.get("/loops")
	require.NoError(t, json.Unmarshal([]byte(body), &states))
	require.Len(t, states, 1)
	require.Equal(t, "overrun", states[0].State)
	require.Equal(t, "/hold/{what}", states[0].Route)
	require.Equal(t, "/hold/fast", states[0].Path)
	require.Greater(t, states[0].For, states[0].Budget)
	_, _, body = r.get("/metrics")
	require.Contains(t, body, `tafe_loop_stale{loop="0"} 1`)
	require.Contains(t, body, `tafe_requests_total{method="GET",route="/plaintext",status="200"} 1`, "the counters of the held loop")
	require.Contains(t, body, "tafe_overruns_active 1")

	r.release()
	answered()
	r.await("the overrun is closed", func() bool { return r.overruns()[0].Final })
	o := r.overruns()[0]
	require.True(t, o.Blamed)
	require.Contains(t, o.Culprit.Func, "waitBadly")
	_, _, body = r.get("/metrics")
	require.Contains(t, body, `tafe_loop_stale{loop="0"} 0`)
	require.Contains(t, body, `tafe_overruns_total{verdict="channel"} 1`)
	require.Contains(t, body, `tafe_route_overruns_total{route="/hold/{what}"} 1`)
	require.Contains(t, body, `tafe_route_slice_duration_seconds_bucket{route="/hold/{what}",le="0.01"}`)
	require.Contains(t, body, `tafe_route_slice_duration_seconds_count{route="/plaintext"}`)
	require.Contains(t, body, `tafe_requests_total{method="GET",route="/hold/{what}",status="204"} 1`)
	require.Contains(t, body, "tafe_overruns_active 0")
}

func TestNotReadyWhileDraining(t *testing.T) {
	r := newRig(t, nil)
	answered := r.hold("drain")
	drained := make(chan error, 1)
	go func() { drained <- r.server.Drain(context.Background()) }()
	r.await("readyz says so", func() bool {
		status, _, body := r.get("/readyz")
		return status == 503 && body == "draining\n"
	})
	status, _, _ := r.get("/healthz")
	require.Equal(t, 200, status, "draining is not ill")
	r.release()
	answered()
	require.NoError(t, <-drained)
}

func TestWithoutAWatchdog(t *testing.T) {
	a := app.New(app.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	server, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	admin, err := Listen("127.0.0.1:0")
	require.NoError(t, err)
	admin.Serve(Config{Server: server})
	r := &rig{t: t, server: server, admin: admin, client: &http.Client{Timeout: patience, Transport: &http.Transport{}}}
	for _, c := range []struct {
		target string
		status int
		want   string
		why    string
	}{
		{"/readyz", 200, "ok", "no watchdog to report a held loop"},
		{"/overruns", 200, "[]\n", "no records"},
		{"/trace", 404, "the watchdog is off", "no recorder"},
		{"/loops", 200, `"state":`, "the state of loops does not need it"},
		{"/metrics", 200, "tafe_watchdog_enabled 0", "nor do their counters"},
	} {
		status, _, body := r.get(c.target)
		require.Equal(t, c.status, status, c.why)
		require.Contains(t, body, c.want, c.why)
	}
	r.client.CloseIdleConnections()
	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, admin.Close())
}

// Requests that wait for a held loop show while it is held: in /readyz, the overrun, its rank and the lag.
func TestSaysWhoWaitsForAHeldLoop(t *testing.T) {
	r := newRig(t, nil)
	require.Equal(t, 200, r.request("/plaintext"))
	answered := r.hold("on")
	var waiting sync.WaitGroup
	for range 3 {
		waiting.Go(func() { r.request("/plaintext") })
	}
	r.await("the live overrun has victims", func() bool { v := r.overruns()[0].Victims; return v.Count >= 3 && v.Total > 0 && v.Open })
	o := r.overruns()[0]
	require.False(t, o.Final)
	require.NotEmpty(t, o.Advice, "the advice is there while the overrun lasts")
	r.await("the server is not ready", func() bool {
		status, _, body := r.get("/readyz")
		return status == 503 && body == "all loops are held for 1s\n"
	})
	d := newDashboard(Config{Server: r.server, Budget: 10 * time.Millisecond}, time.Now)
	d.history.add(time.Unix(1, 0), make([]loopSnapshot, 1), app.Stats{}, d.states())
	d.history.add(time.Unix(2, 0), make([]loopSnapshot, 1), app.Stats{}, d.states())
	f := d.frame()
	require.GreaterOrEqual(t, time.Duration(f.Lag99), time.Second, "current waits are in the lag")
	require.Positive(t, f.Loops[0].Waiting)
	_, _, metrics := r.get("/metrics")
	require.NotContains(t, metrics, `tafe_loop_waiting{loop="0"} 0`)
	r.release()
	answered()
	waiting.Wait()
	r.await("the server is ready again", func() bool { status, _, _ := r.get("/readyz"); return status == 200 })
	r.await("the overrun is closed", func() bool { return r.overruns()[0].Final })
	require.Positive(t, r.overruns()[0].Victims.Count)
}
