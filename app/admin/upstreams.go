// /upstreams lists the upstream servers, and drains, undrains and weighs them. These are the only requests that change
// the server, so they need a permission: Config.Token, or without one a client on this host.

package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Upstream is the state of one upstream server.
type Upstream struct {
	Name     string `json:"name"` // of the upstream group
	Addr     string `json:"addr"`
	Source   string `json:"source"` // address in the configuration: a host name, or the same as Addr
	Up       bool   `json:"up"`
	State    string `json:"state"` // such as "up", "ejected", "down", "drained"
	Weight   int    `json:"weight"`
	Backup   bool   `json:"backup"`
	Active   int    `json:"active"` // requests in flight
	Requests uint64 `json:"requests"`
	Failures uint64 `json:"failures"`

	GRPC map[string]uint64 `json:"grpc,omitempty"` // complete responses of gRPC, by the name of their status
}

// UpstreamGroup is the state of an upstream group beyond that of its servers.
type UpstreamGroup struct {
	Name          string `json:"name"`
	Waiting       int    `json:"waiting"`         // requests that wait for a server
	Waits         uint64 `json:"waits"`           // requests that have waited
	QueueFull     uint64 `json:"queue_full"`      // requests refused because too many waited
	QueueTimeouts uint64 `json:"queue_timeouts"`  // requests that got no server in time
	LookupsFailed uint64 `json:"lookups_failed"`  // failed lookups of host names
	Retries       uint64 `json:"retries"`         // tries beyond the first
	Denied        uint64 `json:"retries_denied"`  // retries denied by their budget
	NoServer      uint64 `json:"without_server"`  // requests for which no server was available
	Tunnels       int    `json:"upgraded_active"` // open upgraded connections
}

// Operation is a change to an upstream server.
type Operation struct {
	Kind   OperationKind
	Weight int // of Weigh; 0 restores the configured one
}

// OperationKind is the kind of an Operation, and the last part of its path.
type OperationKind string

// The kinds of Operation.
const (
	Drain   OperationKind = "drain"   // no new requests
	Undrain OperationKind = "undrain" // the end of Drain
	Weigh   OperationKind = "weigh"   // another weight
)

// ErrNoUpstream is returned by Config.Operate if there is no such upstream or server.
var ErrNoUpstream = errors.New("there is no such upstream or server")

func (d *dashboard) upstreams(w http.ResponseWriter, _ *http.Request) {
	var all struct {
		Groups  []UpstreamGroup `json:"groups"`
		Servers []Upstream      `json:"servers"`
	}
	all.Groups, all.Servers = []UpstreamGroup{}, []Upstream{}
	if d.config.UpstreamGroups != nil {
		all.Groups = append(all.Groups, d.config.UpstreamGroups()...)
	}
	if d.config.Upstreams != nil {
		all.Servers = append(all.Servers, d.config.Upstreams()...)
	}
	answerJSON(w, all)
}

// operate serves POST /upstreams/{name}/{kind} with the parameters addr and, for weigh, weight.
func (d *dashboard) operate(w http.ResponseWriter, r *http.Request) {
	if status, reason := d.permission(r); status != http.StatusOK {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		http.Error(w, reason, status)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	o := Operation{Kind: OperationKind(r.PathValue("kind"))}
	switch o.Kind {
	case Drain, Undrain:
	case Weigh:
		n, err := strconv.Atoi(r.FormValue("weight"))
		if err != nil {
			http.Error(w, "weight must be a whole number", http.StatusBadRequest)
			return
		}
		o.Weight = n
	default:
		http.Error(w, "the operations are drain, undrain and weigh", http.StatusNotFound)
		return
	}
	if d.config.Operate == nil {
		http.Error(w, ErrNoUpstream.Error(), http.StatusNotFound)
		return
	}
	switch err := d.config.Operate(r.PathValue("name"), r.FormValue("addr"), o); {
	case errors.Is(err, ErrNoUpstream):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// permission returns 200 if r may change the server. A page of another site must not: its requests carry no token, and
// without a token they are recognized by Origin and Sec-Fetch-Site, and by a Host that is not this one.
func (d *dashboard) permission(r *http.Request) (status int, reason string) {
	if token := d.config.Token; token != "" {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		want, digest := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(got))
		if !ok || subtle.ConstantTimeCompare(want[:], digest[:]) != 1 {
			return http.StatusUnauthorized, "a token is required"
		}
		return http.StatusOK, ""
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return http.StatusForbidden, "requests of other sites are refused"
	}
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !client.Addr().Unmap().IsLoopback() || !isLoopbackHost(r.Host) {
		return http.StatusForbidden, "only clients on this host may change it, at a loopback address; set admin.token to allow others"
	}
	return http.StatusOK, ""
}

func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
