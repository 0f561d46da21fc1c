// [[upstream]] and the proxy action: their keys, and the app/proxy groups and handlers that they describe.

package config

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"tafe/app"
	"tafe/app/client"
	"tafe/app/proxy"
	"tafe/app/variable"
	"tafe/httpparse"
)

// Upstream is one [[upstream]]: a group of servers that answer the same requests.
type Upstream struct {
	// Name by which routes refer to it.
	Name string `toml:"name" required:"yes"`
	// Servers, such as [{ addr = "127.0.0.1:9001" }, { addr = "api.internal:80" }, { addr = "unix:/run/app.sock" }]. They may
	// change while the server runs: names are looked up again.
	Servers []UpstreamServer `toml:"servers" required:"yes"`
	// Choice of a server. round_robin: in turn, by weight. least_active: fewest requests in flight. two_choices: the less
	// busy of two random ones, as random two of nginx. hash: the same server for the same key (route.proxy.hash_by), unless it is overloaded.
	Policy string `toml:"policy" default:"round_robin" oneof:"round_robin|least_active|two_choices|hash"`
	// Host header for the servers. Unset: the client's for requests of the client; the address of the server for health checks and
	// forward_auth, whose X-Forwarded-Host has that of the client.
	Host HeaderValue `toml:"host" default:""`
	// Connect to the servers with https.
	TLS *UpstreamTLS `toml:"tls"`
	// Protocol spoken to the servers. h2 is HTTP/2 over TLS; without a tls table, the servers need certificates that the system
	// trusts. h2c is HTTP/2 without TLS, by prior knowledge. gRPC needs one of them.
	Proto string `toml:"proto" default:"http/1.1" oneof:"http/1.1|h2|h2c"`
	// Requests on one connection at once with h2 and h2c, unless the server allows fewer. Beyond it, further connections are
	// opened, up to conns_per_server_max.
	StreamsMax int `toml:"streams_max" default:"100" min:"1" max:"10000"`
	// Connections to one server, per loop. Beyond it, requests wait for up to wait_timeout.
	ConnsPerServerMax int `toml:"conns_per_server_max" default:"256" min:"1" max:"100000"`
	// Requests in flight to one server, of all loops. Beyond it other servers are tried; if there is none, requests wait for
	// up to wait_timeout. Unset: no bound.
	RequestsMax int `toml:"requests_max" min:"1" max:"10000000"`
	// Requests that wait for a server below requests_max, of all loops, and for a connection to one server, per loop. More:
	// 503. 0: none waits for a server.
	QueueMax int `toml:"queue_max" default:"1024" min:"0" max:"1000000"`
	// Size of a response head. Larger: 502, without a retry.
	HeadBytesMax Bytes `toml:"head_bytes_max" default:"64KiB" min:"256" max:"1MiB"`
	// Header fields of a response. More: 502, without a retry.
	HeaderCountMax int `toml:"header_count_max" default:"1000" min:"1" max:"10000"`
	// Timeout of connecting and of the TLS handshake. After it another server is tried; if there is none: 502.
	ConnectTimeout Duration `toml:"connect_timeout" default:"2s" min:"1ms" max:"1h"`
	// From the start of one try to the response head. After it another server is tried if the request allows it; else 504.
	HeadTimeout Duration `toml:"head_timeout" default:"30s" min:"1ms" max:"24h"`
	// Between two reads or writes of a body.
	BodyTimeout Duration `toml:"body_timeout" default:"30s" min:"1ms" max:"24h"`
	// Time after which an idle connection is closed. Set it below the idle timeout of the servers.
	IdleTimeout Duration `toml:"idle_timeout" default:"30s" min:"1ms" max:"24h"`
	// Time that a request waits for a server below requests_max, for a connection while all are in use, or for the first
	// lookup of a name. After it: 503.
	WaitTimeout Duration `toml:"wait_timeout" default:"1s" min:"1ms" max:"1h"`
	// Tries per request. A request is retried if it was not sent, or if it is idempotent and no response has begun.
	Tries int `toml:"tries" default:"2" min:"1" max:"10"`
	// Retries in percent of all requests, with bursts of ten. It bounds the extra load on a group that fails.
	RetryPercent int `toml:"retry_percent" default:"20" min:"1" max:"100"`
	// Hedging: send an idempotent request without a body a second time when its response is later than most. The share of
	// hedged requests is at most this many percent. Unset: no hedging.
	HedgePercent int `toml:"hedge_percent" min:"1" max:"50"`
	// Consecutive failures (no connection, no response, 502, 503, 504) after which a server is ejected for eject_time. The
	// time grows with each ejection, up to eject_time_max. At most half of the servers are ejected at once. 0: never.
	FailuresMax int `toml:"failures_max" default:"5" min:"0" max:"100000"`
	// See failures_max.
	EjectTime Duration `toml:"eject_time" default:"10s" min:"1ms" max:"24h"`
	// See failures_max.
	EjectTimeMax Duration `toml:"eject_time_max" default:"5m" min:"1ms" max:"24h"`
	// Time in which the share of a server grows from a twentieth to its weight, after a lookup has added it, it has become
	// available again, or it was undrained. 0s: it gets its share at once.
	SlowStart Duration `toml:"slow_start" default:"10s" min:"0s" max:"1h"`
	// Active health checks of every server.
	Check *UpstreamCheck `toml:"check"`
	// Send the requests of a client to the same server, by a cookie.
	Sticky *UpstreamSticky `toml:"sticky"`
	// Tell the servers the address of the client by a PROXY header. Each request then has a connection of its own, because
	// the header describes one client.
	ProxyProtocol string `toml:"proxy_protocol" default:"off" oneof:"off|v1|v2"`
	// DNS server for the names of servers, ADDRESS:PORT. Unset: those of /etc/resolv.conf.
	Resolver Resolver `toml:"resolver" default:""`
	// Time between two lookups of a name. Unset: the TTL of its records, at least 1 s and at most 1 h; 10 s for names of
	// /etc/hosts.
	ResolveEvery Duration `toml:"resolve_every" min:"10ms" max:"24h"`
	// Addresses of a name that are used: all, or those of one IP version.
	ResolveIP string `toml:"resolve_ip" default:"any" oneof:"any|4|6"`
}

