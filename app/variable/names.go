// The variables: their names, what they stand for, and how their values are found.

package variable

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tafe/app"
)

// kind says where the value of a variable may stand in a URL besides as an encoded component.
type kind uint8

const (
	plainValue  kind = iota
	hostValue        // in the host
	pathValue        // in the path, with slashes; raw is encoded
	queryValue       // in the query, with separators; raw is encoded
	targetValue      // where the path stands, with the query; raw is encoded
)

// value is a resolved variable.
type value struct {
	text   func(s Source) string // nil: number
	number func(dst []byte, s Source) []byte
	raw    func(s Source) string // of a pathValue, queryValue or targetValue
	kind   kind
	phase  Phase
	rooted bool // the value begins with '/'

}

// variable is a variable, or with a final '.' in its name a family of them.
type variable struct {
	name, says string
	value
}

// Name describes a variable for documentation.
type Name struct{ Name, Says string }

// Names returns the variables. Those that end in ".NAME" or ".N" are families.
func Names() (all []Name) {
	for _, v := range table {
		all = append(all, Name{v.name, v.says})
	}
	return all
}

// Names returns the names of the variables that have a value in a text of the scope, parameters of the route first.
func (s Scope) Names() (all []string) {
	all = slices.Clone(s.Params)
	for _, v := range table {
		if v.phase <= s.Phase && (v.name != "path.N" || s.Path != nil) && (v.name != "path.NAME" || s.Path != nil || len(s.Params) > 0) {
			all = append(all, v.name)
		}
	}
	return all
}

// of makes a value from a method of the request. Without a request it is "".
func of(get func(c *app.Context) string) value {
	return value{text: func(s Source) string {
		if s.Request == nil {
			return ""
		}
		return get(s.Request)
	}}
}

func (v value) as(k kind, raw func(c *app.Context) string) value {
	v.kind, v.raw = k, of(raw).text
	return v
}

func (v value) root() value {
	v.rooted = true
	return v
}

func (v value) from(p Phase) value {
	v.phase = p
	return v
}

// entry is a value of the access log's entry, or else of the request.
func entry(get func(e *app.Entry) string, otherwise func(c *app.Context) string) value {
	v := of(otherwise)
	return value{text: func(s Source) string {
		if s.Entry != nil {
			return get(s.Entry)
		}
		return v.text(s)
	}}
}

// millis is a duration in milliseconds with three decimals.
func millis(get func(t app.Timing) time.Duration) value {
	return value{phase: Response, number: func(dst []byte, s Source) []byte {
		var t app.Timing
		switch {
		case s.Entry != nil:
			t = s.Entry.Timing
		case s.Request != nil:
			t = s.Request.Timing()
		}
		return strconv.AppendFloat(dst, float64(max(0, get(t)).Microseconds())/1000, 'f', 3, 64)
	}}
}

