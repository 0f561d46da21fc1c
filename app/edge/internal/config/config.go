// Package config reads the configuration file, reports every problem in it, and makes the App that it describes. It reads TOML and
// the environment, and starts nothing.
//
// # The parts, in reading order
//
//	config.go     Config: the sections; their comments and tags are the reference, docs/config.md
//	listener.go   Listener: addresses and TLS
//	addresses.go  addresses that exclude each other
//	acme.go       ACME: certificates that the server obtains
//	route.go      Route: actions and middlewares
//	watchdog.go   Watchdog: reports, records, escalation
//	value.go      types of values that TOML lacks
//	load.go       Load: from a file to a Config or to Problems
//	check.go      Check: every problem of a file
//	place.go      the line of each key
//	decode.go     from the tree of TOML to the structs
//	rules.go      rules between values
//	build.go      Config.App: the routes and middlewares of an App
//	site.go       [[site]]: hosts, error pages
//	expand.go     texts with variables, and conditions of routes
//	accesslog.go  access logs
//	respond.go    the actions respond and redirect, and rewrites
//	static.go     the static action
//	upstream.go   upstreams and the proxy action
//	auth.go       authorization by an upstream
//	shared.go     rate limits that servers share
//	compiled.go   handlers, middlewares and modules of the binary; types.go the types of their keys
//	resources.go  what outlives a reload
//	writable.go   files that the server writes
//	change.go     keys that a running server cannot change
//
// # Tags
//
// toml names the key; default is its value where the file does not give it; min and max are inclusive bounds of a number, size or
// duration, in its notation, and stand together; oneof lists the values, separated by |; required marks keys that must be given; reload:"restart" marks keys
// that a running server cannot change.
package config

import (
	"time"

	"tafe/app/tracing"
)

// Config is the content of a file, with defaults. It is immutable once loaded, except by command-line flags.
type Config struct {
	// Listen address, loops, and server-wide request handling.
	Server Server `toml:"server"`
	// One listen address, with TLS and the PROXY protocol. Repeat the section for each address. If the file has any
	// [[listener]], server.listen must not be given.
	Listeners []Listener `toml:"listener" reload:"restart"`
	// Certificates that the server obtains and renews by itself, by ACME: from Let's Encrypt, or another authority. See
	// edge.md.
	ACME ACME `toml:"acme"`
	// Bounds of a message, a connection and a loop. Each key says what happens beyond it.
	Limits Limits `toml:"limits"`
	// Bounds of an HTTP/2 connection. What exceeds a bound of frames ends the connection: GOAWAY has the reason, which the log and
	// tafe_refusals_total show.
	HTTP2 HTTP2 `toml:"http2"`
	// Timeouts of connections, requests and the drain.
	Timeouts Timeouts `toml:"timeouts"`
	// The listener for operators: live page, health, metrics, overruns, profiles. Keep it off public networks.
	Admin Admin `toml:"admin"`
	// Reports of code that holds a loop.
	Watchdog Watchdog `toml:"watchdog"`
	// The server's own log, on stderr.
	Log Log `toml:"log"`
	// The access log: one line per response.
	AccessLog AccessLog `toml:"access_log"`
	// Spans for OpenTelemetry.
	Tracing Tracing `toml:"tracing"`
	// Middlewares around all requests, including those that match no route. From the outermost: secure_headers, cors,
	// allow_ip and deny_ip, shed, rate_limit, concurrency_max, compress, basic_auth, forward_auth, use.
	Middleware Middleware `toml:"middleware"`
	// Modules that are compiled into the binary: one table for each, [module.NAME], with the keys of the module. A module has
	// handlers and middlewares that share its configuration, and is made if it has a table or if one of them is used.
	Modules map[string]Table `toml:"module"`
	// A group of servers to proxy to. Repeat the section for each group.
	Upstreams []Upstream `toml:"upstream"`
	// One route and its action. Repeat the section for each route. The most specific path that allows the method wins; the
	// order in the file does not matter.
	Routes []Route `toml:"route"`
	// Routes for some hosts, with certificates, error pages and an access log of their own. Repeat the section for each site.
	Sites []Site `toml:"site"`
	// Pages for errors that the server answers itself, for all hosts but those of sites with pages of their own; see
	// site.error_pages. They are read at the start and at SIGHUP.
	ErrorPages map[string]string `toml:"error_pages"`

	// OpenLog opens the access log of a site. Without it, as in Check, sites do not log.
	OpenLog func(*SiteAccessLog) (SiteLog, error)

	source   *source
	registry *Registry
	modules  map[string]any  // their configurations, of those that are made
	spoilt   map[string]bool // parts of a file with problems, which Check skips
	warnings Problems
	// The file has [acme], so sites without certs obtain some.
	sitesObtain bool
}

