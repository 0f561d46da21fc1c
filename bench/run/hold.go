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
	// Answered waits for the answers, so that the connections are idle; otherwise the requests are parked.
	Answered bool
	TLS      bool
	// Streams, if set, makes the connections speak HTTP/2, and is the number of requests on each.
	Streams int
}

const (
	holdMax    = 30 * time.Second
	warmConns  = 200
	settleTime = time.Second
)

// weigh compares the server's resident memory before and after. A first set of connections is opened and closed before, so that
// one-time allocations do not count.
func (h *Hold) weigh(server *Server, addr netip.AddrPort) (Sample, error) {
	warm := *h
	warm.Conns = min(warmConns, h.Conns)
	if _, err := warm.rss(server, addr); err != nil {
		return Sample{}, err
	}
	before, err := server.RSS()
	if err != nil {
		return Sample{}, err
	}
	after, err := h.rss(server, addr)
	if err != nil {
		return Sample{}, err
	}
	return Sample{Answered: int64(h.Conns), RSS: after, PerConn: float64(after-before) / float64(h.Conns)}, nil
}

// rss opens the connections, lets the server settle, and reads its memory before they are closed.
func (h *Hold) rss(server *Server, addr netip.AddrPort) (int64, error) {
	var held interface{ Close() }
	var err error
	if h.TLS {
		held, err = load.HoldTLS(addr, h.Conns, h.Request, holdMax)
	} else {
		held, err = load.Hold(addr, h.Conns, h.Request, h.Answered, holdMax)
	}
	if err != nil {
		return 0, fmt.Errorf("hold: %w", err)
	}
	defer held.Close()
	time.Sleep(settleTime)
	return server.RSS()
}
