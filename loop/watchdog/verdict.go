// Verdicts: the cause of an overrun in one word, from the state and the stack of the goroutine, and
// the advice that goes with it. evidence.go decides how much of the time is the code's own.

package watchdog

import (
	"fmt"
	"strings"
)

// Verdict is the cause of an overrun.
type Verdict string

// The verdicts. Verdict.Blames tells which of them blame the code.
const (
	Spin         Verdict = "spin"          // computing
	Sleep        Verdict = "sleep"         // time.Sleep and similar calls
	Lock         Verdict = "lock"          // a mutex, a condition variable, a wait group
	Channel      Verdict = "channel"       // a channel operation or a select
	Network      Verdict = "network"       // a socket or name resolution
	File         Verdict = "file"          // a file or a pipe
	Syscall      Verdict = "syscall"       // another system call, or a child process
	Cgo          Verdict = "cgo"           // C code
	Unknown      Verdict = "unknown"       // not determined: too few stacks were taken
	GC           Verdict = "gc"            // the garbage collector
	Starved      Verdict = "cpu-starved"   // ready, but without a CPU or a P
	WatchdogLate Verdict = "watchdog-late" // the watchdog did not run either, as when the process is stopped
)

// Verdicts lists all verdicts.
var Verdicts = []Verdict{Spin, Sleep, Lock, Channel, Network, File, Syscall, Cgo, Unknown, GC, Starved, WatchdogLate}

// Blames reports whether the verdict blames the code. It is true only for proven causes. The cause
// of GC, Starved and WatchdogLate is outside of the code; that of Unknown was not determined.
func (v Verdict) Blames() bool { return v != GC && v != Starved && v != WatchdogLate && v != Unknown }

// advice returns what the author of the code can change. asked is the number of calls of YieldIfDue.
// After a handoff (released) other tasks waited only while the loop was held, so that changes save
// them that time, and the goroutine that the code occupied.
func (v Verdict) advice(asked uint64, released bool) string {
	switch v {
	case Spin:
		switch {
		case released:
			return "computed beside its loop after a handoff; call YieldIfDue inside its loops, or make the route Blocking, to save others the held time"
		case asked == 0:
			return "computes without yielding; call YieldIfDue inside its loops, or use Offload"
		}
		return fmt.Sprintf("called YieldIfDue %d times and then computed past the budget; call it more often", asked)
	case Sleep:
		return pick(released, "slept beside its loop after a handoff; Task.Sleep occupies no goroutine", "sleeps on the loop; use Task.Sleep, which gives the loop back")
	case Lock:
		return pick(released, "waited for a lock beside its loop after a handoff; others waited for the held time only, but each waiting request occupies a goroutine; hold the lock for less time",
			"waits for a lock that another goroutine holds; hold it for less time, or use Offload")
	case Channel:
		return pick(released, "waited for a channel beside its loop after a handoff; Park with Waker.Post occupies no goroutine", "waits for a channel on the loop; use Park with Waker.Post, or Offload")
	case Network:
		return pick(released, "waited for a socket beside its loop after a handoff; connections of the loop's Dialer occupy no goroutine", "waits for a socket on the loop; dial with the loop's Dialer, or use Offload")
	case File:
		return pick(released, "used a file beside its loop after a handoff; make the route Blocking to save others the held time", "reads or writes a file on the loop; use Offload")
	case Syscall:
		return pick(released, "blocked in a system call beside its loop after a handoff; make the route Blocking to save others the held time", "blocks in a system call; use Offload")
	case Cgo:
		return pick(released, "ran C code beside its loop after a handoff; make the route Blocking to save others the held time", "runs C code on the loop; use Offload")
	}
	return ""
}

// waitsIn lists places in libraries that often hold loops, with advice for each. The first match
// counts.
var waitsIn = []struct{ in, advice string }{
	{"runtime.GC", "runs a full garbage collection; leave collections to the runtime (GOGC, GOMEMLIMIT)"},
	{"runtime/debug.FreeOSMemory", "runs a full garbage collection; leave collections to the runtime (GOGC, GOMEMLIMIT)"},
	{"net/http.(*persistConn).", "waits for a response in net/http; app/client gives the loop back while it waits"},
	{"net/http.(*Transport).", "waits for a connection in net/http; app/client gives the loop back while it waits"},
	{"net/http.(*http2", "waits for a response in net/http; app/client gives the loop back while it waits"},
	{"github.com/jackc/puddle", "waits for a connection of pgxpool; raise MaxConns to the number of requests in flight, or limit them with loop.Semaphore"},
	{"github.com/jackc/pgx/v5/pgxpool.(*Pool).Acquire", "waits for a connection of pgxpool; raise MaxConns to the number of requests in flight, or limit them with loop.Semaphore"},
	{"/internal/pool.(*ConnPool).", "waits for a connection of go-redis; raise PoolSize to the number of requests in flight, or limit them with loop.Semaphore"},
	{"database/sql.(*DB).", "waits for a connection of database/sql; raise SetMaxOpenConns to the number of requests in flight, or limit them with loop.Semaphore"},
}