// Server is the section of the same name.
type Server struct {
	// Listen address: HOST:PORT (port 0 picks a free port, which is printed), unix:/path, or systemd:NAME for a systemd
	// socket by its FileDescriptorName. A systemd socket that is bound to the address is used in its place.
	Listen ListenAddress `toml:"listen" default:"127.0.0.1:8080" reload:"restart"`
	// Accept HTTP/2 without TLS on server.listen, from clients that begin with it (h2c by prior knowledge).
	HTTP2 bool `toml:"http2" default:"true" reload:"restart"`
	// Absolute path of a unix socket, such as "/run/tafe/handover.sock", on which this process passes its listening sockets
	// to the next one. A process that starts with the same path takes them over without losing a connection, and the old
	// process drains. Unset: no handover.
	Handover SocketPath `toml:"handover" default:"" reload:"restart"`
	// Number of event loops. Unset: one per CPU that the process may use (GOMAXPROCS).
	Loops int `toml:"loops" min:"1" max:"1024" reload:"restart"`
	// Longest time that a handler may hold its loop while other requests wait. After it, another goroutine takes the loop
	// over, and the handler runs on beside it. "off" disables handoff.
	Handoff Handoff `toml:"handoff" default:"2ms" reload:"restart"`
	// Order in which ready requests run. "light-first": requests of routes that have needed little time run first; the
	// others run one at a time, oldest first. "arrival": in the order of arrival.
	Order string `toml:"order" default:"light-first" oneof:"light-first|arrival" reload:"restart"`
	// Value of the Server header; "-" omits it.
	Name HeaderValue `toml:"name" default:"tafe"`
	// Networks of proxies in front of this server. Their X-Forwarded-For gives the client address for allow_ip, deny_ip,
	// rate_limit, hash_by and the access log, and their X-Forwarded-Proto the scheme that the client used. Their
	// X-Forwarded-For, -Proto, -Host and Forwarded are passed on to upstreams. From other clients these fields are ignored and dropped.
	TrustedProxies []Network `toml:"trusted_proxies"`
	// Send Server-Timing with the queue, slice and backend time of each response. Any client can read it: for staging.
	ServerTiming bool `toml:"server_timing" default:"false"`
	// Response header that carries the request ID; "" sends none.
	RequestIDHeader HeaderName `toml:"request_id_header" default:""`
	// Use the X-Request-ID of the client if it is a token of at most 64 bytes. Only behind a proxy that sets it.
	TrustRequestID bool `toml:"trust_request_id" default:"false"`
}

