package watchdog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

const ms = int64(time.Millisecond)

// at is a reading of thread 5. All times are in ms.
func at(now int64, state string, cpu, delay int64) reading {
	return reading{now: now * ms, mono: now * ms, goState: state, tid: 5, known: true, cpu: cpu * ms, delay: delay * ms, timed: true,
		process: cpu * ms}
}

func off(now int64, state string) reading {
	return reading{now: now * ms, mono: now * ms, goState: state, known: true}
}

func marking(r reading) reading {
	r.marking, r.assisting = true, true
	return r
}

func in(state byte, r reading) reading {
	r.state = func(int) byte { return state }
	return r
}

// Not seeing the beginning of a slice does not excuse code that took all of the rest, up to a quarter of the budget.
func TestCreditForTheBeginning(t *testing.T) {
	for _, c := range []struct {
		e    evidence
		want int64
		why  string
	}{
		{evidence{running: 8, unseen: 2, unclear: 2}, 10, "it computed ever since"},
		{evidence{parked: 10, unseen: 5, unclear: 5}, 12, "a quarter of the budget, not all"},
		{evidence{running: 8, unseen: 2, unclear: 2, starved: 1}, 10, "an eighth is no disturbance"},
		{evidence{running: 8, unseen: 2, unclear: 2, starved: 2}, 8, "it was kept from running, and may have been before"},
		{evidence{running: 8, unseen: 2, unclear: 2, paused: 2}, 8, "the world was stopped"},
		{evidence{running: 8, unseen: 2, unclear: 2, stopped: 2}, 8, "the watchdog did not run"},
		{evidence{running: 8, unseen: 2, unclear: 2, pendingRun: 2}, 8, "it may have waited for a CPU"},
		{evidence{running: 8, unseen: 2, unclear: 4}, 8, "more than the beginning was not seen"},
	} {
		p := probe{budget: 10, ev: c.e}
		require.Equal(t, c.want, p.own(), c.why)
	}
	p := probe{budget: 10, ev: evidence{running: 10, unseen: 2, unclear: 2, starved: 9}, credit: 2}
	require.EqualValues(t, 12, p.own(), "what was proven while it lasted stays so")
}

// Code that computed and then entered a system call is not said to have spent all of it in the call.
func TestComputingBeforeACall(t *testing.T) {
	var late lateness
	p := probe{budget: 10 * ms, kernel: Syscall}
	p.ev.begin(100*ms, at(99, loop.StateRunning, 0, 0), at(101, loop.StateRunning, 1, 0), p.budget, &late)
	p.ev.look(at(141, loop.StateSyscall, 41, 0), &late)
	p.ev.look(in('S', at(151, loop.StateSyscall, 41, 0)), &late)
	require.EqualValues(t, 10*ms, p.ev.spent[loop.StateSyscall])
	require.Equal(t, Spin, p.verdict())
}

// A wait whose state says what for is blamed without a stack, and nothing else is.
func TestPlainWait(t *testing.T) {
	known := reading{known: true}
	spent := func(state string) map[string]int64 { return map[string]int64{state: 16} }
	for _, c := range []struct {
		e    evidence
		want bool
		why  string
	}{
		{evidence{last: known, parked: 16, spent: spent("sleep")}, true, "it slept"},
		{evidence{last: known, parked: 16, running: 2, spent: spent("chan receive")}, true, "and computed a little"},
		{evidence{last: known, parked: 16, running: 4, spent: spent("sleep")}, false, "some of its time was computing, perhaps for the collector"},
		{evidence{last: known, parked: 16, starved: 3, spent: spent("sleep")}, false, "disturbed"},
		{evidence{last: known, parked: 16, marked: 1, spent: spent("sync.Mutex.Lock")}, false, "beside a collection"},
		{evidence{last: known, running: 16, spent: spent("running")}, false, "computing, perhaps for the runtime"},
		{evidence{last: known, blocked: 16, spent: spent(loop.StateSyscall)}, false, "which system call?"},
		{evidence{last: known, parked: 16, spent: spent(stateIO)}, false, "a socket or a pipe?"},
		{evidence{last: known, parked: 16, spent: spent(stateCoroutine)}, false, "what does the coroutine do?"},
		{evidence{parked: 16, spent: spent("sleep")}, false, "threads are hidden"},
	} {
		require.Equal(t, c.want, c.e.plainWait(), c.why)
	}
}

