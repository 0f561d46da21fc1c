package watchdog

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// Released code is reported as an overrun while it runs, with both lengths, and closed when it has
// returned. Other requests are served meanwhile.
func TestReleasedOverrunIsReportedWhileItRuns(t *testing.T) {
	ran := 1500 * time.Millisecond
	goOn := make(chan struct{})
	s := newHandoffStage(t, Config{Escalation: Escalation{
		UnreadyAfter: 500 * time.Millisecond, AbortAfter: 500 * time.Millisecond,
		Abort: func(Overrun, []byte) { t.Error("aborted, and no loop is held") },
	}}, map[string]func(*loop.Task){
		"hog":  func(*loop.Task) { <-goOn },
		"fast": func(*loop.Task) {},
	})
	var hog, others sync.WaitGroup
	stop := make(chan struct{})
	hog.Go(func() { s.call("hog", "h") })
	others.Go(func() { s.callOften("fast", stop) })
	live := func() (o Overrun) {
		for _, o := range s.dog.Recent() {
			if o.Route == "hog" && o.Released {
				return o
			}
		}
		return o
	}
	require.Eventually(t, func() bool { return live().ID != 0 }, 10*time.Second, time.Millisecond)
	first := live()
	require.False(t, first.Final)
	require.Equal(t, Channel, first.Verdict)
	require.Greater(t, first.Ran, first.Held)
	require.Equal(t, "h", first.RequestID)
	require.Contains(t, Folded(first.Stack), "TestReleasedOverrunIsReportedWhileItRuns")
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "a task runs beside its loop") }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool {
		require.True(t, s.dog.Ready())
		o := live()
		return time.Duration(o.Ran) > ran && o.Samples > 1 && strings.Contains(s.log.String(), "a task still runs beside its loop")
	}, time.Minute, time.Millisecond)
	close(goOn)
	hog.Wait()
	close(stop)
	others.Wait()
	var o Overrun
	for _, r := range s.settled() {
		if r.ID == first.ID {
			o = r
		}
	}
	require.True(t, o.Final)
	require.True(t, o.Released)
	require.GreaterOrEqual(t, time.Duration(o.Ran), ran)
	require.Equal(t, first.Held, o.Held, "it was over")
	require.Contains(t, o.Advice, "beside its loop")
	for _, v := range o.Victims.Worst {
		require.LessOrEqual(t, v.Delay, o.Held, "only the held part delays others")
	}
	require.Contains(t, s.log.String(), "a task ran beside its loop")
	require.Regexp(t, `held=\S+ ran=\S+ released=true`, s.log.String())
	require.Contains(t, o.Line(), "and ran for")
}

// Many concurrent released tasks are all followed.
func TestManyReleasedTasks(t *testing.T) {
	const tasks = 60
	s := newHandoffStage(t, Config{}, map[string]func(*loop.Task){
		"hog":  func(*loop.Task) { time.Sleep(300 * time.Millisecond) },
		"fast": func(*loop.Task) {},
	})
	s.openLoop("hog", make([]time.Duration, tasks))
	counts := map[bool]int{}
	for _, o := range s.settled() {
		if o.Route == "" { // the loop's own work, on a busy machine
			require.False(t, o.Blamed, o.Line())
			continue
		}
		require.Equal(t, "hog", o.Route)
		require.True(t, o.Final)
		if time.Duration(o.Ran) >= 300*time.Millisecond { // a busy machine may delay the next ones
			counts[o.Released]++
		}
	}
	require.Equal(t, tasks, counts[true]+counts[false])
	require.Greater(t, counts[true], tasks/2, "only the last one need not be released")
	for _, ln := range s.dog.watchedLoops() {
		require.Empty(t, ln.beside)
	}
}

// Released code that returns within its budget is not an overrun.
func TestReleasedWithinBudget(t *testing.T) {
	s := newHandoffStage(t, Config{Budget: time.Hour}, map[string]func(*loop.Task){
		"hog":  func(*loop.Task) { time.Sleep(20 * time.Millisecond) },
		"fast": func(*loop.Task) {},
	})
	for range 20 {
		s.openLoop("hog", make([]time.Duration, 4))
		if s.handoffs() > 0 {
			break
		}
	}
	require.Positive(t, s.handoffs())
	require.Empty(t, s.settled())
}

// handoffs returns the number of handoffs of the loops.
func (s *stage) handoffs() (n uint64) {
	for _, l := range s.engine.Loops() {
		answer := make(chan uint64)
		if l.Post(func() { answer <- l.Observe().Stats().Handoffs }) {
			n += <-answer
		}
	}
	return n
}