// HTTP2 is the section of the same name.
type HTTP2 struct {
	// Requests of a connection at once. Further ones are refused with REFUSED_STREAM. A reload changes it for new connections.
	StreamsMax int `toml:"streams_max" default:"128" min:"1" max:"100000"`
	// Received bytes of a request body that may be unread. The window begins with 64KiB and grows while the handler reads
	// faster than the client sends.
	StreamWindowBytesMax Bytes `toml:"stream_window_bytes_max" default:"1MiB" min:"64KiB" max:"1GiB"`
	// The same for all requests of a connection. It begins with 256KiB.
	ConnWindowBytesMax Bytes `toml:"conn_window_bytes_max" default:"4MiB" min:"64KiB" max:"1GiB"`
	// Bytes by which the windows of all connections of a loop may grow.
	LoopWindowBytesMax Bytes `toml:"loop_window_bytes_max" default:"256MiB" min:"0" max:"1TiB"`
	// CONTINUATION frames of one request.
	ContinuationsMax int `toml:"continuations_max" default:"16" min:"1" max:"10000"`
	// Requests that a client cancels within 30 seconds, or that are reset for its errors.
	ResetsMax int `toml:"resets_max" default:"1000" min:"10" max:"1000000000"`
	// SETTINGS, PING, PRIORITY and WINDOW_UPDATE frames within 30 seconds, beyond 4 for each frame with a request or data.
	ControlFramesMax int `toml:"control_frames_max" default:"1000" min:"10" max:"1000000000"`
	// DATA frames without data within 30 seconds, beyond 4 for each frame with a request or data.
	EmptyFramesMax int `toml:"empty_frames_max" default:"1000" min:"10" max:"1000000000"`
	// Time in which a client must acknowledge SETTINGS.
	SettingsTimeout Duration `toml:"settings_timeout" default:"10s" min:"1s" max:"10m"`
}

// Limits is the section of the same name.
type Limits struct {
	// Size of a request head: start line, header fields and the empty line. Larger: 431.
	HeadBytesMax Bytes `toml:"head_bytes_max" default:"32KiB" min:"256" max:"1MiB"`
	// Header fields in a request, or in its trailer section. More: 431.
	HeaderCountMax int `toml:"header_count_max" default:"100" min:"1" max:"10000"`
	// Size of the request target. Larger: 414.
	TargetBytesMax Bytes `toml:"target_bytes_max" default:"8KiB" min:"16" max:"1MiB"`
	// Size of a request body, unless the route sets its own. Larger: 413.
	BodyBytesMax Bytes `toml:"body_bytes_max" default:"10MiB" min:"1" max:"1TiB"`
	// Minimum average rate of a request body in bytes per second, after the first five seconds. Only time in which the
	// handler waits for the body counts. Slower: 408. 0: no minimum. See route.slow_body.
	BodyRateMin int `toml:"body_rate_min" default:"240" min:"0" max:"1000000000"`
	// Bytes of chunk extensions in a request body, beyond 16 for each chunk and twice the size of its data. More: 400.
	ChunkOverheadBytesMax Bytes `toml:"chunk_overhead_bytes_max" default:"16KiB" min:"64" max:"16MiB"`
	// Size of the trailer section of a request. Larger: 431; over HTTP/2 the request is reset.
	TrailerBytesMax Bytes `toml:"trailer_bytes_max" default:"8KiB" min:"64" max:"1MiB"`
	// Open connections of all loops together. More are closed at once. Unset: what the limit on open files leaves after a
	// reserve for upstreams, files and logs: a quarter of the limit, at most 8,192. The same bound applies to larger values.
	ConnMax int `toml:"conn_max" min:"1" max:"10000000" reload:"restart"`
	// Open connections per client address; behind the PROXY protocol, per announced address. More are closed at once. 0: no
	// bound.
	ConnMaxPerIP int `toml:"conn_max_per_ip" default:"0" min:"0" max:"10000000" reload:"restart"`
	// Open connections to upstreams and stores, of all loops together. Beyond it, connecting fails. Unset: half of the
	// reserve that conn_max leaves.
	DialMax int `toml:"dial_max" min:"1" max:"10000000" reload:"restart"`
	// Requests in handlers, per loop. More: 503. Responses to a sixteenth more pass through the middlewares; the rest lack their
	// headers, such as those of CORS.
	TaskMax int `toml:"task_max" default:"65536" min:"1" max:"10000000" reload:"restart"`
	// Coroutines kept for reuse, per loop, about 3 KiB each. Others end with their request.
	IdleTaskMax int `toml:"idle_task_max" default:"1024" min:"1" max:"10000000" reload:"restart"`
	// Handlers that run beside their loop at once, per loop, each on its own goroutine. Beyond it, a slow handler keeps its
	// loop.
	ReleasedMax int `toml:"released_max" default:"256" min:"1" max:"100000" reload:"restart"`
	// Queued calls from other goroutines to a loop, per loop. Beyond it, calls fail.
	PostMax int `toml:"post_max" default:"1048576" min:"1024" max:"100000000" reload:"restart"`
	// Unread bytes that a connection buffers. Beyond it the client is not read until some are consumed. At least
	// head_bytes_max.
	InboundBytesMax Bytes `toml:"inbound_bytes_max" default:"1MiB" min:"4KiB" max:"1GiB" reload:"restart"`
	// Unsent bytes that a connection buffers. Beyond it a handler that writes waits.
	OutboundBytesMax Bytes `toml:"outbound_bytes_max" default:"128KiB" min:"4KiB" max:"1GiB" reload:"restart"`
}