func TestEvidence(t *testing.T) {
	for _, c := range []struct {
		name   string
		since  int64
		base   reading
		looks  []reading
		gaps   [2]int64 // the sampler, in ms
		proven int64
		want   Verdict // of what is not proven
		why    string
	}{
		{"computes", 100, at(98, loop.StateSyscall, 0, 0), []reading{in('R', at(103, "running", 3, 0)), at(110, "running", 10, 0)}, [2]int64{},
			10, "", "the thread's clock says so"},
		{"was busy before", 100, at(90, "running", 0, 0), []reading{in('R', at(110, "running", 10, 0))}, [2]int64{},
			0, Starved, "those 10 ms may all have been computed before the slice"},
		{"was busy before, and went on", 100, at(95, "running", 0, 0), []reading{in('R', at(105, "running", 10, 0)), at(106, "running", 11, 0)}, [2]int64{},
			6, "", "the kernel has added no wait since: it ran all along"},
		{"was busy before, then kept", 100, at(95, "running", 0, 0), []reading{in('R', at(105, "running", 5, 0)), at(106, "running", 6, 5)}, [2]int64{},
			1, Starved, "the wait that ended since was in the slice"},
		{"kept by the kernel", 100, at(99, "running", 0, 0), []reading{in('R', at(120, "running", 1, 0)), at(121, "running", 2, 19)}, [2]int64{},
			1, Starved, "a busy machine"},
		{"kept without a P", 100, at(99, "running", 0, 0), []reading{off(115, loop.StateRunnable)}, [2]int64{},
			0, Starved, "ready, and no thread runs it"},
		{"sleeps", 100, at(99, "running", 0, 0), []reading{off(104, "sleep"), off(115, "sleep")}, [2]int64{},
			15, "", "seen asleep twice"},
		{"seemed to sleep", 100, at(99, "running", 0, 0), []reading{off(101, "sleep"), off(301, "sleep")}, [2]int64{102, 300},
			3, WatchdogLate, "the sampler did not run: the process may have been stopped"},
		{"computes while the watchdog is late", 100, at(99, "running", 0, 0), []reading{at(160, "running", 60, 0)}, [2]int64{101, 160},
			1, WatchdogLate, "its thread may have run other goroutines"},
		{"blocked in a call", 100, at(99, "running", 0, 0), []reading{in('D', at(120, loop.StateSyscall, 0, 0))}, [2]int64{},
			20, "", "an uninterruptible wait"},
		{"stopped by a signal", 100, at(99, "running", 0, 0), []reading{in('T', at(400, "running", 0, 0))}, [2]int64{},
			0, WatchdogLate, "the thread is stopped"},
		{"works for the collector", 100, at(99, "running", 0, 0), []reading{at(105, loop.StateWaiting, 5, 0), at(115, loop.StateWaiting, 15, 0)}, [2]int64{},
			0, GC, "a mark assist is a wait on a thread"},
		{"world stopped", 100, at(99, "running", 0, 0), []reading{func() reading { r := at(120, "running", 2, 0); r.paused = 18 * ms; return r }()}, [2]int64{},
			1, GC, "pauses are the runtime's"},
		{"kept by the collector's workers", 100, at(99, "running", 0, 0), []reading{func() reading { r := off(115, loop.StateRunnable); r.marking = true; return r }()}, [2]int64{},
			0, GC, "they take a P each"},
		{"computes beside the collector", 100, at(100, "running", 0, 0), []reading{marking(at(105, "running", 5, 0)), marking(at(107, "running", 7, 0)), marking(at(109, "running", 9, 0))},
			[2]int64{}, 9, "", "looked at often enough to tell it from work for the collector"},
		{"computed beside the collector, unseen", 100, at(100, "running", 0, 0), []reading{marking(at(112, "running", 12, 0)), marking(at(130, "running", 30, 0))},
			[2]int64{}, 7, WatchdogLate, "one look vouches for so much: the rest may have been mark assists"},
		{"waits in the runtime", 100, at(99, "running", 0, 0), []reading{in('S', at(120, "running", 0, 0))}, [2]int64{},
			0, Starved, "a running goroutine whose thread sleeps waits for a lock of the runtime"},
		{"wandered", 100, at(99, "running", 0, 0), []reading{func() reading { r := at(120, "running", 20, 0); r.tid = 6; return r }()}, [2]int64{},
			0, WatchdogLate, "another thread's clock says nothing of this one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var late lateness
			if c.gaps[1] > 0 {
				late.woke(c.gaps[0]*ms, c.gaps[1]*ms)
			}
			var e evidence
			e.begin(c.since*ms, c.base, c.looks[0], 10*ms, &late)
			for _, r := range c.looks[1:] {
				e.look(r, &late)
			}
			require.Equal(t, c.proven, e.proven()/ms, c.why)
			if c.want != "" {
				require.Equal(t, c.want, e.externalCause(), c.why)
			}
			held := c.looks[len(c.looks)-1].now - c.since*ms
			require.LessOrEqual(t, e.proven(), held, "never more than it took")
		})
	}
}