// A watchdog to which a loop does not report sees released code too, as looptest.NoOverruns needs with
// an engine's loops.
func TestPassiveWatchdogSeesReleasedCode(t *testing.T) {
	s := newHandoffStage(t, Config{}, map[string]func(*loop.Task){
		"hog":  func(*loop.Task) { time.Sleep(200 * time.Millisecond) },
		"fast": func(*loop.Task) {},
	})
	w := New(Config{Log: s.dog.config.Log, Budget: testBudget})
	for _, l := range s.engine.Loops() {
		w.Watch(l)
	}
	w.Start()
	found := func() bool {
		for _, o := range w.Recent() {
			if o.Final && o.Released && o.Blamed && o.Verdict == Sleep && o.Ran > Millis(testBudget) {
				return true
			}
		}
		return false
	}
	for n := 0; !found(); n++ {
		require.Less(t, n, 50, fmt.Sprint(w.Recent()))
		s.openLoop("hog", make([]time.Duration, 3))
	}
	w.Stop()
}

// A trace shows code that chose to run beside its loop, while it runs and after.
func TestTraceShowsCodeThatLeftItsLoop(t *testing.T) {
	running, release := make(chan struct{}), make(chan struct{})
	s := newHandoffStage(t, Config{}, map[string]func(*loop.Task){
		"leaves": func(t *loop.Task) {
			t.Enter()
			t.Beside()
			close(running)
			<-release
		},
	})
	var caller sync.WaitGroup
	caller.Go(func() { s.call("leaves", "l") })
	<-running
	for _, why := range []string{"it runs", "it has returned"} {
		var out bytes.Buffer
		require.NoError(t, s.dog.WriteTrace(&out, time.Minute))
		require.Contains(t, out.String(), `"name":"loop 0 released"`, why)
		require.Regexp(t, `"name":"leaves","ph":"X","cat":"slice","pid":1,"tid":1048576,`, out.String(), why)
		if why == "it runs" {
			close(release)
			caller.Wait()
		}
	}
}

// A trace shows released code on separate tracks, with an arrow from the loop's track.
func TestTraceShowsReleasedCode(t *testing.T) {
	s := newHandoffStage(t, Config{}, map[string]func(*loop.Task){
		"hog":  func(*loop.Task) { time.Sleep(60 * time.Millisecond) },
		"fast": func(*loop.Task) {},
	})
	for range 20 {
		s.openLoop("hog", make([]time.Duration, 3))
		if s.handoffs() > 0 {
			break
		}
	}
	s.settled()
	var out bytes.Buffer
	require.NoError(t, s.dog.WriteTrace(&out, time.Minute))
	requireTrace(t, out.Bytes(), 1)
	require.Contains(t, out.String(), `"name":"loop 0 released"`)
	require.Contains(t, out.String(), `"name":"handoff"`)
}

// comesBack is a task whose code waits for goOn, and then needs the loop.
type comesBack struct{ began, goOn chan struct{} }

func (c comesBack) Run(t *loop.Task)     { t.Outside(func() { close(c.began); <-c.goOn }) }
func (comesBack) Done(*loop.Task, error) {}

// A task that has come back before a goroutine adopts its loop is not to blame for the time until then.
func TestReturnedBeforeAdoption(t *testing.T) {
	w := New(Config{Log: slog.New(slog.DiscardHandler), Budget: testBudget})
	l := loop.New(0, still{time.Now().Add(-time.Second)}, loop.Limits{SliceBudget: testBudget}, slog.New(slog.DiscardHandler))
	l.Drive().SetObserver(w.Observe(l))
	ln := w.watchedLoops()[0]
	ln.visit(w)
	code := comesBack{make(chan struct{}), make(chan struct{})}
	owned := make(chan bool)
	go func() {
		l.Post(func() { _, _ = l.Start(code) })
		owned <- l.Drive().Turn()
	}()
	<-code.began
	ln.visit(w)
	since, task, running := l.Observe().Slice().Load()
	require.True(t, running)
	require.True(t, l.Drive().TakeFrom(since, task, true))
	close(code.goOn)
	require.False(t, <-owned, "another goroutine must adopt the loop")
	require.True(t, task.Observe().Returning())
	for at := l.Clock(); l.Clock()-at < int64(3*testBudget); {
		ln.visit(w)
	}
	require.Zero(t, ln.current.samples)
	require.Nil(t, ln.current.reported)
	require.True(t, l.Drive().Adopt())
	require.True(t, l.Drive().Turn(), "the task goes on")
	require.False(t, task.Observe().Returning())
	ln.visit(w)
	for _, o := range w.Recent() {
		require.False(t, o.Blamed, o.Line())
	}
	l.Drive().BeginTurn()
	l.Drive().Shutdown()
	l.Drive().Close()
	l.Drive().EndTurn()
}
