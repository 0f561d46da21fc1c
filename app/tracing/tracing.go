// Package tracing exports OpenTelemetry spans: one for each traced request, with the time that its loop
// spent on it, and one for each request that a handler sends. Spans are exported in the background by
// OTLP over HTTP. Spans that the collector does not take in time are dropped and counted.
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

// Options configure New. Zero fields take the defaults.
type Options struct {
	Endpoint string            // URL of the collector, such as "http://127.0.0.1:4318/v1/traces"
	Headers  map[string]string // sent with each export, such as an API key
	Service  string            // service.name; default "tafe"
	// Sample is the fraction, 0 to 1, of requests without a Traceparent header that are traced.
	// Requests with one follow its sampled flag.
	Sample   float64
	QueueMax int           // spans queued for export, some 2 KB each; default 4096
	Every    time.Duration // period of exports; default 1 s
	Timeout  time.Duration // of one export; default 10 s
	Log      *slog.Logger  // logs failed exports; default slog.Default()
}

// Tracing creates and exports spans. Any goroutine may use it.
type Tracing struct {
	options    Options
	provider   *sdk.TracerProvider
	tracer     trace.Tracer
	counts     struct{ ended, exported, failed atomic.Uint64 }
	quietUntil atomic.Int64 // time until which failures are not logged, Unix seconds
}

const scope = "tafe/app/tracing"

// New returns a Tracing. It does not connect to the collector yet. The error describes an invalid
// option.
func New(o Options) (*Tracing, error) {
	if o.Sample < 0 || o.Sample > 1 {
		return nil, fmt.Errorf("tracing: Sample is %v, want a fraction from 0 to 1", o.Sample)
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
		sdk.WithSampler(sdk.AlwaysSample()), // spans are created for traced requests only
		sdk.WithSpanProcessor(countingProcessor{t, sdk.NewBatchSpanProcessor(&countingExporter{t, exporter},
			sdk.WithMaxQueueSize(o.QueueMax), sdk.WithMaxExportBatchSize(min(512, o.QueueMax)), sdk.WithBatchTimeout(o.Every), sdk.WithExportTimeout(o.Timeout))}),
	)
	t.tracer = t.provider.Tracer(scope)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.logExportError)) // the SDK reports failed exports only here
	return t, nil
}

// Close exports the queued spans and stops exporting. It returns an error if ctx ends first.
func (t *Tracing) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Stats counts spans since New. Spans that are neither exported nor failed are queued, or were
// dropped because the queue was full.
type Stats struct{ Ended, Exported, Failed uint64 }

// Stats returns the current counters.
func (t *Tracing) Stats() Stats {
	return Stats{t.counts.ended.Load(), t.counts.exported.Load(), t.counts.failed.Load()}
}

// countingProcessor counts the spans that end.
type countingProcessor struct {
	t *Tracing
	sdk.SpanProcessor
}

// OnEnd implements sdk.SpanProcessor. It does not block: if the queue is full, the span is dropped.
func (p countingProcessor) OnEnd(s sdk.ReadOnlySpan) {
	p.t.counts.ended.Add(1)
	p.SpanProcessor.OnEnd(s)
}

// countingExporter counts exported spans and failures.
type countingExporter struct {
	t *Tracing
	sdk.SpanExporter
}

// ExportSpans implements sdk.SpanExporter.
func (e *countingExporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		e.t.counts.failed.Add(uint64(len(spans)))
		return err
	}
	e.t.counts.exported.Add(uint64(len(spans)))
	return nil
}

// logExportError logs a failed export, at most once a minute.
func (t *Tracing) logExportError(err error) {
	now := time.Now().Unix()
	if until := t.quietUntil.Load(); now >= until && t.quietUntil.CompareAndSwap(until, now+60) {
		t.options.Log.Warn("span export failed, spans are lost", "error", err, "failed", t.counts.failed.Load())
	}
}

type spanKey struct{}

// Middleware creates the span of each traced request. It should be the outermost middleware.
func (t *Tracing) Middleware() app.Middleware {
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			parent := incoming(c.HeaderView("Traceparent"))
			if parent.IsValid() != parent.IsSampled() || !parent.IsValid() && (t.options.Sample == 0 || rand.Float64() >= t.options.Sample) {
				return next(c)
			}
			span := t.start(c, parent)
			c.Set(spanKey{}, span)
			task := c.Task()
			c.WhenDone(func(e *app.Entry) { endSpan(span, e, task.Observe().Delayed()) })
			return next(c)
		}
	}
}

// incoming parses a Traceparent header. The result is invalid if the header is.
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
	name, method := c.Method(), c.Method()
	if c.Route() != "" {
		name += " " + c.Route()
	}
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(time.Now().Add(-c.Timing().Total)),
		trace.WithAttributes(
			attribute.String("http.request.method", method),
			attribute.String("http.route", c.Route()),
			attribute.String("url.path", c.Path()),
			attribute.String("url.scheme", c.Scheme()),
			attribute.String("server.address", c.Host()),
			attribute.String("client.address", c.ClientIP()),
			attribute.String("user_agent.original", c.Header("User-Agent")),
			attribute.String("tafe.request_id", c.RequestID()),
			attribute.Int("tafe.loop", c.Loop().ID()),
		))
	return span
}

// endSpan ends the span of a request with the result of the request. It runs on the loop.
func endSpan(span trace.Span, e *app.Entry, delay loop.Delay) {
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

// Begin implements client.Tracer. It starts a child span for a request that is sent on behalf of a
// traced one.
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

// addressOf returns the server that a request is sent to. It omits the rest of the URL, which may
// hold secrets.
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

// spanOf returns the span of the request on whose behalf another is sent: the span of ctx, or of
// the handler that task runs.
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

// SpanOf returns the span of the request, so that handlers can add to it. It is nil if the request
// is not traced.
func SpanOf(c *app.Context) trace.Span { return spanOf(nil, c) }
