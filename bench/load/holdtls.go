package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// holdTLSWorkers is the number of concurrent handshakes.
const holdTLSWorkers = 16

// HeldTLS is a number of idle TLS connections.
type HeldTLS struct {
	mu    sync.Mutex
	conns []net.Conn
}

// Close closes all connections, without close_notify.
func (h *HeldTLS) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.conns = nil
}

// HoldTLS opens n connections with a full handshake each, sends r once on each and waits for the response. It gives up at
// the limit.
func HoldTLS(addr netip.AddrPort, n int, r Request, limit time.Duration) (*HeldTLS, error) {
	if !addr.Addr().IsLoopback() {
		return nil, fmt.Errorf("load: %s is not a loopback address", addr)
	}
	if err := Room(n); err != nil {
		return nil, err
	}
	h := &HeldTLS{}
	asker := &tlsRun{plan: Plan{Requests: []Request{r}}}
	end := time.Now().Add(limit)
	var left atomic.Int64
	left.Store(int64(n))
	var workers sync.WaitGroup
	failures := make([]error, holdTLSWorkers)
	for i := range holdTLSWorkers {
		workers.Go(func() {
			buf := make([]byte, 16<<10)
			for left.Add(-1) >= 0 && failures[i] == nil {
				failures[i] = h.open(addr, asker, buf, end)
			}
		})
	}
	workers.Wait()
	if err := errors.Join(failures...); err != nil {
		h.Close()
		return nil, fmt.Errorf("load: hold TLS connections: %w", err)
	}
	return h, nil
}

func (h *HeldTLS) open(addr netip.AddrPort, asker *tlsRun, buf []byte, end time.Time) error {
	raw, err := net.DialTimeout("tcp", addr.String(), time.Until(end))
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.conns = append(h.conns, raw)
	h.mu.Unlock()
	if err := raw.SetDeadline(end); err != nil {
		return err
	}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, ServerName: "localhost"}) //nolint:gosec
	var scan scanner
	return asker.ask(conn, &scan, buf)
}
