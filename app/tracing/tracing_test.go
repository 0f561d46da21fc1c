package tracing

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	v1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"tafe/app"
	"tafe/app/client"
	"tafe/loop"
	"tafe/loop/watchdog"
)

const patience = 20 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// sink is an OTLP collector.
type sink struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*v1.Span
	service string
	header  string
}

func newSink(t *testing.T) *sink {
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			t.Errorf("an export that is no OTLP: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.header = r.Header.Get("X-Key")
		for _, r := range req.ResourceSpans {
			for _, a := range r.Resource.Attributes {
				if a.Key == "service.name" {
					s.service = a.Value.GetStringValue()
				}
			}
			for _, scope := range r.ScopeSpans {
				s.spans = append(s.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// all waits for n spans and returns them.
func (s *sink) all(t *testing.T, n int) []*v1.Span {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.spans) >= n
	}, patience, time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Len(t, s.spans, n)
	return s.spans
}

func attributes(s *v1.Span) map[string]any {
	all := map[string]any{}
	for _, a := range s.Attributes {
		switch v := a.Value.Value.(type) {
		default:
			_ = v
			all[a.Key] = a.Value.GetStringValue()
			if a.Value.GetStringValue() == "" && a.Value.GetIntValue() != 0 {
				all[a.Key] = a.Value.GetIntValue()
			}
			if a.Value.GetDoubleValue() != 0 {
				all[a.Key] = a.Value.GetDoubleValue()
			}
		}
	}
	return all
}

func newTracing(t *testing.T, o Options) *Tracing {
	t.Helper()
	if o.Every == 0 {
		o.Every = 5 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = quiet
	}
	tracing, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = tracing.Close(ctx)
	})
	return tracing
}

func serve(t *testing.T, tracing *Tracing, loops int, register func(a *app.App), observe func(*loop.Loop) loop.Observer) string {
	t.Helper()
	handoff := time.Duration(0)
	if observe != nil {
		handoff = -1 // off, so that a handler holds its loop
	}
	a := app.New(app.Options{Log: quiet, RequestIDHeader: "X-Request-ID"})
	a.Use(tracing.Middleware())
	register(a)
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: loops, Observe: observe, Handoff: handoff})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
	})
	return "http://" + s.Addr().String()
}

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	sampled = "00-" + traceID + "-b7ad6b7169203331-01"
)

func get(t *testing.T, url, traceparent string) (int, string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	require.NoError(t, err)
	if traceparent != "" {
		req.Header.Set("Traceparent", traceparent)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// A request with a traceparent is a span of that trace. Requests that it sends are child spans and carry a traceparent.
func TestTraceGoesThrough(t *testing.T) {
	collector := newSink(t)
	tracing := newTracing(t, Options{Endpoint: collector.URL + "/v1/traces", Service: "front", Headers: map[string]string{"X-Key": "k"}})
	var told []string
	var mu sync.Mutex
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r.Header.Values("Traceparent")...)
		w.WriteHeader(503)
	}))
	defer upstream.Close()
	upstreams := client.New(client.Options{Tracer: tracing})
	defer upstreams.Close()
	addr := serve(t, tracing, 1, func(a *app.App) {
		a.Get("/users/{id}", func(c *app.Context) error {
			req := client.Request{URL: upstream.URL + "/secret?token=1"}
			req.AddHeader("traceparent", "00-11111111111111111111111111111111-2222222222222222-01") // as a proxy would copy it
			var resp client.Response
			defer resp.Close()
			if err := upstreams.Do(c.Task(), nil, &req, &resp); err != nil {
				return err
			}
			if SpanOf(c) == nil {
				return app.Error(500, "no span")
			}
			return c.String(200, "hello")
		})
	}, nil)
	status, _ := get(t, addr+"/users/7", sampled)
	require.Equal(t, 200, status)
	spans := collector.all(t, 2)
	below, above := spans[0], spans[1]
	if above.Kind == v1.Span_SPAN_KIND_CLIENT {
		below, above = above, below
	}
	require.Equal(t, "front", collector.service)
	require.Equal(t, "k", collector.header)
	for _, s := range spans {
		require.Equal(t, traceID, hexOf(s.TraceId))
		require.GreaterOrEqual(t, s.EndTimeUnixNano, s.StartTimeUnixNano)
	}
	require.Equal(t, v1.Span_SPAN_KIND_SERVER, above.Kind)
	require.Equal(t, "b7ad6b7169203331", hexOf(above.ParentSpanId))
	require.Equal(t, "GET /users/{id}", above.Name)
	a := attributes(above)
	require.Equal(t, "/users/{id}", a["http.route"])
	require.Equal(t, "/users/7", a["url.path"])
	require.EqualValues(t, 200, a["http.response.status_code"])
	require.Equal(t, "127.0.0.1", a["client.address"])
	require.Positive(t, a["tafe.backend_ms"])
	require.Positive(t, a["tafe.slice_ms"])
	require.Equal(t, above.SpanId, below.ParentSpanId)
	require.Equal(t, "GET", below.Name)
	require.Equal(t, v1.Status_STATUS_CODE_ERROR, below.Status.Code)
	a = attributes(below)
	require.EqualValues(t, 503, a["http.response.status_code"])
	require.Equal(t, strings.TrimPrefix(upstream.URL, "http://"), a["server.address"])
	require.NotContains(t, below.String(), "token")
	require.Equal(t, []string{"00-" + traceID + "-" + hexOf(below.SpanId) + "-01"}, told, "exactly one, of this span")
	require.Eventually(t, func() bool { return tracing.Stats() == Stats{Ended: 2, Exported: 2} }, patience, time.Millisecond)
}

