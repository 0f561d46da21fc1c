package run

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tafe/bench/load"
)

// Sample is one round of one case against one peer: the raw data that tables and plots are drawn from.
type Sample struct {
	Scenario string  `json:"scenario"`
	Case     string  `json:"case"`
	Peer     string  `json:"peer"`
	Round    int     `json:"round"`
	Rate     float64 `json:"rate_per_second,omitempty"` // open loop: what was asked for
	Window   float64 `json:"window_seconds"`
	Answered int64   `json:"answered"`
	// PerSecond is the rate of right answers.
	PerSecond float64 `json:"answered_per_second"`
	// CPUMicros is the server's CPU time, user and system, of all its processes, per right answer.
	CPUMicros float64 `json:"server_cpu_micros_per_request"`
	// ServerBusy and LoadBusy are shares of one core. A closed loop whose LoadBusy is near 1 measured the generator.
	ServerBusy float64 `json:"server_busy"`
	LoadBusy   float64 `json:"load_busy"`
	// OtherBusy is the use of the two cores by others, in cores: other programs, interrupts, steal time.
	OtherBusy float64 `json:"other_busy"`
	RSS       int64   `json:"server_rss_bytes"`
	// PerConn is the resident memory that one more open connection takes, in bytes.
	PerConn float64          `json:"rss_bytes_per_connection,omitempty"`
	Errors  map[string]int64 `json:"errors,omitempty"`
	// LateP99 is the generator's own lateness in an open loop, in microseconds.
	LateP99 float64 `json:"load_late_p99_micros,omitempty"`
	Classes []Class `json:"classes"`
}

// Class is the latencies of one kind of request, in microseconds.
type Class struct {
	Name  string  `json:"name"`
	Count int64   `json:"count"`
	P50   float64 `json:"p50_micros"`
	P90   float64 `json:"p90_micros"`
	P99   float64 `json:"p99_micros"`
	P999  float64 `json:"p999_micros"`
	Max   float64 `json:"max_micros"`
	// Histogram holds all latencies of an open loop, of which curves are drawn.
	Histogram Counts `json:"histogram,omitempty"`
}

// loadBound is the share of its core above which the generator, and not the server, set the throughput.
const loadBound = 0.95

// LoadBound reports that the generator was the bottleneck of a closed loop: throughput and latency are then its own, and
// only the CPU time per request is that of the server.
func (s *Sample) LoadBound() bool {
	return s.Rate == 0 && s.LoadBusy > loadBound && s.LoadBusy > s.ServerBusy
}

// disturbedFrom is the share of a core that others may take before a sample counts as disturbed.
const disturbedFrom = 0.1

// Disturbed reports that other programs ran on the two cores: latency and throughput are affected.
func (s *Sample) Disturbed() bool { return s.OtherBusy > disturbedFrom }

func micros(ns int64) float64 { return float64(ns) / float64(time.Microsecond) }

func newClass(name string, h *hdrhistogram.Histogram) Class {
	at := func(percent float64) float64 { return short(micros(h.ValueAtQuantile(percent))) }
	return Class{Name: name, Count: h.TotalCount(), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: short(micros(h.Max()))}
}

func newSample(res *load.Result, rate float64, cpu time.Duration) Sample {
	s := Sample{
		Rate: short(rate), Window: short(res.Window.Seconds()), Answered: res.Answered, PerSecond: short(res.Throughput()),
		ServerBusy: short(float64(cpu) / float64(res.Window)), LoadBusy: short(res.Busy()), Errors: res.Errors,
	}
	if res.Answered > 0 {
		s.CPUMicros = short(micros(int64(cpu)) / float64(res.Answered))
	}
	for _, c := range res.Classes {
		class := newClass(c.Name, c.Latency)
		if rate > 0 {
			class.Histogram = NewCounts(c.Latency)
		}
		s.Classes = append(s.Classes, class)
	}
	if rate > 0 {
		s.LateP99 = short(micros(res.Late.ValueAtQuantile(99)))
	}
	return s
}
