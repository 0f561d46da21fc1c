package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The classes of error, as they are named in Result.Errors. Each counts requests, except Connect, which counts
// attempts.
const (
	ErrorConnect   = "connect"   // a connection could not be opened
	ErrorStatus    = "status"    // another status than the plan says
	ErrorLength    = "length"    // another body length than the plan says
	ErrorTrailers  = "trailers"  // the answer has no trailers, and the plan says it must
	ErrorMalformed = "malformed" // bytes that are no answer
	ErrorReset     = "reset"     // the server reset the stream
	ErrorClosed    = "closed"    // the server closed or reset the connection before the answer was whole
	ErrorTimeout   = "timeout"   // no answer within the plan's Timeout
	ErrorUnsent    = "unsent"    // open loop: still waiting for a connection when the run ended
)

// Latencies are kept in nanoseconds, three significant digits, up to a minute.
const (
	latencyMin    = 1_000
	latencyMax    = 60_000_000_000
	latencyDigits = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(latencyMin, latencyMax, latencyDigits)
}

// Class is the result of one kind of request.
type Class struct {
	Name string
	// Latency of the window's requests, in nanoseconds. In a closed loop those that were answered in it; in an open
	// loop those that were due in it, where one that never was answered enters with its age at the end. Wrong answers
	// and broken connections do not enter: they are in Result.Errors.
	Latency *hdrhistogram.Histogram
}

// Result is what one run of a plan measured.
type Result struct {
	// Window is the measured time, from AtStart to AtEnd.
	Window time.Duration
	// Answered counts the whole and right answers that came in the window, of all classes: the divisor for CPU time.
	Answered int64
	// BytesRead counts all bytes that came in the window.
	BytesRead int64
	Classes   []Class
	// Errors counts by class over warm-up and window.
	Errors map[string]int64
	// CPU is the time that the generator's own thread ran in the window. At Window it was the bottleneck.
	CPU time.Duration
	// Late, in an open loop, is how long after its due time a request was sent although a connection was free: the
	// generator's own delay, which should be small compared with the latencies.
	Late *hdrhistogram.Histogram
}

// Throughput is the rate of right answers in the window, per second.
func (r *Result) Throughput() float64 { return float64(r.Answered) / r.Window.Seconds() }

// ErrorCount is the sum over all classes of error.
func (r *Result) ErrorCount() int64 {
	var n int64
	for _, c := range r.Errors {
		n += c
	}
	return n
}

// Busy is the share of the window, 0 to 1, that the generator's thread ran.
func (r *Result) Busy() float64 { return float64(r.CPU) / float64(r.Window) }
