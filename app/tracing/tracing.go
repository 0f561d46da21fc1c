// Package tracing follows requests from server to server with OpenTelemetry: a span for each request that is answered, with what its
// loop had to do with it, and one for each that is sent on the way. They are exported in the background by OTLP over HTTP; what the
// collector does not take in time is dropped and counted.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"tafe/app"
	"tafe/app/client"
	"tafe/loop"
)

// Options say where spans go, and of which requests there are any. Zero fields take the defaults.
type Options struct {
	Endpoint string            // URL of the collector, such as "http://127.0.0.1:4318/v1/traces"
	Headers  map[string]string // sent with each export, such as an API key
	Service  string            // service.name; default "tafe"
	// Sample is the part of the requests that are traced, of those that come without a Traceparent; the others are if that says so. From
	// 0, none, to 1, all.
	Sample   float64
	QueueMax int           // spans that wait to be exported; default 4096, some 2 KB each
	Every    time.Duration // how often they are; default 1 s
	Timeout  time.Duration // of an export; default 10 s
	Log      *slog.Logger  // of exports that fail; default slog.Default()
}

// Tracing makes spans. Any goroutine.
type Tracing struct {
	options  Options
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	counts   struct{ ended, exported, failed atomic.Uint64 }
	quiet    atomic.Int64 // unix s until which failures are not logged
}

const scope = "tafe/app/tracing"

// New makes a Tracing. It connects to nothing yet. The error tells what is wrong with o.
func New(o Options) (*Tracing, error) {
	if o.Sample < 0 || o.Sample > 1 {
		return nil, fmt.Errorf("tracing: Sample is %v: want a part, from 0 to 1", o.Sample)
	}
	if o.Service == "" {
		o.Service = "tafe"
	}
	if o.QueueMax <= 0 {
		o.QueueMax = 4096
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(o.Endpoint), otlptracehttp.WithHeaders(o.Headers),
		otlptracehttp.WithTimeout(o.Timeout), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	t := &Tracing{options: o}
	t.provider = sdk.NewTracerProvider(
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", o.Service))),
		sdk.WithSampler(sdk.AlwaysSample()), // whoever is not traced gets no span at all
		sdk.WithSpanProcessor(counting{t, sdk.NewBatchSpanProcessor(&telling{t, exporter},
			sdk.WithMaxQueueSize(o.QueueMax), sdk.WithMaxExportBatchSize(min(512, o.QueueMax)), sdk.WithBatchTimeout(o.Every), sdk.WithExportTimeout(o.Timeout))}),
	)
	t.tracer = t.provider.Tracer(scope)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.complain)) // the only way to hear of a failed export
	return t, nil
}

// Close exports what waits, as long as ctx allows.
func (t *Tracing) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Stats count spans since New. What is neither exported nor failed waits, or was dropped because too many waited.
type Stats struct{ Ended, Exported, Failed uint64 }

// Stats returns the counters as they are now.
func (t *Tracing) Stats() Stats {
	return Stats{t.counts.ended.Load(), t.counts.exported.Load(), t.counts.failed.Load()}
}

// counting counts the spans that end.
type counting struct {
	t *Tracing
	sdk.SpanProcessor
}

// OnEnd implements sdk.SpanProcessor. It does not wait: a full queue drops.
func (p counting) OnEnd(s sdk.ReadOnlySpan) {
	p.t.counts.ended.Add(1)
	p.SpanProcessor.OnEnd(s)
}

// telling counts what came of exports.
type telling struct {
	t *Tracing
	sdk.SpanExporter
}

// ExportSpans implements sdk.SpanExporter.
func (e *telling) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		e.t.counts.failed.Add(uint64(len(spans)))
		return err
	}
	e.t.counts.exported.Add(uint64(len(spans)))
	return nil
}

// complain logs a failed export, once a minute.
func (t *Tracing) complain(err error) {
	now := time.Now().Unix()
	if until := t.quiet.Load(); now >= until && t.quiet.CompareAndSwap(until, now+60) {
		t.options.Log.Warn("spans are lost", "error", err, "failed", t.counts.failed.Load())
	}
}

type spanKey struct{}

// Middleware makes the span of each request that is traced. It belongs outermost.
func (t *Tracing) Middleware() app.Middleware {
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			parent := incoming(c.Header("Traceparent"))
			if parent.IsValid() != parent.IsSampled() || !parent.IsValid() && (t.options.Sample == 0 || rand.Float64() >= t.options.Sample) {
				return next(c)
			}
			span := t.start(c, parent)
			c.Set(spanKey{}, span)
			task := c.Task()
			c.WhenDone(func(e *app.Entry) { finish(span, e, task.Observe().Delayed()) })
			return next(c)
		}
	}
}

