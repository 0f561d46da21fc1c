package watchdog

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// TestCostOfWatching compares the CPU time of the whole process for each request
// with and without a watchdog, in turns, so that what else the machine does falls
// on both. It asserts nothing: a busy machine measures anything.
func TestCostOfWatching(t *testing.T) {
	if os.Getenv("WATCHDOG_COST") == "" {
		t.Skip("a measurement: WATCHDOG_COST=1")
	}
	cost := map[bool][]float64{}
	for range 40 {
		for _, watched := range []bool{false, true} {
			cost[watched] = append(cost[watched], costOf(t, watched))
		}
	}
	var ratios []float64
	for i := range cost[true] {
		ratios = append(ratios, cost[true][i]/cost[false][i])
	}
	slices.Sort(ratios)
	slices.Sort(cost[false])
	slices.Sort(cost[true])
	t.Logf("CPU for each request: %.0f ns without, %.0f ns with (medians); with/without %.3f at the median of pairs, quartiles %.3f %.3f",
		cost[false][20], cost[true][20], ratios[20], ratios[10], ratios[30])
}

// costOf is the CPU time in ns of a request on a connection that has 32 under way.
func costOf(t *testing.T, watched bool) float64 {
	s := openStage(t, 1, Config{}, map[string]func(*loop.Task){"fast": func(*loop.Task) {}}, watched)
	defer s.stop()
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	request := []byte("fast f\n")
	answers := bufio.NewReader(conn)
	n := 0
	before := processCPU()
	for end := time.Now().Add(250 * time.Millisecond); time.Now().Before(end); n += 32 {
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
