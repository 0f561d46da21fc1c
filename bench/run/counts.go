package run

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Counts is a histogram of latencies on a logarithmic grid, ascending. Its text, which is what results.json has, is "step:count step:count".
type Counts []Count

// Count is how many latencies lie at one step of the grid.
type Count struct {
	Step int
	N    int64
}

// grid is the ratio of two steps: latencies are kept to 1%.
const grid = 1.02

// Micros is the latency of a step in microseconds; step 0 is 1 us.
func (c Count) Micros() float64 { return math.Pow(grid, float64(c.Step)) }

// NewCounts takes the latencies of h, which are nanoseconds.
func NewCounts(h *hdrhistogram.Histogram) Counts {
	var counts Counts
	for _, bar := range h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		step := max(0, int(math.Round(math.Log(micros(bar.To))/math.Log(grid))))
		if n := len(counts); n > 0 && counts[n-1].Step == step {
			counts[n-1].N += bar.Count
			continue
		}
		counts = append(counts, Count{step, bar.Count})
	}
	return counts
}

// MarshalText implements encoding.TextMarshaler.
func (c Counts) MarshalText() ([]byte, error) {
	var b []byte
	for i, count := range c {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(strconv.AppendInt(b, int64(count.Step), 10), ':')
		b = strconv.AppendInt(b, count.N, 10)
	}
	return b, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Counts) UnmarshalText(text []byte) error {
	*c = nil
	for pair := range strings.FieldsSeq(string(text)) {
		step, n, _ := strings.Cut(pair, ":")
		at, err := strconv.Atoi(step)
		if err != nil {
			return fmt.Errorf("histogram: %w", err)
		}
		count, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return fmt.Errorf("histogram: %w", err)
		}
		*c = append(*c, Count{at, count})
	}
	return nil
}

// short rounds to four significant digits, more than any figure has.
func short(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}
