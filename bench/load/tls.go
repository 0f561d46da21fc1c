package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// TLSMode says what a connection of a TLS plan does.
type TLSMode string

// The modes: a full handshake for each request, a resumed one, or one handshake for all requests.
const (
	TLSFull    TLSMode = "full"
	TLSResumed TLSMode = "resumed"
	TLSKept    TLSMode = "kept"
)

// ErrorResume counts connections that should have been resumed and were not.
const ErrorResume = "not resumed"

// RunTLS runs a closed loop over TLS 1.3: plan's Addr, Conns, Warmup, Window, first request and edges. Unlike Run
// it has one goroutine per connection, because crypto/tls needs it. It costs several times the CPU time of a
// server, so that only the CPU time of the server is meaningful. The latency includes the connection and the
// handshake, where there is one.
func RunTLS(plan Plan, mode TLSMode) (*Result, error) {
	if err := plan.check(); err != nil {
		return nil, err
	}
	if plan.Rate > 0 || plan.Depth > 1 && !plan.HTTP2 || len(plan.Requests) > 1 {
		return nil, errors.New("load: TLS runs are closed loops of one kind of request")
	}
	if plan.HTTP2 && mode != TLSKept {
		return nil, errors.New("load: HTTP/2 over TLS is for kept connections")
	}
	r := &tlsRun{plan: plan, mode: mode, errors: map[string]int64{}, latency: newHistogram(), enough: make(chan struct{})}
	if plan.HTTP2 {
		var err error
		if r.request, err = encode(&plan.Requests[0]); err != nil {
			return nil, err
		}
	}
	var workers sync.WaitGroup
	for range plan.Conns {
		workers.Go(r.work)
	}
	time.Sleep(plan.Warmup)
	if plan.AtStart != nil {
		plan.AtStart()
	}
	cpu, start := processCPU(), time.Now()
	r.measuring.Store(true)
	select {
	case <-time.After(plan.Window):
	case <-r.enough:
	}
	r.measuring.Store(false)
	res := &Result{Window: time.Since(start), CPU: processCPU() - cpu}
	if plan.AtEnd != nil {
		plan.AtEnd()
	}
	r.stopping.Store(true)
	workers.Wait()
	res.Answered, res.Errors = r.latency.TotalCount(), r.errors
	res.Classes = []Class{{Name: plan.Requests[0].Name, Latency: r.latency}}
	return res, nil
}

// tlsRun is what the workers share. The mutex guards errors, latency and ended.
type tlsRun struct {
	plan                Plan
	mode                TLSMode
	request             *encoded // of HTTP/2
	measuring, stopping atomic.Bool
	mu                  sync.Mutex
	errors              map[string]int64
	latency             *hdrhistogram.Histogram
	ended               int64         // requests in the window, right or not
	enough              chan struct{} // closed at the plan's EndedMax
}

// end counts one request that has ended in the window; r.mu is held.
func (r *tlsRun) end() {
	if r.measuring.Load() {
		if r.ended++; r.ended == r.plan.EndedMax {
			close(r.enough)
		}
	}
}

// tlsFailuresMax is the number of consecutive failed connections that ends a worker.
const tlsFailuresMax = 100

// work makes one connection after the other.
func (r *tlsRun) work() {
	// The certificate was made for this run and has no authority.
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, ServerName: "localhost"} //nolint:gosec
	if r.plan.HTTP2 {
		config.NextProtos = []string{"h2"}
	}
	if r.mode == TLSResumed {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	for first, failures := true, 0; !r.stopping.Load() && failures < tlsFailuresMax; first = false {
		if err := r.connect(config, first); err == nil {
			failures = 0
		} else {
			failures++
			r.count(err)
		}
	}
}

// wrong is an error of one of the classes of Result.Errors.
type wrong string

func (w wrong) Error() string { return string(w) }

// count notes an error by its class.
func (r *tlsRun) count(err error) {
	class := wrong(ErrorClosed)
	if errors.Is(err, errMalformed) {
		class = ErrorMalformed
	} else {
		errors.As(err, &class)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end()
	r.errors[string(class)]++
}

// connect makes one connection and asks on it: once, or until the run ends.
func (r *tlsRun) connect(config *tls.Config, first bool) error {
	started := time.Now()
	raw, err := net.DialTimeout("tcp", r.plan.Addr.String(), 5*time.Second)
	if err != nil {
		return fmt.Errorf("%w: %w", wrong(ErrorConnect), err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(started.Add(r.plan.Warmup + r.plan.Window + 10*time.Second))
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("%w: %w", wrong(ErrorConnect), err)
	}
	if r.mode == TLSResumed && !first && !conn.ConnectionState().DidResume {
		return wrong(ErrorResume)
	}
	if r.plan.HTTP2 {
		return r.streams(conn)
	}
	var scan scanner
	buf := make([]byte, 16<<10)
	for {
		if err := r.ask(conn, &scan, buf); err != nil {
			return err
		}
		r.answered(started)
		if r.mode != TLSKept || scan.close || r.stopping.Load() {
			return nil
		}
		started = time.Now()
	}
}

// ask sends the request and checks the answer.
func (r *tlsRun) ask(conn io.ReadWriter, scan *scanner, buf []byte) error {
	want := &r.plan.Requests[0]
	if _, err := conn.Write(want.Raw); err != nil {
		return fmt.Errorf("%w: %w", wrong(ErrorClosed), err)
	}
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("%w: %w", wrong(ErrorClosed), err)
		}
		eaten, done, err := scan.next(buf[:n])
		switch {
		case err != nil || done && eaten < n:
			return errMalformed
		case done:
			if class := want.fault(flight{}, scan.status, scan.bodyBytes); class != "" {
				return wrong(class)
			}
			return nil
		}
	}
}

func (r *tlsRun) answered(started time.Time) {
	if !r.measuring.Load() {
		return
	}
	took := int64(time.Since(started))
	r.mu.Lock()
	_ = r.latency.RecordValue(min(max(took, latencyMin), latencyMax))
	r.end()
	r.mu.Unlock()
}

// processCPU is the time that all threads of this process have run.
func processCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}