func TestStacksSettleWhatClocksLeaveOpen(t *testing.T) {
	for _, c := range []struct {
		verdict Verdict
		proven  int64
		why     string
	}{
		{Sleep, 12, "its own coroutine sleeps"},
		{Spin, 8, "its own coroutine computes, as far as the process did"},
		{Starved, 0, "it was kept"},
		{GC, 0, "the collector's"},
	} {
		var e evidence
		r := off(112, stateCoroutine)
		r.process = 8 * ms
		e.begin(100*ms, at(99, "running", 0, 0), r, 10*ms, &lateness{})
		require.Zero(t, e.proven())
		e.settle(c.verdict)
		require.Equal(t, c.proven, e.proven()/ms, c.why)
		require.Zero(t, e.undecided)
	}
}

// Without the goroutine's state a wait in the kernel may be a system call of the code or one of the Go runtime.
func TestStackSettlesAWaitOfAnUnknownState(t *testing.T) {
	for _, c := range []struct {
		verdict Verdict
		blocked int64
		why     string
	}{
		{File, 12, "the stack is in a system call"},
		{Spin, 0, "the stack computes, and neither its thread nor the process did"},
		{Starved, 0, "the Go runtime kept it"},
	} {
		var e evidence
		e.begin(100*ms, at(100, "", 0, 0), in('S', at(112, "", 0, 0)), 10*ms, &lateness{})
		require.Zero(t, e.proven())
		e.settle(c.verdict)
		require.Equal(t, c.blocked, e.proven()/ms, c.why)
	}
}

func TestComputingBesideTheCollectorNeedsStacks(t *testing.T) {
	var e evidence
	require.Equal(t, stacksDisturbed, e.stacksNeeded(4*ms), "no thread is known, so no clock was read")
	e.begin(100*ms, at(100, "running", 0, 0), at(104, "running", 4, 0), 10*ms, &lateness{})
	require.Equal(t, 1, e.stacksNeeded(4*ms), "no collector")
	require.Equal(t, stacksDisturbed, e.stacksNeeded(9*ms), "kept from running for longer than it ran")
	for now := int64(106); now < 118; now += 2 {
		e.look(marking(at(now, "running", now-100, 0)), &lateness{})
	}
	require.Equal(t, 16*ms, e.proven())
	require.Equal(t, stacksDisturbed, e.stacksNeeded(16*ms), "the collector was in a cycle for a part of it")
}

func TestLatenessIsRemembered(t *testing.T) {
	var l lateness
	l.woke(100*ms, 100*ms+latenessMin/2)
	require.Zero(t, l.between(0, 1000*ms), "small delays of a wake are ignored")
	l.woke(200*ms, 250*ms)
	l.woke(300*ms, 320*ms)
	require.Equal(t, 70*ms, l.between(0, 1000*ms))
	require.Equal(t, 15*ms, l.between(240*ms, 305*ms))
	require.Zero(t, l.between(250*ms, 300*ms))
}