// UpstreamServer is one server of an upstream.
type UpstreamServer struct {
	// HOST:PORT, unix:/path or srv:NAME, such as "srv:_http._tcp.api.internal". Each address of a name is a server of its own.
	// When a lookup fails, the servers of the last good one stay. localhost is not looked up.
	Addr string `toml:"addr" required:"yes"`
	// Weight relative to the other servers. SRV records have their own weights.
	Weight int `toml:"weight" default:"1" min:"1" max:"256"`
	// Use the server only while no other is available.
	Backup bool `toml:"backup" default:"false"`
}

// UpstreamSticky binds a client to a server by a cookie of the proxy. The client goes to another server when its own is not
// available, or is busy for longer than wait_timeout.
type UpstreamSticky struct {
	// Name of the cookie.
	Cookie HeaderName `toml:"cookie" default:"tafe_server"`
	// Lifetime of the cookie. Unset: until the browser is closed.
	MaxAge Duration `toml:"max_age" min:"1s" max:"10000h"`
}

// UpstreamTLS configures https to the servers of an upstream.
type UpstreamTLS struct {
	// Name in the server's certificate. Unset: the host of the server's address; for srv:NAME the domain of the name.
	ServerName string `toml:"server_name" default:""`
	// PEM file of trusted authorities. Unset: those of the system.
	CA string `toml:"ca" default:""`
	// PEM file of the client certificate; key is required with it.
	Cert string `toml:"cert" default:""`
	// See cert.
	Key string `toml:"key" default:""`
	// Accept any certificate. The connection is encrypted, but the server is not authenticated.
	Insecure bool `toml:"insecure" default:"false"`
}

// UpstreamCheck is a health check.
type UpstreamCheck struct {
	// Call Check of grpc.health.v1 in place of a GET request. The upstream needs proto = "h2" or "h2c".
	GRPC bool `toml:"grpc" default:"false"`
	// Name of the service for grpc. Unset: the server as a whole.
	Service string `toml:"service" default:""`
	// Path of the GET request.
	Path string `toml:"path" default:"/"`
	// Status of a healthy server. Unset: 200 to 399.
	Status int `toml:"status" min:"200" max:"599"`
	// Interval between two checks of a server.
	Interval Duration `toml:"interval" default:"5s" min:"1ms" max:"24h"`
	// Timeout of the response.
	Timeout Duration `toml:"timeout" default:"2s" min:"1ms" max:"1h"`
	// Consecutive successes after which a server is up.
	Rise int `toml:"rise" default:"2" min:"1" max:"100"`
	// Consecutive failures after which a server is down.
	Fall int `toml:"fall" default:"3" min:"1" max:"100"`
}

