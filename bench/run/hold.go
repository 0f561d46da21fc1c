package run

import (
	"fmt"
	"net/netip"
	"time"

	"tafe/bench/load"
)

// Hold opens connections, leaves them idle and measures the memory of the server.
type Hold struct {
	Conns   int
	Request load.Request // sent once on each connection
	// Until is Answered for idle connections, Sent for parked requests, and Begun for idle streams.
	Until load.Until
	TLS   bool
	// Streams, if set, makes the connections speak HTTP/2, and is the number of requests on each.
	Streams int
}

const (
	holdMax   = 30 * time.Second
	warmConns = 200
)

// weigh compares the server's resident memory before and after. A first set of connections is opened and closed before, so that
// one-time allocations do not count.
func (h *Hold) weigh(server *Server, addr netip.AddrPort, settle time.Duration) (Sample, error) {
	warm := *h
	warm.Conns = min(warmConns, h.Conns)
	if _, err := warm.rss(server, addr, settle); err != nil {
		return Sample{}, err
	}
	before, err := server.RSS()
	if err != nil {
		return Sample{}, err
	}
	after, err := h.rss(server, addr, settle)
	if err != nil {
		return Sample{}, err
	}
	return Sample{Answered: int64(h.count()), RSS: after, PerConn: short(float64(after-before) / float64(h.count()))}, nil
}

// count is the number of what is weighed: streams of HTTP/2, or connections.
func (h *Hold) count() int { return h.Conns * max(1, h.Streams) }

// rss opens the connections, lets the server settle, and reads its memory before they are closed.
func (h *Hold) rss(server *Server, addr netip.AddrPort, settle time.Duration) (int64, error) {
	var held interface{ Close() }
	var err error
	if h.TLS {
		held, err = load.HoldTLS(addr, h.Conns, h.Request, holdMax)
	} else {
		held, err = load.Hold(load.Holding{Addr: addr, Conns: h.Conns, Request: h.Request, Streams: h.Streams, Until: h.Until, Limit: holdLimit(h.Conns)})
	}
	if err != nil {
		return 0, fmt.Errorf("hold: %w", err)
	}
	defer held.Close()
	time.Sleep(settle)
	return server.RSS()
}
