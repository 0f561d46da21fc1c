// [[route]] and [middleware]: their keys. build.go makes handlers of them.

package config

// Middleware is the section of the same name, and part of each route. The middlewares of a route apply to it alone, with
// buckets and counters of their own.
type Middleware struct {
	// Security-related response headers.
	SecureHeaders *SecureHeaders `toml:"secure_headers"`
	// Allow pages of other origins to read responses (Fetch standard). In a route, preflight requests for its path are
	// answered too.
	CORS *CORS `toml:"cors"`
	// Networks of clients that are admitted, such as "10.0.0.0/8" or "::1"; others get 403. Behind a proxy, list the proxy
	// in server.trusted_proxies.
	AllowIP []Network `toml:"allow_ip"`
	// Networks of clients that get 403.
	DenyIP []Network `toml:"deny_ip"`
	// Refuse a share of the requests while loops are overloaded: 503 with Retry-After.
	Shed *Shed `toml:"shed"`
	// Requests per client. More: 429 with Retry-After.
	RateLimit *RateLimit `toml:"rate_limit"`
	// Concurrent requests, of all loops together. More: 503 with Retry-After. Unset: only limits.task_max.
	ConcurrencyMax int `toml:"concurrency_max" min:"1" max:"10000000"`
	// Compress responses.
	Compress *Compress `toml:"compress"`
	// Users and passwords for basic authentication (RFC 7617); other clients get 401. Passwords are sent with each request:
	// use it behind TLS only.
	BasicAuth *BasicAuth `toml:"basic_auth"`
	// Ask an [[upstream]] about each request.
	ForwardAuth *ForwardAuth `toml:"forward_auth"`
	// Middlewares that are compiled into the binary, such as [{ name = "session", config = { … } }]. They are inside the
	// others, the first outermost.
	Use []Use `toml:"use"`
}

// Route is one [[route]]. It has exactly one action: handler, respond, redirect, static or proxy.
type Route struct {
	// Pattern for the percent-decoded path: "/users/me" matches that path, "/users/{id}" one segment, "/files/{path...}" the
	// rest of the path. Required, unless match.path is given: then it is "/{path...}".
	Path string `toml:"path" default:""`
	// Methods, such as ["GET", "POST"]; GET includes HEAD. Unset: all methods.
	Methods []string `toml:"methods"`
	// Conditions beside path and methods. Of the routes with the same path, the one with the most conditions is tried first,
	// and of those with equally many the first in the file; methods count as one condition. A route whose conditions are not
	// met is skipped.
	Match *Match `toml:"match"`
	// Path that the action sees in place of the request's, such as "/new/{path.1}". The query is kept, unless the text has a '?':
	// "/new?id={id}" replaces it. The request is not routed again. In a static action it is the name of the file.
	Rewrite string `toml:"rewrite" default:""`
	// Name in logs and metrics. Unset: the path, behind the first host of its site.
	Name string `toml:"name"`
	// Longest time that the handler may hold its loop without a report. Unset: watchdog.budget.
	Budget Duration `toml:"budget" min:"100us" max:"1h"`
	// Longest time that the handler may hold its loop while other requests wait; then another goroutine takes the loop over.
	// "off" disables handoff for the route. Unset: server.handoff.
	Handoff Handoff `toml:"handoff"`
	// Start the handler beside its loop: for handlers that are known to block or to compute for long.
	Blocking bool `toml:"blocking" default:"false"`
	// Run time of the handler. After it the handler is cancelled: 503. Unset: timeouts.handler.
	Timeout Duration `toml:"timeout" min:"1ms" max:"24h"`
	// Size of a request body, larger or smaller than limits.body_bytes_max. Larger: 413.
	BodyBytesMax Bytes `toml:"body_bytes_max" min:"1" max:"1TiB"`

	// Exempt request bodies from limits.body_rate_min: for routes to which clients stream.
	SlowBody bool `toml:"slow_body" default:"false"`

	// Action: the handler of this name that is compiled into the binary, or MODULE.NAME for one of a [module].
	Handler string `toml:"handler"`
	// Configuration of the handler. Its keys are those of the handler.
	Config Table `toml:"config"`
	// Action: send a fixed response.
	Respond *Respond `toml:"respond"`
	// Action: redirect the client.
	Redirect *Redirect `toml:"redirect"`
	// Action: serve the files of a directory.
	Static *Static `toml:"static"`
	// Action: proxy to an [[upstream]].
	Proxy *Proxy `toml:"proxy"`

	// Middlewares of this route, inside those of all requests.
	Middleware

	config any // decoded, for the handler; nil: none
}

// Respond sends a fixed response.
type Respond struct {
	// Status code.
	Status int `toml:"status" default:"200" min:"200" max:"599"`
	// Content-Type.
	ContentType HeaderValue `toml:"content_type" default:"text/plain; charset=utf-8"`
	// Body. Variables such as {host} are replaced, and escaped as content_type requires. Statuses 204 and 304 have none.
	Body string `toml:"body"`
	// Other headers, such as { Cache-Control = "no-store" }, with variables.
	Headers map[string]HeaderValue `toml:"headers"`
}