// Timeouts is the section of the same name.
type Timeouts struct {
	// From the first byte of a request to the end of its head. After it: 408.
	Head Duration `toml:"head" default:"10s" min:"1ms" max:"1h"`
	// Between two reads of a request body. After it: 408.
	Body Duration `toml:"body" default:"30s" min:"1ms" max:"1h"`
	// Between two requests of a connection. After it the connection is closed.
	Idle Duration `toml:"idle" default:"75s" min:"1ms" max:"24h"`
	// Run time of a handler, unless its route sets its own. After it the handler is cancelled: 503. 0s: no timeout.
	Handler Duration `toml:"handler" default:"0s" min:"0s" max:"24h"`
	// Time in which a client must accept the next 16 KiB of a response. After it the connection is closed.
	Write Duration `toml:"write" default:"30s" min:"1ms" max:"1h" reload:"restart"`
	// Time after SIGTERM in which requests are served as before while /readyz already answers 503, so that load balancers
	// notice before connections are closed. Two or three of their check intervals.
	DrainDelay Duration `toml:"drain_delay" default:"0s" min:"0s" max:"1h"`
	// Time that requests in flight may take after SIGTERM and drain_delay.
	Drain Duration `toml:"drain" default:"30s" min:"0s" max:"24h"`
}

// Admin is the section of the same name.
type Admin struct {
	// Address of the listener, HOST:PORT.
	Listen Address `toml:"listen" default:"127.0.0.1:9180" reload:"restart"`
	// Token that requests which change the server need, as Authorization: Bearer TOKEN. Unset: only clients on this host may
	// change it, at a loopback address.
	Token Secret `toml:"token" reload:"restart"`
}

// Log is the section of the same name.
type Log struct {
	// Format of a line.
	Format string `toml:"format" default:"text" oneof:"text|json" reload:"restart"`
	// Lowest level that is logged.
	Level string `toml:"level" default:"info" oneof:"debug|info|warn|error"`
}

// Tracing is the section of the same name.
type Tracing struct {
	// URL of a collector for OTLP over HTTP, such as "http://127.0.0.1:4318/v1/traces". Unset: no tracing.
	Endpoint string `toml:"endpoint" default:"" reload:"restart"`
	// Headers of each export, such as { Authorization = "env:OTLP_TOKEN" }.
	Headers map[string]Secret `toml:"headers" reload:"restart"`
	// Name of the service.
	Service string `toml:"service" default:"tafe" reload:"restart"`
	// Fraction, 0 to 1, of requests without a traceparent that are sampled. Requests with one follow its sampled flag.
	Sample float64 `toml:"sample" default:"0.01" min:"0" max:"1" reload:"restart"`
	// Queued spans, some 2 KiB each. Spans beyond it are dropped and counted.
	QueueMax int `toml:"queue_max" default:"4096" min:"16" max:"1000000" reload:"restart"`
	// Timeout of an export. After it the spans of the export are lost.
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
	c := &Config{source: &source{file: "(defaults)"}, registry: &Registry{}}
	setDefaults(c)
	return c
}
