// [[route]] and [middleware]: their keys. build.go makes handlers of them.

package config

// Middleware is the section of the same name, and part of each route: there it holds for that route alone, which has
// buckets and places of its own.
type Middleware struct {
	// Response headers that tell browsers to be careful.
	SecureHeaders *SecureHeaders `toml:"secure_headers"`
	// Pages of other origins that may read the answers (Fetch standard). In a route, preflights of its path are answered
	// too.
	CORS *CORS `toml:"cors"`
	// Networks whose clients are admitted, such as "10.0.0.0/8" or "::1"; others get 403. Behind a proxy, name that in
	// server.trusted_proxies.
	AllowIP []Network `toml:"allow_ip"`
	// Networks whose clients get 403.
	DenyIP []Network `toml:"deny_ip"`
	// Refuse a part of the requests while loops have more to do than they can: 503 with Retry-After.
	Shed *Shed `toml:"shed"`
	// How many requests one client may make. Beyond: 429 with Retry-After.
	RateLimit *RateLimit `toml:"rate_limit"`
	// Requests that may be inside at once, of all loops together. Beyond: 503 with Retry-After. Without it, no bound but
	// limits.task_max.
	ConcurrencyMax int `toml:"concurrency_max" min:"1" max:"10000000"`
	// Compress answers on the way.
	Compress *Compress `toml:"compress"`
	// Users that are admitted, with their passwords (RFC 7617); others get 401. Passwords travel with each request: use
	// it behind TLS alone.
	BasicAuth *BasicAuth `toml:"basic_auth"`
}

// Route is one [[route]]. It has exactly one action: respond, redirect, static or proxy.
type Route struct {
	// Pattern of the paths, percent-decoded: "/users/me" is that path alone, "/users/{id}" takes one segment,
	// "/files/{path...}" everything behind.
	Path string `toml:"path" required:"yes"`
	// Methods, such as ["GET", "POST"]; GET takes HEAD too. Without it, every method.
	Methods []string `toml:"methods"`
	// Name in logs and metrics. Without it, the path.
	Name string `toml:"name"`
	// The longest that the handler may hold its loop without being reported. Without it, watchdog.budget.
	Budget Duration `toml:"budget" min:"100us" max:"1h"`
	// The longest that the handler may hold its loop while other requests wait; then another goroutine takes the loop over. "off": the
	// loop is never taken from it. Without it, server.handoff.
	Handoff Handoff `toml:"handoff"`
	// Start the handler beside its loop: for one that is known to block or to compute for long.
	Blocking bool `toml:"blocking" default:"false"`
	// From the handler's start to its cancellation. Then 503. Without it, timeouts.handler.
	Timeout Duration `toml:"timeout" min:"1ms" max:"24h"`
	// Request body, in place of limits.body_bytes_max: it may be more or less. Beyond: 413.
	BodyBytesMax Bytes `toml:"body_bytes_max" min:"1" max:"1TiB"`

	// Request bodies may come at any rate, whatever limits.body_rate_min says: for routes to which clients stream.
	SlowBody bool `toml:"slow_body" default:"false"`

	// Action: a fixed answer.
	Respond *Respond `toml:"respond"`
	// Action: sends the client elsewhere.
	Redirect *Redirect `toml:"redirect"`
	// Action: the files of a directory.
	Static *Static `toml:"static"`
	// Action: passes requests on to an [[upstream]].
	Proxy *Proxy `toml:"proxy"`

	// What surrounds this route alone, inside of what surrounds all requests.
	Middleware
}

// Respond is a fixed answer.
type Respond struct {
	// Status of the answer.
	Status int `toml:"status" default:"200" min:"200" max:"599"`
	// Its Content-Type.
	ContentType HeaderValue `toml:"content_type" default:"text/plain; charset=utf-8"`
	// Its body, as it is. Statuses 204 and 304 have none.
	Body string `toml:"body"`
	// Other headers, such as { Cache-Control = "no-store" }.
	Headers map[string]HeaderValue `toml:"headers"`
}

// Redirect sends the client elsewhere.
type Redirect struct {
	// Where to: a URL or a path. It may hold parameters of the route's path, as "https://new.example/{path}"; their
	// values are escaped.
	To HeaderValue `toml:"to" required:"yes"`
	// 301 and 308 are permanent and kept by browsers, 302 and 307 are not; 307 and 308 keep the method; 303 turns it into
	// GET.
	Status int `toml:"status" default:"308" oneof:"301|302|303|307|308"`
	// Append the request's query.
	KeepQuery bool `toml:"keep_query" default:"true"`
}

// RateLimit is a token bucket for each client.
type RateLimit struct {
	// Requests per second that a client may go on making.
	Rate float64 `toml:"rate" required:"yes" min:"0.0001" max:"1000000000"`
	// Requests that it may make at once after a rest.
	Burst int `toml:"burst" required:"yes" min:"1" max:"1000000000"`
	// Clients that are remembered, some 100 bytes each. Beyond it, who was not seen for longest is forgotten.
	ClientsMax int `toml:"clients_max" default:"65536" min:"32" max:"100000000"`
	// Request header that tells clients apart, such as "X-Api-Key"; requests without it are not limited. Without it, the
	// client's address does, of IPv6 the first 64 bits.
	Header HeaderName `toml:"header" default:""`
	// Share the buckets with other servers.
	Shared *SharedLimit `toml:"shared"`
}

// Shed refuses early what could only be answered late.
type Shed struct {
	// How late a loop may be, all the time for a tenth of a second, before it refuses requests; more of them as long as it stays
	// so, fewer when it does not.
	LagMax Duration `toml:"lag_max" default:"20ms" min:"1ms" max:"10s"`
}

// Compress says which answers are compressed, for clients that accept it: those of 200 that are text of some kind and come without
// Content-Encoding.
type Compress struct {
	// Codings that may be used: zstd, br, gzip. The client's preference counts, and among equals this order. Without it, zstd, br and
	// gzip.
	Codings []string `toml:"codings"`
	// Answers that are shorter are left as they are.
	BytesMin Bytes `toml:"bytes_min" default:"1KiB" min:"1" max:"1GiB"`
	// Types beyond text/*, JSON, XML, JavaScript, SVG, WebAssembly and the like, such as "application/x-protobuf".
	Types []string `toml:"types"`
}

// BasicAuth says who is admitted.
type BasicAuth struct {
	// What browsers show when they ask for the password.
	Realm HeaderValue `toml:"realm" default:"restricted"`
	// Passwords by user, such as { alice = "env:ALICE_PASSWORD" }.
	Users map[string]Secret `toml:"users" required:"yes"`
}

// CORS says which pages may read answers.
type CORS struct {
	// Origins of the pages, such as "https://a.example", or "*" for all.
	Origins []string `toml:"origins" required:"yes"`
	// Methods beyond GET, HEAD and POST.
	Methods []string `toml:"methods"`
	// Request headers beyond those that browsers send unasked, such as "Content-Type" for JSON.
	Headers []string `toml:"headers"`
	// Response headers that pages may read beyond the usual ones.
	Expose []string `toml:"expose"`
	// With cookies and Authorization. Not together with "*".
	Credentials bool `toml:"credentials" default:"false"`
	// How long browsers may keep the answer to a preflight. Without it, as long as they like.
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
	// Strict-Transport-Security with this max-age. Without it, none: once sent, it cannot be taken back.
	HSTS Duration `toml:"hsts" min:"1s" max:"100000h"`
	// For all hosts below, too.
	HSTSSubdomains bool `toml:"hsts_subdomains" default:"false"`
}
