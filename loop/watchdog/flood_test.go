package watchdog

import (
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// Short overruns use up the log records of the minute. Long ones are logged nevertheless.
func TestALongHoldHasItsLineInAFlood(t *testing.T) {
	for _, c := range []struct {
		held, ran time.Duration
		lines     int
		why       string
	}{
		{500 * time.Millisecond, 500 * time.Millisecond, 0, "one among many"},
		{time.Second, time.Second, 1, "a loop that is held for a second"},
		{2 * time.Millisecond, 20 * time.Second, 1, "code that runs beside its loop for as long"},
	} {
		d, log := testReporter(Config{})
		for id := range uint64(48) {
			d.close(overrunAt(id, int(id), 20*time.Millisecond), false)
		}
		o := overrunAt(100, 100, 10*time.Millisecond)
		o.Final = false
		d.open(o)
		o.Held, o.Ran, o.Released = Millis(c.held), Millis(c.ran), c.ran > c.held
		d.update(o)
		require.Equal(t, c.lines, strings.Count(log.String(), "overrun=100"), c.why)
	}
}

// The same on a loop: the overrun is logged while the loop is held.
func TestALongHoldIsLoggedWhileItLastsInAFlood(t *testing.T) {
	released := make(chan struct{})
	routes := map[string]func(*loop.Task){"hog": func(*loop.Task) { <-released }}
	s := newStage(t, 1, Config{ReportsPerMinuteMax: 1}, routes)
	for i := range 3 {
		s.dog.reporter.close(overrunAt(uint64(1000+i), i, 20*time.Millisecond), false)
	}
	var caller sync.WaitGroup
	caller.Go(func() { s.call("hog", "h") })
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "request_id=h") }, 20*time.Second, time.Millisecond)
	require.NotContains(t, s.log.String(), "a loop was held\" overrun=1 ")
	close(released)
	caller.Wait()
}

// A stack taken while the code did something else does not give a line.
func TestVerdictAndLineAgree(t *testing.T) {
	framework := Frame{Func: "tafe/loop.(*Task).run", File: "task.go", Line: 1}
	inner := Frame{Func: "main.wait", File: "main.go", Line: 7}
	outer := Frame{Func: "main.handler", File: "main.go", Line: 3}
	sleeping := []Frame{{Func: "time.Sleep", File: "sleep.go", Line: 9}, inner, outer, framework}
	for _, c := range []struct {
		spent map[string]int64
		votes map[string]map[Verdict]int
		want  Verdict
		at    string
		why   string
	}{
		{map[string]int64{"sleep": 9}, map[string]map[Verdict]int{"sleep": {Sleep: 1}}, Sleep, "main.wait (main.go:7)", "the stack shows the code that took the time"},
		{map[string]int64{"sleep": 2, loop.StateRunning: 9}, map[string]map[Verdict]int{"sleep": {Sleep: 1}}, Spin, "main.handler", "it computed, and was seen asleep: no line is known"},
	} {
		p := &probe{budget: 1, votes: c.votes, lastOf: map[Verdict][]Frame{Sleep: sleeping}, lastStack: sleeping}
		p.ev.spent = c.spent
		o := Overrun{Verdict: p.verdict(), Blamed: true}
		p.locate(&o)
		require.Equal(t, c.want, o.Verdict, c.why)
		require.Equal(t, c.at, o.Culprit.String(), c.why)
	}
	p := &probe{lastStack: sleeping[:1]}
	o := Overrun{Verdict: Spin, Blamed: true, Route: "/r"}
	p.locate(&o)
	require.Empty(t, o.Culprit.Func, "no code of the program on the stack")
	require.Equal(t, "/r?spin", o.Key)
}

// Code that calls for a collection is blamed for the time of the collection.
func TestACollectionThatTheHandlerAskedForIsItsOwn(t *testing.T) {
	needThreads(t)
	garbage := make([]*[]byte, 0, 400_000)
	for i := range cap(garbage) {
		b := make([]byte, 64)
		b[0] = byte(i)
		garbage = append(garbage, &b)
	}
	s := newStage(t, 1, Config{}, map[string]func(*loop.Task){
		"gc":   func(*loop.Task) { collect(runtime.GC) },
		"free": func(*loop.Task) { collect(debug.FreeOSMemory) },
	})
	for _, route := range []string{"gc", "free"} { // a single stack may show the code between two collections
		s.callUntil(route, func(o Overrun) bool { return o.Blamed && strings.Contains(o.Advice, "garbage collection") })
	}
	for _, o := range s.settled() {
		if o.Blamed && o.Samples > 0 {
			require.Equal(t, Spin, o.Verdict, o.Line())
			require.Contains(t, o.Culprit.Func, "tafe/loop/watchdog.", o.Line())
		}
	}
	runtime.KeepAlive(garbage)
}

// collect collects several times: one collection takes about as long as the budget.
//
//go:noinline
func collect(once func()) {
	for range 4 {
		once()
	}
}

func TestAdviceFollowsTheStack(t *testing.T) {
	handler := Frame{Func: "main.handler", File: "main.go", Line: 3}
	for _, c := range []struct {
		frames []string
		v      Verdict
		want   string
		why    string
	}{
		{[]string{"net/http.(*persistConn).roundTrip", "net/http.(*Transport).roundTrip"}, Network, "app/client", "a plain http.Client"},
		{[]string{"runtime.chanrecv", "net/http.(*Transport).getConn"}, Channel, "app/client", "its pool"},
		{[]string{"golang.org/x/sync/semaphore.(*Weighted).Acquire", "github.com/jackc/puddle/v2.(*Pool[go.shape.*uint8]).acquire"}, Channel, "MaxConns", "pgxpool"},
		{[]string{"github.com/redis/go-redis/v9/internal/pool.(*ConnPool).waitTurn"}, Channel, "PoolSize", "go-redis"},
		{[]string{"database/sql.(*DB).conn", "database/sql.(*DB).query"}, Channel, "SetMaxOpenConns", "database/sql"},
		{[]string{"sync.(*RWMutex).RLock", "github.com/example/client.(*Client).node"}, Lock, "inside github.com/example/client", "a lock that a client shares"},
		{[]string{"sync.(*Mutex).Lock"}, Lock, "hold it for less time", "a lock of the program"},
		{[]string{"net/http.(*Transport).roundTrip"}, Spin, "YieldIfDue", "code that computes there does not wait"},
		{[]string{"runtime.GC"}, Spin, "garbage collection", "a collection that the code calls for"},
	} {
		o := Overrun{Verdict: c.v, Stack: []Frame{}}
		for _, f := range c.frames {
			o.Stack = append(o.Stack, Frame{Func: f})
		}
		o.Stack = append(o.Stack, handler)
		require.Contains(t, o.advice(), c.want, c.why)
	}
}
