// Package load is the benchmark's load generator: one epoll loop on one locked thread that sends preformatted requests, over HTTP/1 and HTTP/2,
// and times the answers, closed loop or on a schedule. It counts errors by class. Package run starts the servers.
package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Request is one preformatted request and what its answer must be.
type Request struct {
	// Name is the class under which its latencies are kept.
	Name string
	// Raw holds the bytes to send over HTTP/1, head and body.
	Raw []byte
	// Fields, names and values in order, and Body are sent over HTTP/2 instead. The fields begin with :method, :scheme, :authority and :path.
	Fields [][2]string
	Body   []byte
	// Trailers says that an answer of HTTP/2 must have them.
	Trailers bool
	// Share is the part of all requests, 0 to 1, that this one makes up. The first request of a plan takes what the
	// others leave, and its own Share is not read.
	Share float64
	// Status is the status that the answer must have.
	Status int
	// BodyBytes is the length that the answer's body must have; -1 accepts any.
	BodyBytes int64
}

// Plan describes a load: requests, server, rate and duration.
type Plan struct {
	// Addr is the server: an IPv4 loopback address.
	Addr netip.AddrPort
	// Conns is the number of connections, and with Depth the bound on requests in flight.
	Conns int
	// Depth is the number of requests a connection sends at once in a closed loop, in one write; the next batch goes when
	// the last answer has come. 0 means 1. An open loop has depth 1. Over HTTP/2 it is the number of streams that a connection has open at
	// once, or at most in an open loop: each answer makes room for the next request.
	Depth int
	// HTTP2 makes the connections speak HTTP/2: by prior knowledge, or chosen by ALPN over TLS. The plan has one kind of request.
	HTTP2 bool
	// Rate, in requests per second, makes the loop open: requests are due on a schedule, whether or not the server
	// keeps up, and a latency counts from when the request was due. 0 is a closed loop.
	Rate float64
	// Even spaces the schedule evenly; otherwise the gaps are exponential, as independent users make them.
	Even bool
	// Seed makes schedule and mix repeatable.
	Seed uint64
	// Warmup runs before the measured window of length Window.
	Warmup, Window time.Duration
	// EndedMax ends the window early, once so many requests have ended in it, well or not; 0 has no such bound.
	EndedMax int64
	// Timeout is the age at which a request counts as lost and its connection is closed; 0 means 10 s.
	Timeout time.Duration
	// Upgrade, if set, is sent first on each connection, an opening handshake of WebSocket. After its answer, requests and
	// answers are frames, and an answer has status 200.
	Upgrade []byte
	// Reconnect opens a new connection for each request; latency includes the connect.
	Reconnect bool
	// Requests is the mix. The first is what is left when the shares of the others are taken.
	Requests []Request
	// CPU is the core that the loop's thread is bound to; negative leaves it alone.
	CPU int
	// AtStart and AtEnd, when set, run on the loop's thread at the window's edges, so that the caller reads the
	// server's clocks at the same moment.
	AtStart, AtEnd func()
}

// sourceCount is the number of loopback source addresses of the connections, 127.0.0.2 and up: each brings its
// own ephemeral ports, so that neither TIME_WAIT nor many idle connections runs out of them.
const sourceCount = 16

func (p *Plan) check() error {
	switch {
	case !p.Addr.Addr().Is4() || !p.Addr.Addr().IsLoopback():
		return fmt.Errorf("load: %s is not an IPv4 loopback address", p.Addr)
	case p.Conns < 1:
		return errors.New("load: a plan needs at least one connection")
	case len(p.Requests) == 0:
		return errors.New("load: a plan needs a request")
	case p.Window <= 0:
		return errors.New("load: a plan needs a window")
	case p.Upgrade != nil && (p.Rate > 0 || p.Reconnect):
		return errors.New("load: an upgrade is for closed loops on kept connections")
	case p.Rate > 0 && p.Reconnect:
		return errors.New("load: a new connection for each request is for closed loops")
	case p.HTTP2 && (p.Upgrade != nil || p.Reconnect || len(p.Requests) > 1 || len(p.Requests[0].Fields) == 0):
		return errors.New("load: HTTP/2 is for one kind of request, with fields, on kept connections")
	case p.Depth > 1 && !p.HTTP2 && (p.Rate > 0 || p.Reconnect || len(p.Requests) > 1):
		return errors.New("load: pipelining is for closed loops of one kind of request on kept connections")
	}
	var share float64
	for i, r := range p.Requests {
		if len(r.Raw) == 0 && !p.HTTP2 {
			return fmt.Errorf("load: request %q is empty", r.Name)
		}
		if i > 0 {
			share += r.Share
		}
	}
	if share >= 1 {
		return fmt.Errorf("load: the shares add up to %.2f and leave nothing for the first request", share)
	}
	return nil
}