// Redirect sends the client to another URL.
type Redirect struct {
	// Target: a URL or a path, with variables, as in "https://new.example{path}". Values keep the encoding that the client has
	// used.
	To HeaderValue `toml:"to" required:"yes"`
	// 301 and 308 are permanent and cached by browsers, 302 and 307 are temporary; 307 and 308 keep the method; 303 changes
	// it to GET.
	Status int `toml:"status" default:"308" oneof:"301|302|303|307|308"`
	// Append the query of the request, unless the target has {uri} or {query}.
	KeepQuery bool `toml:"keep_query" default:"true"`
}

// RateLimit is a token bucket per client.
type RateLimit struct {
	// Sustained requests per second.
	Rate float64 `toml:"rate" required:"yes" min:"0.0001" max:"1000000000"`
	// Size of the bucket: requests that a client may make at once.
	Burst int `toml:"burst" required:"yes" min:"1" max:"1000000000"`
	// Clients that are tracked, some 100 bytes each. Beyond it, the client that was idle for longest is evicted.
	ClientsMax int `toml:"clients_max" default:"65536" min:"32" max:"100000000"`
	// Request header that identifies the client, such as "X-Api-Key"; requests without it are not limited. Unset: the client
	// address, for IPv6 its first 64 bits.
	Header HeaderName `toml:"header" default:""`
	// Share the buckets with other servers.
	Shared *SharedLimit `toml:"shared"`
}

// Shed refuses requests early while a loop is overloaded.
type Shed struct {
	// Loop lag above which requests are refused, once it has lasted for a tenth of a second. The refused share grows while
	// the lag stays above it, and shrinks below it.
	LagMax Duration `toml:"lag_max" default:"20ms" min:"1ms" max:"10s"`
}

// Compress selects the responses to compress, for clients that accept it: status 200, a compressible type, and no
// Content-Encoding.
type Compress struct {
	// Codings: zstd, br, gzip. The client's preference decides, and among equals this order. Unset: zstd, br, gzip.
	Codings []string `toml:"codings"`
	// Smaller responses are not compressed.
	BytesMin Bytes `toml:"bytes_min" default:"1KiB" min:"1" max:"1GiB"`
	// Types in addition to text/*, JSON, XML, JavaScript, SVG, WebAssembly and the like, such as "application/x-protobuf".
	Types []string `toml:"types"`
}

// BasicAuth lists the users that are admitted.
type BasicAuth struct {
	// Realm that browsers show in the password prompt.
	Realm HeaderValue `toml:"realm" default:"restricted"`
	// Passwords by user, such as { alice = "env:ALICE_PASSWORD" }.
	Users map[string]Secret `toml:"users" required:"yes"`
}

// CORS lists the pages that may read responses.
type CORS struct {
	// Origins of the pages, such as "https://a.example", or "*" for all.
	Origins []string `toml:"origins" required:"yes"`
	// Methods in addition to GET, HEAD and POST.
	Methods []string `toml:"methods"`
	// Request headers in addition to the CORS-safelisted ones, such as "Content-Type" for JSON.
	Headers []string `toml:"headers"`
	// Response headers that pages may read in addition to the CORS-safelisted ones.
	Expose []string `toml:"expose"`
	// Allow cookies and Authorization. Not together with "*".
	Credentials bool `toml:"credentials" default:"false"`
	// Time for which browsers may cache a preflight response. Unset: the default of the browser.
	MaxAge Duration `toml:"max_age" min:"1s" max:"24h"`
}

// SecureHeaders are response headers. "-" omits one.
type SecureHeaders struct {
	// X-Content-Type-Options.
	ContentTypeOptions HeaderValue `toml:"content_type_options" default:"nosniff"`
	// X-Frame-Options.
	FrameOptions HeaderValue `toml:"frame_options" default:"DENY"`
	// Referrer-Policy.
	ReferrerPolicy HeaderValue `toml:"referrer_policy" default:"strict-origin-when-cross-origin"`
	// Cross-Origin-Opener-Policy.
	OpenerPolicy HeaderValue `toml:"opener_policy" default:"same-origin"`
	// Content-Security-Policy.
	ContentSecurityPolicy HeaderValue `toml:"content_security_policy" default:"-"`
	// Permissions-Policy.
	PermissionsPolicy HeaderValue `toml:"permissions_policy" default:"-"`
	// max-age of Strict-Transport-Security. Unset: the header is not sent. Browsers keep it: it cannot be revoked.
	HSTS Duration `toml:"hsts" min:"1s" max:"100000h"`
	// Include subdomains in Strict-Transport-Security.
	HSTSSubdomains bool `toml:"hsts_subdomains" default:"false"`
}
