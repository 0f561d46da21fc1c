package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// streams asks over one connection of HTTP/2 until the run ends. A wrong answer ends the connection.
func (r *tlsRun) streams(conn *tls.Conn) error {
	if conn.ConnectionState().NegotiatedProtocol != "h2" {
		return fmt.Errorf("%w: the server does not choose HTTP/2", wrong(ErrorConnect))
	}
	h := &h2conn{request: r.request, streams: max(1, r.plan.Depth)}
	h.reset()
	base := time.Now()
	buf := make([]byte, 64<<10)
	for {
		if len(h.out) > 0 {
			if _, err := conn.Write(h.out); err != nil {
				return fmt.Errorf("%w: %w", wrong(ErrorClosed), err)
			}
			h.out = h.out[:0]
		}
		if r.stopping.Load() {
			return nil
		}
		n, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("%w: %w", wrong(ErrorClosed), err)
		}
		for b := buf[:n]; len(b) > 0; {
			eaten, done, err := h.next(b)
			b = b[eaten:]
			if err != nil {
				return errors.Join(errMalformed, err)
			}
			if !done {
				continue
			}
			if class := r.plan.Requests[0].fault(h.ended, h.ended.status, h.ended.bodyBytes); class != "" {
				return wrong(class)
			}
			r.answered(base.Add(time.Duration(h.ended.due)))
		}
		for h.ready && !h.leaving && h.flights.len() < h.streams {
			h.open(flight{due: int64(time.Since(base))})
		}
		if h.leaving && h.flights.len() == 0 {
			return nil
		}
	}
}
