// The cost of a call, in tasks and in plain goroutines.

package clients

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop/reactor"
)

var (
	costRounds = flag.Int("rounds", 0, "rounds of TestCost, whose figures are medians; 0: one round with two clients, as a test of the measurement")
	costWindow = flag.Duration("window", 50*time.Millisecond, "time that TestCost measures in each round")
)

// cost is what was measured in one window.
type cost struct {
	cpuMicros   float64 // user and system time of this process for each call
	perSecond   float64
	perThousand float64 // handoffs for a thousand calls
}

// TestCost prints a table. The ways take turns, and each turn has new loops and a new client.
func TestCost(t *testing.T) {
	const tasks = 500
	costs := make([][][]cost, len(clients)) // by client and way
	for i, c := range clients {
		costs[i] = make([][]cost, len(ways))
		if *costRounds == 0 && c.name != "redigo" && c.name != "go-redis" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			addr := c.serve(t)
			for range max(*costRounds, 1) {
				for j, w := range ways {
					if !slices.Contains(w.kinds, c.kind) {
						continue
					}
					t.Run(w.name, func(t *testing.T) { costs[i][j] = append(costs[i][j], measure(t, c, w, addr, tasks)) })
				}
			}
		})
	}
	if testing.Verbose() {
		printCosts(os.Stdout, costs)
	}
}

// measure runs the calls and looks at the clocks after a time for warming up.
func measure(t *testing.T, c client, w way, addr string, tasks int) cost {
	var e *reactor.Engine
	processors := runtime.NumCPU()
	if w.loops {
		e = startEngine(t, 0)
		processors = runtime.GOMAXPROCS(0)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
	crowd := startCrowd(e, tasks, 0, w.prepare(t, c, addr, e, c.conns(tasks), tasks))
	for crowd.calls() < int64(2*tasks) {
		requireRunning(t, crowd)
	}
	before := sampleOf(crowd, e)
	time.Sleep(*costWindow)
	after := sampleOf(crowd, e)
	crowd.stop()
	crowd.wait(t, e)
	calls := float64(after.calls - before.calls)
	require.Positive(t, calls)
	return cost{
		cpuMicros:   float64((after.cpu - before.cpu).Microseconds()) / calls,
		perSecond:   calls / after.at.Sub(before.at).Seconds(),
		perThousand: float64(after.handoffs-before.handoffs) / calls * 1000,
	}
}

func requireRunning(t *testing.T, c *crowd) {
	select {
	case <-c.ended:
		c.wait(t, nil)
	case <-time.After(10 * time.Millisecond):
	}
}

// sample is the clocks and counters at one time.
type sample struct {
	at       time.Time
	cpu      time.Duration
	calls    int64
	handoffs uint64
}

func sampleOf(c *crowd, e *reactor.Engine) sample {
	s := sample{at: time.Now(), calls: c.calls()}
	if e != nil {
		s.handoffs = handoffs(e)
	}
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		panic(err) // the arguments are valid
	}
	s.cpu = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return s
}

// printCosts prints medians as a table of Markdown, aligned.
func printCosts(w io.Writer, costs [][][]cost) {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintf(t, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	head := []string{"us of CPU for a call; calls/s; handoffs in 1,000 calls"}
	for _, w := range ways {
		head = append(head, w.name)
	}
	row(head...)
	row(slices.Repeat([]string{"---"}, len(head))...)
	for i, c := range clients {
		if !slices.ContainsFunc(costs[i], func(of []cost) bool { return len(of) > 0 }) {
			continue // left out by -run
		}
		cells := []string{c.name}
		for j, w := range ways {
			cell := ""
			if of := costs[i][j]; len(of) > 0 {
				cell = fmt.Sprintf("%.1f; %.0f", median(of, func(c cost) float64 { return c.cpuMicros }), median(of, func(c cost) float64 { return c.perSecond }))
				if w.loops {
					cell += fmt.Sprintf("; %.2f", median(of, func(c cost) float64 { return c.perThousand }))
				}
			}
			cells = append(cells, cell)
		}
		row(cells...)
	}
	_ = t.Flush()
}

func median(of []cost, value func(cost) float64) float64 {
	var values []float64
	for _, c := range of {
		values = append(values, value(c))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