// advice returns the advice for the place in the code, or else that for the verdict. A place in a
// library counts only if the code waits there.
func (o *Overrun) advice() string {
	waits := o.Verdict == Lock || o.Verdict == Channel || o.Verdict == Network
	for _, f := range o.Stack {
		if ownerOf(f) == ownerHandler {
			break
		}
		for _, w := range waitsIn {
			if strings.Contains(f.Func, w.in) && (waits || strings.HasPrefix(w.in, "runtime")) {
				return w.advice
			}
		}
	}
	if o.Verdict == Lock {
		if f := moduleCulprit(o.Stack); f.Func != "" {
			return "waits for a lock inside " + packageOf(f.Func) + ", shared by all its calls; use several clients, or Offload"
		}
	}
	return o.Verdict.advice(o.Asked, o.Released)
}

// moduleCulprit returns the innermost frame of a module that the program uses, if no code of the
// program itself is further in.
func moduleCulprit(frames []Frame) Frame {
	for _, f := range frames {
		switch ownerOf(f) {
		case ownerModule:
			return f
		case ownerHandler:
			return Frame{}
		}
	}
	return Frame{}
}

func pick(released bool, beside, held string) string {
	if released {
		return beside
	}
	return held
}

// judge returns the verdict for one stack. onThread reports that an OS thread was running the
// goroutine just before; tid is that thread, or 0.
func judge(s stackSample, onThread bool, tid int) Verdict {
	if s.collects {
		return Spin // a collection that the code calls for is its own work
	}
	switch s.state {
	case "running", "runnable", "preempted", "copystack":
		if !onThread {
			return Starved
		}
		if garbage(s.frames) {
			return GC
		}
		if len(s.frames) > 0 && systemCall(s.frames[0]) {
			return judgeSyscall(s.frames, tid)
		}
		return Spin
	case "syscall":
		return judgeSyscall(s.frames, tid)
	case "sleep":
		return Sleep
	}
	switch {
	case strings.HasPrefix(s.state, "GC "), strings.HasPrefix(s.state, "garbage"),
		s.state == "wait for GC cycle", garbage(s.frames):
		return GC
	case s.state == stateIO:
		return judgeIO(s.frames)
	}
	if v := judgeLibrary(s.frames); v != "" {
		return v
	}
	if ownLock(s.frames) {
		return WatchdogLate
	}
	switch {
	case strings.HasPrefix(s.state, "chan"), strings.HasPrefix(s.state, "select"):
		return Channel
	case strings.HasPrefix(s.state, "sync."), strings.HasPrefix(s.state, "sema"):
		return Lock
	}
	return Syscall
}

// ownLock reports whether the code waits for a lock of the watchdog, whose holder does not get to
// run.
func ownLock(frames []Frame) bool {
	for _, f := range frames {
		if ownerOf(f) != ownerRuntime && !strings.HasPrefix(f.Func, "sync.") && !strings.HasPrefix(f.Func, "internal/sync.") {
			return strings.HasPrefix(f.Func, "tafe/loop/watchdog.(*watchedLoop).")
		}
	}
	return false
}

// garbage reports whether the innermost frames belong to the collector.
func garbage(frames []Frame) bool {
	for _, f := range frames {
		if ownerOf(f) != ownerRuntime {
			return false
		}
		name := strings.TrimPrefix(f.Func, "runtime.")
		for _, prefix := range []string{"gc", "(*gcWork)", "sweep", "(*mheap).reclaim", "deductSweepCredit", "bgscavenge", "GC"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return false
}

// judgeLibrary returns the verdict for a wait inside the standard library. For example, name
// resolution waits on a channel inside package net, but the cause is the network.
func judgeLibrary(frames []Frame) Verdict {
	for _, f := range frames {
		switch o := ownerOf(f); {
		case o >= ownerFramework:
			return ""
		case o == ownerRuntime:
			continue
		}
		pkg := packageOf(f.Func)
		switch {
		case pkg == "net" || strings.HasPrefix(pkg, "net/http") || strings.HasPrefix(pkg, "crypto/tls"):
			return Network
		case pkg == "os/exec" || strings.HasPrefix(f.Func, "os.(*Process)"):
			return Syscall
		case strings.HasPrefix(f.Func, "os.(*File)") || strings.HasPrefix(pkg, "io/fs"):
			return File
		}
	}
	return ""
}

func judgeIO(frames []Frame) Verdict {
	if v := judgeLibrary(frames); v != "" {
		return v
	}
	return Network
}
