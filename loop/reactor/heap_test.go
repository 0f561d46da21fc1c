package reactor

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 800, 1 << 20: 800, 4 << 20: 700, 8 << 20: 300, 16 << 20: 100, 1 << 30: 100} {
		require.Equal(t, want, percentFor(live), "%d bytes", live)
	}
}

// collections makes 256 MiB of garbage in an own process and returns how many collections it took.
func collections(t *testing.T, env ...string) int {
	cmd := exec.Command(os.Args[0], "-test.run=^TestMakesGarbage$")
	cmd.Env = append(os.Environ(), append([]string{"GOGC=", "GOMEMLIMIT=", "MAKE_GARBAGE=1"}, env...)...)
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)
	n, err := strconv.Atoi(string(out))
	require.NoError(t, err, "%s", out)
	return n
}

func TestHeapMin(t *testing.T) {
	t.Parallel()
	kept, own, limited := collections(t), collections(t, "GOGC=100"), collections(t, "GOMEMLIMIT=16MiB")
	t.Logf("%d collections; %d with GOGC=100; %d with GOMEMLIMIT=16MiB", kept, own, limited)
	require.Less(t, 2*kept, own, "one for some 30 MiB, not for 4")
	require.Greater(t, limited, 2*kept, "the limit holds")
}

var garbage []byte

// TestMakesGarbage is the process of TestHeapMin.
func TestMakesGarbage(t *testing.T) {
	if os.Getenv("MAKE_GARBAGE") == "" {
		return // for TestHeapMin only
	}
	keepHeapMin()
	runtime.GC() // the first minimum of the process is Go's
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 256 << 4 {
		garbage = make([]byte, 64<<10)
	}
	runtime.ReadMemStats(&after)
	_, _ = os.Stdout.WriteString(strconv.Itoa(int(after.NumGC - before.NumGC)))
	os.Exit(0)
}
