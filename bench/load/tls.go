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
	if plan.Rate > 0 || plan.Depth > 1 || len(plan.Requests) > 1 {
		return nil, errors.New("load: TLS runs are closed loops of one kind of request")
	}
	r := &tlsRun{plan: plan, mode: mode, errors: map[string]int64{}, latency: newHistogram(), enough: make(chan struct{})}
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

var (
	errTLSClosed = errors.New(ErrorClosed)
	errResume    = errors.New(ErrorResume)
	errStatus    = errors.New(ErrorStatus)
	errLength    = errors.New(ErrorLength)
	errConnect   = errors.New(ErrorConnect)
)

// count notes an error by its class.
func (r *tlsRun) count(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end()
	for _, class := range []error{errConnect, errResume, errStatus, errLength, errMalformed} {
		if errors.Is(err, class) {
			r.errors[class.Error()]++
			return
		}
	}
	r.errors[ErrorClosed]++
}

// connect makes one connection and asks on it: once, or until the run ends.
func (r *tlsRun) connect(config *tls.Config, first bool) error {
	started := time.Now()
	raw, err := net.DialTimeout("tcp", r.plan.Addr.String(), 5*time.Second)
	if err != nil {
		return fmt.Errorf("%w: %w", errConnect, err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(started.Add(r.plan.Warmup + r.plan.Window + 10*time.Second))
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("%w: %w", errConnect, err)
	}
	if r.mode == TLSResumed && !first && !conn.ConnectionState().DidResume {
		return errResume
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
		return fmt.Errorf("%w: %w", errTLSClosed, err)
	}
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("%w: %w", errTLSClosed, err)
		}
		eaten, done, err := scan.next(buf[:n])
		switch {
		case err != nil || done && eaten < n:
			return errMalformed
		case done && scan.status != want.Status:
			return errStatus
		case done && want.BodyBytes >= 0 && scan.bodyBytes != want.BodyBytes:
			return errLength
		case done:
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
