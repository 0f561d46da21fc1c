// Package config reads the configuration file, reports every problem in it, and makes the App that it describes. It reads TOML and
// the environment, and starts nothing.
//
// # The parts, in reading order
//
//	config.go     Config: the sections; their comments and tags are the reference, docs/config.md
//	listener.go   Listener: addresses and TLS
//	route.go      Route: actions and middlewares
//	watchdog.go   Watchdog: reports, records, escalation
//	value.go      types of values that TOML lacks
//	load.go       Load: from a file to a Config or to Problems
//	check.go      Check: every problem of a file
//	place.go      the line of each key
//	decode.go     from the tree of TOML to the structs
//	rules.go      rules between values
//	build.go      Config.App: the routes and middlewares of an App
//	respond.go    the actions respond and redirect
//	static.go     the static action
//	upstream.go   upstreams and the proxy action
//	shared.go     rate limits that servers share
//	resources.go  what outlives a reload
//	change.go     keys that a running server cannot change
//
// # Tags
//
// toml names the key; default is its value where the file does not give it; min and max are inclusive bounds, in the notation of
// the key; oneof lists the values, separated by |; required marks keys that must be given; reload:"restart" marks keys
// that a running server cannot change.
package config

import (
	"time"

	"tafe/app/tracing"
)

// Config is what a file says, with defaults for what it does not. Treat it as immutable once loaded, but for Flags.
type Config struct {
	// Where the server listens, and on what it runs.
	Server Server `toml:"server"`
	// Where the server listens, if there is more to say than server.listen can. Repeat the section for each address. With any
	// of them, they are all there is.
	Listeners []Listener `toml:"listener" reload:"restart"`
	// What one message, one connection and one loop may take. What is beyond is refused, never queued without end.
	Limits Limits `toml:"limits"`
	// How long the server waits, and for what.
	Timeouts Timeouts `toml:"timeouts"`
	// The listener for operators: live page, health, metrics, overruns, profiles. Keep it off public networks.
	Admin Admin `toml:"admin"`
	// Who reports code that holds a loop.
	Watchdog Watchdog `toml:"watchdog"`
	// The server's own log, on stderr.
	Log Log `toml:"log"`
	// A line for each answer.
	AccessLog AccessLog `toml:"access_log"`
	// Where requests can be followed from server to server (OpenTelemetry).
	Tracing Tracing `toml:"tracing"`
	// What surrounds all requests, those too that no route takes: outermost the headers, then CORS, addresses, shedding, rate,
	// concurrency, compression, and users innermost.
	Middleware Middleware `toml:"middleware"`
	// Servers that requests are passed on to. Repeat the section for each group.
	Upstreams []Upstream `toml:"upstream"`
	// What is answered where. Repeat the section for each route. The most specific path that has the method wins; their
	// order in the file does not matter.
	Routes []Route `toml:"route"`

	source   *source
	spoilt   map[string]bool // parts of a file that Check looks at no further
	warnings Problems
}

// Server is the section of the same name.
type Server struct {
	// Address to serve on: HOST:PORT, where port 0 takes a free one, which is printed; unix:/path; or systemd:NAME, a socket of
	// systemd by its FileDescriptorName. A socket of systemd that is bound to the address is used, too.
	Listen ListenAddress `toml:"listen" default:"127.0.0.1:8080" reload:"restart"`
	// Unix socket, an absolute path such as "/run/tafe/handover.sock", on which this process gives its listening sockets to the next one. A
	// process that starts with the same path takes them over without losing a connection, and the old one drains. Without it, never.
	Handover SocketPath `toml:"handover" default:"" reload:"restart"`
	// Event loops. Without it, one for each CPU the process may use (GOMAXPROCS).
	Loops int `toml:"loops" min:"1" max:"1024" reload:"restart"`
	// The longest that a handler may hold its loop while other requests wait: then another goroutine takes the loop over, and the handler
	// runs on beside it. "off": never.
	Handoff Handoff `toml:"handoff" default:"2ms" reload:"restart"`
	// In what order requests that wait for a loop get it. "light-first": those whose route has taken little time so far, and of the others one
	// at a time, the oldest first. "arrival": all in the order in which they came.
	Order string `toml:"order" default:"light-first" oneof:"light-first|arrival" reload:"restart"`
	// Value of the Server header; "-" omits it.
	Name HeaderValue `toml:"name" default:"tafe"`
	// Networks of the proxies in front. Their X-Forwarded-For says who the client is, for allow_ip, deny_ip, rate_limit, hash_by and
	// the access log; and what they say in X-Forwarded-For, -Proto, -Host and Forwarded is passed on to upstreams. From all
	// others it is neither believed nor passed on.
	TrustedProxies []Network `toml:"trusted_proxies"`
	// Tell clients in Server-Timing where the time of each answer went: queue, slice, backend. Everybody can read it: for staging.
	ServerTiming bool `toml:"server_timing" default:"false"`
	// Name of the response header that carries the request's id; "" sends none.
	RequestIDHeader HeaderName `toml:"request_id_header" default:""`
	// Take X-Request-ID from the client, if it is a token of at most 64 bytes. Only behind a proxy that sets it.
	TrustRequestID bool `toml:"trust_request_id" default:"false"`
}

