// How late the steward wakes: docs/decisions/007.

package loop

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// roleVariable has the test binary play a part of BenchmarkStewardLateness:
// "hog", a process that computes, or "P DISTURBANCE SLEEP SECONDS".
const roleVariable = "LOOP_TEST_ROLE"

// latenessPart plays the part that the environment asks for, if any.
func latenessPart() bool {
	role := os.Getenv(roleVariable)
	switch fields := strings.Fields(role); {
	case role == "hog":
		for end := time.Now().Add(time.Minute); time.Now().Before(end) && os.Getppid() != 1; {
			compute(time.Millisecond)
		}
		return true
	case len(fields) == 4:
		procs, _ := strconv.Atoi(fields[0])
		seconds, _ := strconv.ParseFloat(fields[3], 64)
		_ = json.NewEncoder(os.Stdout).Encode(measureLateness(procs, fields[1], fields[2], time.Duration(seconds*1e9)))
		return true
	}
	return false
}

// latenessOf is what one process measured, in ms.
type latenessOf struct {
	P50, P99, Worst float64
	CPU             float64 // of the whole process, us for each slice
	Wakes           int
}

// BenchmarkStewardLateness measures how late the steward of one loop wakes from its
// sleeps, in processes of their own that share one CPU with what disturbs them:
//
//	go test ./loop -run '^$' -bench StewardLateness -benchtime 3x -timeout 1h
func BenchmarkStewardLateness(b *testing.B) {
	for _, disturbance := range []string{"none", "compute", "garbage", "hogs"} {
		for _, sleep := range []string{"kernel", "runtime"} {
			for _, procs := range []int{2, 4, 8, 12} {
				b.Run(fmt.Sprintf("%s/%s/P=%d", disturbance, sleep, procs), func(b *testing.B) {
					var p50, p99, worst, cpu []float64
					for b.Loop() {
						m := latenessInProcess(b, procs, disturbance, sleep)
						p50, p99, worst, cpu = append(p50, m.P50), append(p99, m.P99), append(worst, m.Worst), append(cpu, m.CPU)
					}
					b.ReportMetric(medianOf(p50), "ms-p50")
					b.ReportMetric(medianOf(p99), "ms-p99")
					b.ReportMetric(medianOf(worst), "ms-worst")
					b.ReportMetric(medianOf(cpu), "cpu-us/slice")
					b.ReportMetric(0, "ns/op") // that is how long it measures
				})
			}
		}
	}
}

func latenessInProcess(b *testing.B, procs int, disturbance, sleep string) (m latenessOf) {
	part := func(role string) *exec.Cmd {
		self, err := os.Executable()
		require.NoError(b, err)
		cmd := exec.Command("taskset", "-c", "0", self)
		cmd.Env = append(os.Environ(), roleVariable+"="+role)
		return cmd
	}
	if disturbance == "hogs" {
		for range 3 {
			hog := part("hog")
			require.NoError(b, hog.Start())
			defer func() { _ = hog.Process.Kill(); _ = hog.Wait() }()
		}
	}
	out, err := part(fmt.Sprint(procs, " ", disturbance, " ", sleep, " ", 2)).Output()
	require.NoError(b, err, "%s", out)
	require.NoError(b, json.Unmarshal(out, &m))
	return m
}

func medianOf(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// measureLateness runs a loop with short slices, and its steward.
func measureLateness(procs int, disturbance, sleep string, d time.Duration) latenessOf {
	runtime.GOMAXPROCS(procs)
	var stop atomic.Bool
	var turns atomic.Int64
	l := New(0, realClock{time.Now()}, Limits{}, nil)
	go func() {
		for !stop.Load() {
			on(l, func() { _, _ = l.Start(&code{run: func(*Task) { computeFor(40) }}) })
			ts := unix.NsecToTimespec(int64(200 * time.Microsecond))
			_ = unix.Nanosleep(&ts, nil) // as a poller waits
			turns.Add(1)
		}
	}()
	disturb(disturbance, &stop)
	s := NewSteward()
	s.Watch(l, 0)
	var late []int64
	s.Visit(Visitor{
		Look: func(int64) int64 { return math.MaxInt64 / 2 },
		Woke: func(due, woke int64) { late = append(late, woke-due) },
	})
	switch sleep {
	case "kernel":
	case "runtime":
		s.nap = func(d int64) { time.Sleep(time.Duration(d)) }
	case "off":
		s.nap = func(int64) { time.Sleep(time.Second) }
	}
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	turned := turns.Load()
	s.Start()
	time.Sleep(d)
	s.Stop()
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	stop.Store(true)
	slices.Sort(late)
	at := func(q float64) float64 { return float64(late[int(q*float64(len(late)-1))]) / 1e6 }
	cpu := float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()) / 1e3 / float64(turns.Load()-turned)
	return latenessOf{P50: at(0.5), P99: at(0.99), Worst: at(1), CPU: cpu, Wakes: len(late)}
}

func disturb(how string, stop *atomic.Bool) {
	switch how {
	case "compute":
		for range 4 {
			go func() {
				for !stop.Load() {
					compute(time.Millisecond)
				}
			}()
		}
	case "garbage":
		type node struct {
			next *node
			_    [6]*node
		}
		heap := make([]*node, 1<<20)
		for i := range heap {
			heap[i] = &node{}
			if i > 0 {
				heap[i].next = heap[i-1]
			}
		}
		for range 2 {
			go func() {
				for !stop.Load() {
					garbage.Store(new([1 << 10]*int))
				}
				runtime.KeepAlive(heap)
			}()
		}
	}
}

var (
	garbage  atomic.Pointer[[1 << 10]*int]
	computed atomic.Uint64
)

// computeFor computes n thousand steps, some 0.4 us each.
func computeFor(n int) {
	sum := uint64(0)
	for i := range uint64(1000 * n) {
		sum = sum*31 + i
	}
	computed.Add(sum)
}

// compute computes for about d of wall time.
func compute(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		computeFor(1)
	}
}