// incoming reads a Traceparent; it is invalid if that is.
func incoming(value string) trace.SpanContext {
	if value == "" {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": strings.Clone(value)})
	return trace.SpanContextFromContext(ctx)
}

func (t *Tracing) start(c *app.Context, parent trace.SpanContext) trace.Span {
	ctx := context.Background()
	if parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	name, method := strings.Clone(c.Method()), strings.Clone(c.Method())
	if c.Route() != "" {
		name += " " + c.Route()
	}
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(time.Now().Add(-c.Timing().Total)),
		trace.WithAttributes(
			attribute.String("http.request.method", method),
			attribute.String("http.route", c.Route()),
			attribute.String("url.path", strings.Clone(c.Path())),
			attribute.String("url.scheme", c.Scheme()),
			attribute.String("server.address", strings.Clone(c.Host())),
			attribute.String("client.address", strings.Clone(c.ClientIP())),
			attribute.String("user_agent.original", strings.Clone(c.Header("User-Agent"))),
			attribute.String("tafe.request_id", strings.Clone(c.RequestID())),
			attribute.Int("tafe.loop", c.Loop().ID()),
		))
	return span
}

// finish ends the span of a request with what came of it. On the loop.
func finish(span trace.Span, e *app.Entry, delay loop.Delay) {
	span.SetAttributes(
		attribute.Int("http.response.status_code", e.Status),
		attribute.Int64("http.response.body.size", e.Bytes),
		attribute.Float64("tafe.queue_ms", millis(e.Timing.Queued)),
		attribute.Float64("tafe.slice_ms", millis(e.Timing.Slices)),
		attribute.Float64("tafe.backend_ms", millis(e.Timing.Backend)),
	)
	if delay.Total > 0 {
		span.SetAttributes(attribute.Float64("tafe.blocked_ms", millis(delay.Total)), attribute.Int64("tafe.blocked_by", int64(delay.Overrun)))
	}
	if e.Status >= 500 || e.Reason != "" {
		reason := strings.Clone(e.Reason)
		span.SetAttributes(attribute.String("error.type", reason))
		if e.Status >= 500 {
			span.SetStatus(codes.Error, reason)
		}
	}
	span.End()
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Begin implements client.Tracer: requests that are sent for a traced one are spans below it.
func (t *Tracing) Begin(task *loop.Task, ctx context.Context, req *client.Request) (traceparent string, end func(status int, err error)) {
	parent := spanOf(task, ctx)
	if parent == nil {
		return "", nil
	}
	method := strings.Clone(req.Method)
	if method == "" {
		method = "GET"
	}
	_, span := t.tracer.Start(trace.ContextWithSpan(context.Background(), parent), method, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("server.address", addressOf(req))))
	s := span.SpanContext()
	return "00-" + s.TraceID().String() + "-" + s.SpanID().String() + "-01", func(status int, err error) {
		if err != nil {
			kind := "other"
			var e *client.Error
			if errors.As(err, &e) {
				kind = e.Kind.String()
			}
			span.SetAttributes(attribute.String("error.type", kind))
			span.SetStatus(codes.Error, kind)
		} else {
			span.SetAttributes(attribute.Int("http.response.status_code", status))
			if status >= 400 {
				span.SetStatus(codes.Error, "")
			}
		}
		span.End()
	}
}

// addressOf is whom a request is for, without what a URL may tell besides.
func addressOf(req *client.Request) string {
	if req.Addr != "" {
		return strings.Clone(req.Addr)
	}
	_, rest, _ := strings.Cut(req.URL, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return strings.Clone(rest)
}

// spanOf finds the span of the request on whose behalf another is sent: that of ctx, or of the handler that the task runs.
func spanOf(task *loop.Task, ctx context.Context) trace.Span {
	if ctx != nil {
		if s, ok := ctx.Value(spanKey{}).(trace.Span); ok {
			return s
		}
	}
	if task != nil {
		if c := app.ContextOf(task); c != nil {
			if s, ok := c.Get(spanKey{}).(trace.Span); ok {
				return s
			}
		}
	}
	return nil
}

// SpanOf is the span of the request, for handlers that add to it; nil where the request is not traced.
func SpanOf(c *app.Context) trace.Span { return spanOf(nil, c) }