// Limits is the section of the same name.
type Limits struct {
	// Start line and header fields of a request, with the empty line. Beyond: 431.
	HeadBytesMax Bytes `toml:"head_bytes_max" default:"32KiB" min:"256" max:"1MiB"`
	// Header fields of a request, or of its trailer section. Beyond: 431.
	HeaderCountMax int `toml:"header_count_max" default:"100" min:"1" max:"10000"`
	// Request target. Beyond: 414.
	TargetBytesMax Bytes `toml:"target_bytes_max" default:"8KiB" min:"16" max:"1MiB"`
	// Request body, where its route does not say otherwise. Beyond: 413.
	BodyBytesMax Bytes `toml:"body_bytes_max" default:"10MiB" min:"1" max:"1TiB"`
	// Bytes per second at which a request body comes at least, on average, after the first five seconds; 0: at any rate. Only time in
	// which its handler waits for it counts. Slower: 408. See route.slow_body.
	BodyRateMin int `toml:"body_rate_min" default:"240" min:"0" max:"1000000000"`
	// Chunk-size lines of a chunked body, beyond what its data justifies. Beyond: 400.
	ChunkOverheadBytesMax Bytes `toml:"chunk_overhead_bytes_max" default:"16KiB" min:"64" max:"16MiB"`
	// Trailer section of a chunked body. Beyond: 431.
	TrailerBytesMax Bytes `toml:"trailer_bytes_max" default:"8KiB" min:"64" max:"1MiB"`
	// Open connections, of all loops together. Beyond: closed at once. Without it, what the limit on open files leaves
	// after a reserve for upstreams and logs, which also bounds any other value.
	ConnMax int `toml:"conn_max" min:"1" max:"10000000" reload:"restart"`
	// Open connections of one client address, behind PROXY the announced one. Beyond: closed at once. 0: no bound.
	ConnMaxPerIP int `toml:"conn_max_per_ip" default:"0" min:"0" max:"10000000" reload:"restart"`
	// Open connections to upstreams and stores, of all loops together. Beyond, connecting fails. Without it, half of the reserve.
	DialMax int `toml:"dial_max" min:"1" max:"10000000" reload:"restart"`
	// Requests that a loop has in its handlers. Beyond: 503.
	TaskMax int `toml:"task_max" default:"65536" min:"1" max:"10000000" reload:"restart"`
	// Coroutines that a loop keeps for reuse, about 3 KiB each.
	IdleTaskMax int `toml:"idle_task_max" default:"1024" min:"1" max:"10000000" reload:"restart"`
	// Handlers that run beside a loop at once, each on a goroutine of its own. Beyond, a handler holds its loop until it gives it back.
	ReleasedMax int `toml:"released_max" default:"256" min:"1" max:"100000" reload:"restart"`
	// Calls from other goroutines that wait for a loop.
	PostMax int `toml:"post_max" default:"1048576" min:"1024" max:"100000000" reload:"restart"`
	// Bytes that a connection holds unread. Beyond, the client is not read until some are consumed. At least head_bytes_max.
	InboundBytesMax Bytes `toml:"inbound_bytes_max" default:"1MiB" min:"4KiB" max:"1GiB" reload:"restart"`
	// Bytes that a connection holds unsent before who writes them has to wait.
	OutboundBytesMax Bytes `toml:"outbound_bytes_max" default:"1MiB" min:"4KiB" max:"1GiB" reload:"restart"`
}