var table = [...]variable{
	{"host", "host of the request, in lower case, without the port", of(host).as(hostValue, host)},
	{"hostport", "host of the request with its port, as sent", of((*app.Context).HostView).as(hostValue, (*app.Context).HostView)},
	{"host.N", "label N of the host, counted from the left from 1: {host.1} of www.example.com is www", value{}},
	{"port", "port in the host of the request, if any", of(port)},
	{"scheme", "https or http, as the client sees it", of((*app.Context).Scheme)},
	{"method", "method", entry(func(e *app.Entry) string { return e.Method }, (*app.Context).Method)},
	{"uri", "path and query as sent, before any rewrite; without the scheme and host of a target in absolute-form", entry(func(e *app.Entry) string { return pathOf(e.Target) }, uri).as(targetValue, uri).root()},
	{"path", "path, decoded and without dot segments; in a URL with the client's encoding", of((*app.Context).PathView).as(pathValue, (*app.Context).EncodedPathView).root()},
	{"path.N", "group N of match.path; {path.0} is all that it has matched", value{}},
	{"path.NAME", "parameter NAME of the route's path, or group NAME of match.path; a parameter may also be written {NAME}", value{}},
	{"query", "query as sent, without '?'", of((*app.Context).RawQueryView).as(queryValue, (*app.Context).RawQueryView)},
	{"query.NAME", "first value of the query parameter NAME, decoded; in the query of a URL with the client's encoding", value{}},
	{"header.NAME", "values of the request header NAME, joined with commas", value{}},
	{"cookie.NAME", "value of the cookie NAME", value{}},
	{"protocol", "protocol, such as HTTP/1.1", entry(func(e *app.Entry) string { return e.Proto }, (*app.Context).Proto)},
	{"client_ip", "address of the client; behind trusted proxies that of X-Forwarded-For", entry(func(e *app.Entry) string { return e.ClientIP }, (*app.Context).ClientIPView)},
	{"remote", "address and port of the connection's peer", entry(func(e *app.Entry) string { return e.Remote }, (*app.Context).RemoteAddr)},
	{"request_id", "request ID", entry(func(e *app.Entry) string { return e.RequestID }, (*app.Context).RequestIDView)},
	{"route", "name of the route", entry(func(e *app.Entry) string { return e.Route }, (*app.Context).RouteName)},
	{"site", "first host name of the site", of((*app.Context).Site)},
	{"server_name", "server name of the TLS handshake (SNI)", of(serverName)},
	{"tls_version", "version of TLS, such as TLS 1.3", of(tlsVersion)},
	{"time", "time at which the request's head was complete, in UTC, such as 2026-01-02T15:04:05.000000Z", value{text: when}},
	{"upstream", "address of the server that a proxy has used last", of((*app.Context).Upstream).from(Response)},
	{"status", "status code", value{number: appendInt(func(s Source) int64 { return int64(status(s)) }), phase: Response}},
	{"status_text", "standard text of the status, such as Not Found", value{text: func(s Source) string { return http.StatusText(status(s)) }, phase: Response}},
	{"message", "in error pages: the message of the error", value{text: message, phase: Response}},
	{"response.NAME", "response header NAME", value{phase: Response}},
	{"duration_ms", "time since the request's head was complete, in milliseconds", millis(func(t app.Timing) time.Duration { return t.Total })},
	{"queue_ms", "part of it in queues", millis(func(t app.Timing) time.Duration { return t.Queued })},
	{"slice_ms", "part of it running on the loop", millis(func(t app.Timing) time.Duration { return t.Slices })},
	{"backend_ms", "part of it waiting for upstreams, stores, timers and the client", millis(func(t app.Timing) time.Duration { return t.Backend })},
	{"bytes", "bytes of the response body", value{number: appendInt(bodyBytes), phase: End}},
	{"reason", "why the request was refused or has failed, as in the log", value{text: reason, phase: End}},
}

// families resolve the variables whose names have a second part.
var families = map[string]func(name string, scope Scope) (value, error){
	"path": pathPart, "query": queryPart, "header": headerPart, "cookie": cookiePart, "response": responsePart, "host": hostPart,
}

// resolve finds a variable.
func resolve(name string, scope Scope) (value, error) {
	if slices.Contains(scope.Params, name) {
		return param(name), nil
	}
	if family, rest, ok := strings.Cut(name, "."); ok && families[family] != nil {
		if rest == "" {
			return value{}, &Unknown{name, "want " + memberOf(family)}
		}
		return families[family](rest, scope)
	}
	for i := range table {
		if v := &table[i]; v.name == name && (v.text != nil || v.number != nil) {
			return v.value, nil
		}
	}
	return value{}, &Unknown{Name: name}
}

// memberOf returns the form of the names of a family, such as "{header.NAME}".
func memberOf(family string) string {
	if family == "host" {
		return "{host.N}"
	}
	return "{" + family + ".NAME}"
}

// Unknown is the error about a variable that does not exist.
type Unknown struct {
	Name string
	Want string // the form of the name, for a family without the second part; "": not known
}

// Error names the variable.
func (u *Unknown) Error() string {
	if u.Want != "" {
		return fmt.Sprintf("there is no variable {%s}: %s", u.Name, u.Want)
	}
	return fmt.Sprintf("there is no variable {%s}", u.Name)
}

func param(name string) value {
	return of(func(c *app.Context) string { return c.ParamView(name) }).as(pathValue, func(c *app.Context) string { return c.EncodedParamView(name) })
}