// Proxy passes requests to an upstream.
type Proxy struct {
	// Name of the [[upstream]].
	Upstream string `toml:"upstream" required:"yes"`
	// Prefix that is removed from the path, such as "/api". It is added again to Location and to the Path of Set-Cookie in
	// responses.
	StripPrefix string `toml:"strip_prefix" default:""`
	// Prefix that is then added to the path.
	AddPrefix string `toml:"add_prefix" default:""`
	// Pass the path as the client sent it, for servers that verify a signature of it. Otherwise they get its normal form.
	// Paths that are refused without it are refused with it. With a prefix, paths with dot segments get 400.
	RawPath bool `toml:"raw_path" default:"false"`
	// Name of this hop in the Via field, in both directions. Unset: server.name; "-" omits the field.
	Via string `toml:"via" default:""`
	// Send Forwarded (RFC 7239) in addition to X-Forwarded-For, -Proto and -Host.
	Forwarded bool `toml:"forwarded" default:"false"`
	// Key of the hash policy: client (as ip_hash of nginx), path, header:NAME or cookie:NAME.
	HashBy string `toml:"hash_by" default:"client"`
	// Request bodies up to this size are buffered before a server is chosen, so that a slow client occupies no connection,
	// and can be retried. Larger bodies are streamed.
	BodyMemoryMax Bytes `toml:"body_memory_max" default:"64KiB" min:"1" max:"16MiB"`
	// Time without a byte after which a response or an upgraded connection ends. Unset: 1 h for upgraded connections, such as
	// WebSockets, and for responses of the types text/event-stream and application/grpc; body_timeout of the upstream for
	// other responses.
	StreamIdle Duration `toml:"stream_idle" min:"1ms" max:"168h"`
	// Pass the verified certificate of the client on (RFC 9440): leaf sends Client-Cert, chain also Client-Cert-Chain. Fields
	// with these names in requests are removed in any case, unless a proxy of server.trusted_proxies has sent them.
	ClientCert string `toml:"client_cert" default:"off" oneof:"off|leaf|chain"`
	// Headers to set on requests, such as { X-Env = "staging", X-Client = "{client_ip}" }.
	RequestHeaders map[string]HeaderValue `toml:"request_headers"`
	// Headers to remove from requests.
	RequestHeadersRemove []string `toml:"request_headers_remove"`
	// Headers to set on responses, with variables.
	ResponseHeaders map[string]HeaderValue `toml:"response_headers"`
	// Headers to remove from responses.
	ResponseHeadersRemove []string `toml:"response_headers_remove"`
}

// options returns the options of the group. The error is that of a file.
func (u *Upstream) options() (o proxy.GroupOptions, err error) {
	o = proxy.GroupOptions{
		Name: u.Name, Policy: proxy.Policy(u.Policy), Host: string(u.Host), ConnsPerServerMax: u.ConnsPerServerMax, RequestsMax: u.RequestsMax,
		HeadBytesMax: int(u.HeadBytesMax), HeaderCountMax: u.HeaderCountMax,
		DialTimeout: time.Duration(u.ConnectTimeout), HeadTimeout: time.Duration(u.HeadTimeout), BodyTimeout: time.Duration(u.BodyTimeout),
		IdleTimeout: time.Duration(u.IdleTimeout), WaitTimeout: time.Duration(u.WaitTimeout), Tries: u.Tries, RetryPercent: u.RetryPercent,
		EjectTime: time.Duration(u.EjectTime), EjectTimeMax: time.Duration(u.EjectTimeMax),
	}
	o.Protocol, o.StreamsMax = client.Protocol(u.Proto), u.StreamsMax
	o.QueueMax, o.SlowStart = cmp.Or(u.QueueMax, -1), cmp.Or(time.Duration(u.SlowStart), -1)
	o.FailuresMax = cmp.Or(u.FailuresMax, -1)
	o.ProxyProtocol = map[string]int{"v1": 1, "v2": 2}[u.ProxyProtocol]
	o.Names = proxy.Names{Server: string(u.Resolver), Every: time.Duration(u.ResolveEvery)}
	if u.ResolveIP != "any" {
		o.Names.Family = u.ResolveIP
	}
	if u.Sticky != nil {
		o.Sticky = &proxy.Sticky{Cookie: string(u.Sticky.Cookie), MaxAge: time.Duration(u.Sticky.MaxAge)}
	}
	for _, s := range u.Servers {
		o.Servers = append(o.Servers, proxy.ServerOptions{Addr: s.Addr, Weight: s.Weight, Backup: s.Backup})
	}
	if u.HedgePercent > 0 {
		o.Hedge = &client.Hedge{BudgetPercent: float64(u.HedgePercent)}
	}
	if c := u.Check; c != nil {
		o.Check = &proxy.Check{GRPC: c.GRPC, Service: c.Service, Path: c.Path, Status: c.Status, Interval: time.Duration(c.Interval), Timeout: time.Duration(c.Timeout), Rise: c.Rise, Fall: c.Fall}
	}
	switch {
	case u.TLS != nil:
		o.TLS, err = u.TLS.config()
	case o.Protocol == client.HTTP2:
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o, err
}

func (t *UpstreamTLS) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New(t.CA + " holds no certificate in PEM")
		}
	}
	if t.Cert != "" || t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// upstreams makes the groups, or reuses those of the previous Config with the same definition.