// Timeouts is the section of the same name.
type Timeouts struct {
	// From the first byte of a request to the end of its head. Then 408.
	Head Duration `toml:"head" default:"10s" min:"1ms" max:"1h"`
	// Between two pieces of a request body. Then 408.
	Body Duration `toml:"body" default:"30s" min:"1ms" max:"1h"`
	// Between two requests of a connection. Then it is closed.
	Idle Duration `toml:"idle" default:"75s" min:"1ms" max:"24h"`
	// From the start of a request's handler to its cancellation, where its route does not say otherwise. Then 503.
	// 0s: never.
	Handler Duration `toml:"handler" default:"0s" min:"0s" max:"24h"`
	// For each 16 KiB that a client takes of an answer. Then the connection is closed.
	Write Duration `toml:"write" default:"30s" min:"1ms" max:"1h" reload:"restart"`
	// After SIGTERM, for how long requests are served as before while /readyz says 503 already, so that balancers have noticed
	// when connections begin to be closed: two or three of their check intervals.
	DrainDelay Duration `toml:"drain_delay" default:"0s" min:"0s" max:"1h"`
	// How long requests in flight may go on after SIGTERM and drain_delay.
	Drain Duration `toml:"drain" default:"30s" min:"0s" max:"24h"`
}

// Admin is the section of the same name.
type Admin struct {
	// Address of the listener, HOST:PORT.
	Listen Address `toml:"listen" default:"127.0.0.1:9180" reload:"restart"`
}

// Log is the section of the same name.
type Log struct {
	// How lines look.
	Format string `toml:"format" default:"text" oneof:"text|json" reload:"restart"`
	// The least that is logged.
	Level string `toml:"level" default:"info" oneof:"debug|info|warn|error"`
}

// AccessLog is the section of the same name.
type AccessLog struct {
	// Where lines go: a file, "-" for stdout, or "off". SIGHUP opens the file anew.
	File Path `toml:"file" default:"off" reload:"restart"`
	// How lines look: an object each, or what Apache and nginx call combined.
	Format string `toml:"format" default:"json" oneof:"json|combined" reload:"restart"`
	// Entries that wait for the file, some 200 bytes each. Those beyond are dropped and counted.
	BufferBytes Bytes `toml:"buffer_bytes" default:"4MiB" min:"64KiB" max:"1GiB" reload:"restart"`
	// How long an entry waits at most.
	FlushEvery Duration `toml:"flush_every" default:"500ms" min:"1ms" max:"1m" reload:"restart"`
}

// Tracing is the section of the same name.
type Tracing struct {
	// URL of a collector that takes OTLP over HTTP, such as "http://127.0.0.1:4318/v1/traces". Without it, nothing is traced.
	Endpoint string `toml:"endpoint" default:"" reload:"restart"`
	// Headers of each export, such as { Authorization = "env:OTLP_TOKEN" }.
	Headers map[string]Secret `toml:"headers" reload:"restart"`
	// Name of the service.
	Service string `toml:"service" default:"tafe" reload:"restart"`
	// Part of the requests that are traced, from 0 to 1, of those that come without Traceparent; the others are if that says so.
	Sample float64 `toml:"sample" default:"0.01" min:"0" max:"1" reload:"restart"`
	// Spans that wait to be exported, some 2 KiB each. Those beyond are dropped and counted.
	QueueMax int `toml:"queue_max" default:"4096" min:"16" max:"1000000" reload:"restart"`
	// How long an export may take. Then its spans are lost.
	Timeout Duration `toml:"timeout" default:"10s" min:"10ms" max:"5m" reload:"restart"`
}

// Options are those of package tracing, but for the log.
func (t *Tracing) Options() tracing.Options {
	o := tracing.Options{Endpoint: t.Endpoint, Service: t.Service, Sample: t.Sample, QueueMax: t.QueueMax, Timeout: time.Duration(t.Timeout)}
	for name, secret := range t.Headers {
		if o.Headers == nil {
			o.Headers = map[string]string{}
		}
		o.Headers[name] = secret.text
	}
	return o
}

// Default is what an empty file says, were it allowed to be without routes.
func Default() *Config {
	c := &Config{source: &source{file: "(defaults)"}}
	setDefaults(c)
	return c
}