func pathPart(name string, scope Scope) (value, error) {
	if slices.Contains(scope.Params, name) {
		return param(name), nil
	}
	group, err := strconv.Atoi(name)
	if err != nil {
		group = -1
		if scope.Path != nil {
			group = scope.Path.SubexpIndex(name)
		}
	}
	switch {
	case scope.Path == nil && err == nil:
		return value{}, fmt.Errorf("{path.%s}: the route has no match.path, whose groups are numbered", name)
	case group < 0:
		return value{}, fmt.Errorf("{path.%s}: the route has no parameter and no group %s", name, name)
	case group > scope.Path.NumSubexp():
		return value{}, fmt.Errorf("{path.%s}: match.path has %s", name, groups(scope.Path.NumSubexp()))
	}
	return of(func(c *app.Context) string { return c.CaptureView(group) }).as(pathValue, func(c *app.Context) string { return c.EncodedCaptureView(group) }), nil
}

func groups(n int) string {
	if n == 1 {
		return "1 group"
	}
	return fmt.Sprintf("%d groups", n)
}

func queryPart(name string, _ Scope) (value, error) {
	v := of(func(c *app.Context) string { return c.QueryView(name) })
	v.kind, v.raw = queryValue, func(s Source) string { return rawQuery(s, name) }
	return v, nil
}

func headerPart(name string, _ Scope) (value, error) {
	return of(func(c *app.Context) string { return c.HeaderListView(name) }), nil
}

func cookiePart(name string, _ Scope) (value, error) {
	return of(func(c *app.Context) string { return c.CookieView(name) }), nil
}

func responsePart(name string, _ Scope) (value, error) {
	return of(func(c *app.Context) string { return c.ResponseHeaderListView(name) }).from(Response), nil
}

func hostPart(name string, _ Scope) (value, error) {
	n, err := strconv.Atoi(name)
	if err != nil || n < 1 {
		return value{}, fmt.Errorf("{host.%s}: want the number of a label, from 1", name)
	}
	label := func(c *app.Context) string {
		i := 1
		for l := range strings.SplitSeq(host(c), ".") {
			if i == n {
				return l
			}
			i++
		}
		return ""
	}
	return of(label).as(hostValue, label), nil
}

func host(c *app.Context) string {
	name, _ := splitPort(c.HostView())
	return strings.ToLower(name)
}

func port(c *app.Context) string {
	_, port := splitPort(c.HostView())
	return port
}

// splitPort cuts the port off a host. An IPv6 address keeps its brackets.
func splitPort(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || i < strings.LastIndexByte(host, ']') {
		return host, ""
	}
	return host[:i], host[i+1:]
}

func uri(c *app.Context) string { return pathOf(c.RawTargetView()) }

// pathOf returns a target without the scheme and host that one in absolute-form has (RFC 9112 section 3.2.2).
func pathOf(target string) string {
	if strings.HasPrefix(target, "/") {
		return target
	}
	scheme, rest, absolute := strings.Cut(target, "://")
	if !absolute || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return target
	}
	switch i := strings.IndexAny(rest, "/?"); {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	default:
		return rest[i:]
	}
}

func serverName(c *app.Context) string {
	if state := c.TLS(); state != nil {
		return state.ServerName
	}
	return ""
}

func tlsVersion(c *app.Context) string {
	if state := c.TLS(); state != nil {
		return tls.VersionName(state.Version)
	}
	return ""
}

const timeFormat = "2006-01-02T15:04:05.000000Z"

func when(s Source) string {
	at := time.Now()
	switch {
	case s.Entry != nil:
		at = s.Entry.Time
	case s.Request != nil:
		at = at.Add(-s.Request.Timing().Total)
	}
	return at.UTC().Format(timeFormat)
}

func status(s Source) int {
	switch {
	case s.Entry != nil:
		return s.Entry.Status
	case s.Error != nil:
		return s.Error.Status
	case s.Request != nil:
		return s.Request.StatusCode()
	}
	return 0
}

func message(s Source) string {
	if s.Error == nil {
		return ""
	}
	if s.Error.Message == "" {
		return http.StatusText(s.Error.Status)
	}
	return s.Error.Message
}

func bodyBytes(s Source) int64 {
	if s.Entry == nil {
		return 0
	}
	return s.Entry.Bytes
}

func reason(s Source) string {
	if s.Entry == nil {
		return ""
	}
	return s.Entry.Reason
}