const digits = "0123456789abcdef"

func hexOf(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// Sampling of requests, and the status of failed ones.
func TestWhichAreTraced(t *testing.T) {
	for _, c := range []struct {
		sample      float64
		traceparent string
		path        string
		spans       int
		status      v1.Status_StatusCode
		error       string
		why         string
	}{
		{0, "", "/ok", 0, 0, "", "sampling is off"},
		{1, "", "/ok", 1, v1.Status_STATUS_CODE_UNSET, "", "all are sampled"},
		{0, sampled, "/ok", 1, v1.Status_STATUS_CODE_UNSET, "", "the one in front has decided"},
		{1, sampled[:len(sampled)-1] + "0", "/ok", 0, 0, "", "against it, too"},
		{0, "00-nonsense", "/ok", 0, 0, "", "no decision"},
		{1, "00-nonsense", "/ok", 1, v1.Status_STATUS_CODE_UNSET, "", "ours then"},
		{1, "", "/none", 1, v1.Status_STATUS_CODE_UNSET, "", "no route"},
		{1, "", "/fails", 1, v1.Status_STATUS_CODE_ERROR, "upstream-none", "a failure, and its reason"},
		{1, "", "/panics", 1, v1.Status_STATUS_CODE_ERROR, "panic", ""},
	} {
		collector := newSink(t)
		tracing := newTracing(t, Options{Endpoint: collector.URL, Sample: c.sample})
		addr := serve(t, tracing, 1, func(a *app.App) {
			a.Get("/ok", func(c *app.Context) error { return c.String(200, "ok") })
			a.Get("/fails", func(*app.Context) error { return &app.HTTPError{Status: 502, Reason: "upstream-none"} })
			a.Get("/panics", func(*app.Context) error { panic("boom") })
		}, nil)
		get(t, addr+c.path, c.traceparent)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		require.Eventually(t, func() bool { return tracing.Stats().Ended == uint64(c.spans) }, patience, time.Millisecond, c.why)
		require.NoError(t, tracing.Close(ctx))
		cancel()
		for _, s := range collector.all(t, c.spans) {
			require.Equal(t, c.status, s.Status.GetCode(), c.why)
			if c.error != "" {
				require.Equal(t, c.error, attributes(s)["error.type"], c.why)
			}
		}
	}
	_, err := New(Options{Sample: 1.5})
	require.Error(t, err)
}

// The span of a request that an overrun delayed has the delay and the number of the overrun.
func TestBlockedByIsTold(t *testing.T) {
	collector := newSink(t)
	tracing := newTracing(t, Options{Endpoint: collector.URL, Sample: 1})
	dog := watchdog.New(watchdog.Config{Log: quiet, Budget: 5 * time.Millisecond})
	addr := serve(t, tracing, 1, func(a *app.App) {
		a.Get("/hog", func(c *app.Context) error {
			for end := time.Now().Add(150 * time.Millisecond); time.Now().Before(end); {
			}
			return c.String(200, "ok")
		})
		a.Get("/sleeps", func(c *app.Context) error {
			for range 20 {
				if err := c.Sleep(20 * time.Millisecond); err != nil {
					return err
				}
			}
			return c.String(200, "ok")
		})
	}, dog.Observe)
	dog.Start()
	defer dog.Stop()
	var wg sync.WaitGroup
	wg.Go(func() { get(t, addr+"/sleeps", "") })
	time.Sleep(50 * time.Millisecond)
	get(t, addr+"/hog", "")
	wg.Wait()
	for _, s := range collector.all(t, 2) {
		a := attributes(s)
		if a["http.route"] == "/sleeps" {
			require.Greater(t, a["tafe.blocked_ms"], 50.0)
			require.Positive(t, a["tafe.blocked_by"])
			require.Greater(t, a["tafe.queue_ms"], 50.0)
		} else {
			require.Greater(t, a["tafe.slice_ms"], 140.0)
		}
	}
}

// A collector that does not answer does not delay requests, and the memory for spans is bounded.
func TestASilentCollector(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	var log lockedLog
	tracing := newTracing(t, Options{Endpoint: silent.URL, Sample: 1, QueueMax: 16, Timeout: 50 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&log, nil))})
	addr := serve(t, tracing, 1, func(a *app.App) {
		a.Get("/ok", func(c *app.Context) error { return c.String(200, "ok") })
	}, nil)
	began := time.Now()
	for range 500 {
		status, _ := get(t, addr+"/ok", "")
		require.Equal(t, 200, status)
	}
	took := time.Since(began)
	require.Less(t, took, patience)
	// The last span ends after its response was sent.
	require.Eventually(t, func() bool { s := tracing.Stats(); return s.Failed > 0 && s.Ended == 500 }, patience, time.Millisecond)
	s := tracing.Stats()
	require.Zero(t, s.Exported)
	require.LessOrEqual(t, s.Failed, uint64(16*(1+took/(50*time.Millisecond))+64), "the rest was dropped")
	require.Equal(t, 1, strings.Count(log.String(), "spans are lost"), "logged once: %s", log.String())
}

// lockedLog is a log that may be written and read at the same time.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
