package watchdog

import (
	"bytes"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// waitTime is the length of the waits: longer than the watchdog needs for a first report.
const waitTime = 150 * time.Millisecond

//go:noinline
func unlockLater(mu *sync.Mutex) {
	time.Sleep(waitTime)
	mu.Unlock()
}

//go:noinline
func sendLater(c chan<- bool) {
	time.Sleep(waitTime)
	c <- true
}

// wokenWaits are the ways in which a wait ends.
var wokenWaits = []struct {
	name, why string
	verdict   Verdict
	run       func()
	by        string // the function that ended it; "": not one of the program
}{
	{"mutex", "a goroutine unlocks it", Lock, func() {
		var mu sync.Mutex
		mu.Lock()
		go unlockLater(&mu)
		mu.Lock()
		defer mu.Unlock()
	}, "unlockLater"},
	{"receive", "a goroutine sends", Channel, func() {
		c := make(chan bool)
		go sendLater(c)
		<-c
	}, "sendLater"},
	{"select", "a goroutine sends on one of two", Channel, func() {
		c, other := make(chan bool), make(chan bool)
		go sendLater(c)
		select {
		case <-c:
		case <-other:
		}
	}, "sendLater"},
	{"twice", "the last wait counts", Lock, func() {
		c := make(chan bool)
		go sendLater(c)
		<-c
		var mu sync.Mutex
		mu.Lock()
		go unlockLater(&mu)
		mu.Lock()
		defer mu.Unlock()
	}, "unlockLater"},
	{"timer", "no goroutine ends it", Channel, func() { <-time.After(waitTime) }, ""},
}

// searching logs every overrun, so that each unblocker is logged.
func searching() Config {
	return Config{Wakers: true, QuietMin: time.Nanosecond, QuietMax: time.Nanosecond, ReportsPerMinuteMax: 10_000}
}

func waitRoutes() map[string]func(*loop.Task) {
	routes := map[string]func(*loop.Task){"calm": func(*loop.Task) {}}
	for _, x := range wokenWaits {
		routes[x.name] = func(*loop.Task) { x.run() }
	}
	return routes
}

func TestUnblockers(t *testing.T) {
	for _, x := range wokenWaits {
		t.Run(x.name, func(t *testing.T) {
			s := newStage(t, 1, searching(), waitRoutes())
			unblockerIsFound(t, s, x.name, x.by, x.why)
		})
	}
	t.Run("beside its loop", func(t *testing.T) {
		s := newHandoffStage(t, searching(), waitRoutes())
		stop := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() { s.callOften("calm", stop) })
		defer others.Wait()
		defer close(stop)
		unblockerIsFound(t, s, "mutex", "unlockLater", "the loop was handed over")
	})
}

// unblockerIsFound calls a route until an overrun was searched, and checks its unblocker. A wait that has ended before the recorder ran has none.
func unblockerIsFound(t *testing.T, s *stage, route, by, why string) {
	t.Helper()
	s.callUntil(route, func(o Overrun) bool {
		s.forgetSearch()
		return o.EndedBy != nil
	})
	all := s.dog.Recent()
	o := all[slices.IndexFunc(all, func(o Overrun) bool { return o.EndedBy != nil })]
	if by == "" {
		require.NotContains(t, o.EndedBy.At.Func, "watchdog.", why)
		return
	}
	require.Contains(t, o.EndedBy.At.Func, by, why)
	require.NotZero(t, o.EndedBy.Goroutine, why)
	require.NotZero(t, o.EndedBy.At.Line, why)
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "ended_by=\"watchdog."+by+" (unblocker_test.go:") }, 10*time.Second, time.Millisecond, why)
}

// forgetSearch allows the next search at once.
func (s *stage) forgetSearch() {
	done := make(chan struct{})
	leave := s.steward.Visit(loop.Visitor{Look: func(int64) int64 {
		s.dog.searchAt = 0
		select {
		case <-done:
		default:
			close(done)
		}
		return int64(time.Hour)
	}})
	<-done
	leave()
}

// Without the setting, and for other verdicts, the recorder does not run.
func TestNoUnblockers(t *testing.T) {
	for _, x := range []struct {
		why, route string
		config     Config
	}{
		{"it is off by default", "mutex", Config{}},
		{"nothing wakes code that computes", "spin", Config{Wakers: true}},
	} {
		routes := waitRoutes()
		routes["spin"] = func(*loop.Task) { spin(waitTime) }
		s := newStage(t, 1, x.config, routes)
		s.callUntilBlamed(x.route)
		for _, o := range s.settled() {
			require.Nil(t, o.EndedBy, x.why)
		}
		require.Zero(t, s.dog.searchAt, x.why)
		s.stop()
	}
}

// One recorder is allowed in a process: with another one, overruns are reported without their unblockers.
func TestUnblockersBesideAnotherRecorder(t *testing.T) {
	other := trace.NewFlightRecorder(trace.FlightRecorderConfig{})
	require.NoError(t, other.Start())
	defer other.Stop()
	s := newStage(t, 1, Config{Wakers: true}, waitRoutes())
	s.callUntilJudged("mutex", Lock)
	for _, o := range s.settled() {
		require.Nil(t, o.EndedBy)
	}
	require.Contains(t, s.log.String(), "cannot record what ends a wait")
}

func TestReadUnblockerOfNoTrace(t *testing.T) {
	for _, x := range []struct{ why, text string }{{"nothing", ""}, {"something else", "no trace"}} {
		found, err := readUnblocker(strings.NewReader(x.text), 1)
		require.Error(t, err, x.why)
		require.Nil(t, found, x.why)
	}
}

// The goroutine of a task changes places with its loop's at each wait through the loop. That is not what ends a wait.
func TestReadUnblockerOfSwitches(t *testing.T) {
	var gid atomic.Uint64
	s := newStage(t, 1, Config{}, map[string]func(*loop.Task){"sleepy": func(task *loop.Task) {
		gid.Store(task.Observe().GoroutineID())
		for range 3 {
			_ = task.Sleep(time.Millisecond)
		}
	}})
	s.call("sleepy", "before") // starts the goroutine
	var recorded bytes.Buffer
	require.NoError(t, trace.Start(&recorded))
	s.call("sleepy", "recorded")
	trace.Stop()
	found, err := readUnblocker(&recorded, gid.Load())
	require.NoError(t, err)
	require.Nil(t, found)
}