func (b *builder) upstreams(all []Upstream) {
	for i := range all {
		u, p := &all[i], path{"upstream"}.index(i)
		if b.spoilt[p.part()] {
			b.unusable[u.Name] = nil
			continue
		}
		if _, unusable := b.unusable[u.Name]; unusable || b.resources.has(u.Name) {
			b.problem(p.child("name"), "upstream.name = %q: the name is already used", u.Name)
			continue
		}
		if strings.Contains(u.Name, "\n") || u.Name == "" {
			b.problem(p.child("name"), "upstream.name = %q: want a name", u.Name)
			continue
		}
		if b.resources.reuse(b.before, u) {
			continue
		}
		o, err := u.options()
		if err != nil { // of its files
			b.unusable[u.Name] = b.broken(p.child("tls"), "upstream %s: %s", u.Name, withoutCall(err))
			continue
		}
		o.Log = b.log
		if b.tracing != nil {
			o.Tracer = b.tracing
		}
		g, err := proxy.NewGroup(o)
		if err != nil {
			at, server := p, (*proxy.ServerError)(nil)
			if errors.As(err, &server) {
				at = p.child("servers").index(server.Index).child("addr")
			}
			b.problem(at, "upstream %s: %s", u.Name, strings.TrimPrefix(err.Error(), fmt.Sprintf("proxy: group %q: ", u.Name)))
			b.unusable[u.Name] = nil
			continue
		}
		if b.before != nil {
			if old := b.before.group(u.Name); old != nil {
				g.Inherit(old)
			}
		}
		b.resources.add(u, g)
	}
}

// proxy returns the handler of the action, or nil after reporting a problem.
func (b *builder) proxy(p path, r *Proxy, scope variable.Scope) app.Handler {
	if answer, unusable := b.unusable[r.Upstream]; unusable {
		return answer
	}
	g := b.resources.group(r.Upstream)
	if g == nil {
		b.noUpstream(p.child("upstream"), r.Upstream)
		return nil
	}
	o := proxy.Options{
		StripPrefix: r.StripPrefix, AddPrefix: r.AddPrefix, RawPath: r.RawPath, Via: b.via(r), Forwarded: r.Forwarded, HashBy: r.HashBy,
		BodyMemoryMax: int64(r.BodyMemoryMax), StreamIdle: time.Duration(r.StreamIdle),
		ClientCert: map[string]proxy.ClientCert{"leaf": proxy.LeafClientCert, "chain": proxy.ChainClientCert}[r.ClientCert],
		Request:    proxy.Rules{Remove: r.RequestHeadersRemove, Set: b.fields(p.child("request_headers"), r.RequestHeaders, scope)},
		Response:   proxy.Rules{Remove: r.ResponseHeadersRemove},
	}
	scope.Phase = variable.Response
	o.Response.Set = b.fields(p.child("response_headers"), r.ResponseHeaders, scope)
	h, err := proxy.New(g, o)
	if err != nil {
		b.problem(p, "%s: %s", p, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "proxy: "), "\nproxy: ", "; "))
		return nil
	}
	return h.Serve
}

// noUpstream reports that the key at p names an upstream that is not in the file.
func (b *builder) noUpstream(p path, name string) {
	names := slices.Sorted(maps.Keys(b.resources.groups))
	b.problem(p, "%s = %q: there is no such [[upstream]]; there are %s", p, name, strings.Join(names, ", "))
}

// via returns the name of the hop. A server name that is not valid in Via is not used.
func (b *builder) via(r *Proxy) string {
	if r.Via == "" && httpparse.ValidToken(b.serverName) {
		return b.serverName
	}
	return r.Via
}

// fields returns the headers of a table.
func (b *builder) fields(p path, table map[string]HeaderValue, scope variable.Scope) (fields []proxy.Field) {
	scope.Use = variable.Header
	for _, name := range slices.Sorted(maps.Keys(table)) {
		value := b.template(p.child(name), string(table[name]), scope)
		if value == nil {
			continue
		}
		f := proxy.Field{Name: name}
		if fixed, constant := value.Constant(); constant {
			f.Value = fixed
		} else {
			f.Append = func(dst []byte, c *app.Context) []byte { return value.Append(dst, variable.Source{Request: c}) }
		}
		fields = append(fields, f)
	}
	return fields
}
