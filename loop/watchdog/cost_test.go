package watchdog

import (
	"bufio"
	"bytes"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// BenchmarkCostOfWatching compares the CPU time of the whole process per request with and without a
// watchdog, with handoff. The two alternate, so that other load of the machine affects both:
//
//	go test ./loop/watchdog -run '^$' -bench CostOf -benchtime 25x
func BenchmarkCostOfWatching(b *testing.B) {
	compareCosts(b, func(on bool) float64 { return costOf(b, on, loop.HandoffTime) })
}

// BenchmarkCostOfHandoff compares the CPU time with and without handoff (a steward and more Ps)
// while no loop is held.
func BenchmarkCostOfHandoff(b *testing.B) {
	compareCosts(b, func(on bool) float64 {
		if on {
			return costOf(b, false, loop.HandoffTime)
		}
		return costOf(b, false, -1)
	})
}

func compareCosts(b *testing.B, measure func(on bool) float64) {
	cost := map[bool][]float64{}
	var ratios []float64
	for b.Loop() {
		first := len(ratios)%2 == 0
		for _, on := range []bool{first, !first} {
			cost[on] = append(cost[on], measure(on))
		}
		last := len(ratios)
		ratios = append(ratios, cost[true][last]/cost[false][last])
	}
	for _, all := range [][]float64{ratios, cost[false], cost[true]} {
		slices.Sort(all)
	}
	middle := len(ratios) / 2
	b.ReportMetric(cost[false][middle], "cpu-ns/request-off")
	b.ReportMetric(cost[true][middle], "cpu-ns/request-on")
	b.ReportMetric(ratios[middle], "on/off")
	b.ReportMetric(ratios[len(ratios)/4], "on/off-quartile1")
	b.ReportMetric(ratios[len(ratios)*3/4], "on/off-quartile3")
	b.ReportMetric(0, "ns/op") // the duration of the benchmark means nothing
}

// costOf returns the CPU time in ns of a request on a connection with 32 requests in flight.
func costOf(t testing.TB, watched bool, handoff time.Duration) float64 {
	s := openStage(t, 1, handoff, Config{}, map[string]func(*loop.Task){"fast": func(*loop.Task) {}}, watched)
	defer s.stop()
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	request := []byte("fast f\n")
	answers := bufio.NewReader(conn)
	n := 0
	before := processCPU()
	for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); n += 32 {
		for range 32 {
			_, err = conn.Write(request)
			require.NoError(t, err)
		}
		for range 32 {
			line, err := answers.ReadSlice('\n')
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(line, []byte("f ")))
		}
	}
	return float64(processCPU()-before) / float64(n)
}
