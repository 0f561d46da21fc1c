package watchdog

// Why a slice took so long: one word, from a goroutine's state and its stack.
// How much of the time is the code's own is evidence.go's question.

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Verdict is why a slice overran.
type Verdict string

// The verdicts. The last three lie outside the code that ran: they are counted
// and never blamed on a route.
const (
	Spin         Verdict = "spin"          // it computed
	Sleep        Verdict = "sleep"         // time.Sleep and its like
	Lock         Verdict = "lock"          // a mutex, a condition, a wait group
	Channel      Verdict = "channel"       // a channel operation or a select
	Network      Verdict = "network"       // a socket, name resolution
	File         Verdict = "file"          // a file or a pipe
	Syscall      Verdict = "syscall"       // another system call; a child process
	Cgo          Verdict = "cgo"           // C code
	Unknown      Verdict = "unknown"       // it was over before it could be looked at
	GC           Verdict = "gc"            // the garbage collector
	Starved      Verdict = "cpu-starved"   // the kernel or the scheduler did not let it run
	WatchdogLate Verdict = "watchdog-late" // the watchdog did not run either: the process was stopped
)

// Verdicts lists them all, for counters.
var Verdicts = []Verdict{Spin, Sleep, Lock, Channel, Network, File, Syscall, Cgo, Unknown, GC, Starved, WatchdogLate}

// Blames tells whether a verdict is a route's fault: proven, so that what nobody
// looked at in time counts for nobody.
func (v Verdict) Blames() bool { return v != GC && v != Starved && v != WatchdogLate && v != Unknown }

// advice is what the verdict suggests to who wrote the code. Where the loop was
// handed over, the others waited for the held part alone; what is left to gain is
// that part, and the goroutine that the code kept.
func (v Verdict) advice(asked uint64, released bool) string {
	switch v {
	case Spin:
		switch {
		case released:
			return "computed beside its loop after a handoff: others waited for the held time only; YieldIfDue in its loops, or a Blocking route, saves them that too"
		case asked == 0:
			return "computes and never offers the loop: call YieldIfDue inside its loops, or Offload"
		}
		return fmt.Sprintf("asked YieldIfDue %d times, and then computed past the budget: ask more often", asked)
	case Sleep:
		return pick(released, "slept on a goroutine beside its loop after a handoff: Task.Sleep needs neither", "sleeps the thread: Task.Sleep gives the loop back")
	case Lock:
		return pick(released, "waited for a lock beside its loop: others waited for the held time only, but each request that waits keeps a goroutine; shorten what is done under the lock",
			"waits for a lock that another goroutine holds: shorten what is done under it, or Offload")
	case Channel:
		return pick(released, "waited for a channel beside its loop after a handoff: Park with Waker.Post waits without one", "waits for a channel on the loop: use Park with Waker.Post, or Offload")
	case Network:
		return pick(released, "waited for a socket beside its loop after a handoff: the loop's Dialer waits without one", "waits for a socket on the loop: dial with the loop's Dialer, or Offload")
	case File:
		return pick(released, "used a file beside its loop after a handoff: a Blocking route saves others the held time", "reads or writes a file on the loop: Offload")
	case Syscall:
		return pick(released, "blocked in a system call beside its loop after a handoff: a Blocking route saves others the held time", "blocks in a system call: Offload")
	case Cgo:
		return pick(released, "ran C code beside its loop after a handoff: a Blocking route saves others the held time", "runs C code on the loop: Offload")
	}
	return ""
}

// waitsIn are places in libraries that often hold loops, with what helps there. The first match counts.
var waitsIn = []struct{ in, advice string }{
	{"runtime.GC", "asks for a whole garbage collection: leave it to the runtime (GOGC, GOMEMLIMIT)"},
	{"runtime/debug.FreeOSMemory", "asks for a whole garbage collection: leave it to the runtime (GOGC, GOMEMLIMIT)"},
	{"net/http.(*persistConn).", "waits for the answer in net/http: app/client asks from the loop and gives it back meanwhile"},
	{"net/http.(*Transport).", "waits for a connection in net/http: app/client asks from the loop and gives it back meanwhile"},
	{"net/http.(*http2", "waits for the answer in net/http: app/client asks from the loop and gives it back meanwhile"},
	{"github.com/jackc/puddle", "waits for a connection of pgxpool: raise MaxConns to the requests that are in flight, or bound these with loop.Semaphore"},
	{"github.com/jackc/pgx/v5/pgxpool.(*Pool).Acquire", "waits for a connection of pgxpool: raise MaxConns to the requests that are in flight, or bound these with loop.Semaphore"},
	{"/internal/pool.(*ConnPool).", "waits for a connection of go-redis: raise PoolSize to the requests that are in flight, or bound these with loop.Semaphore"},
	{"database/sql.(*DB).", "waits for a connection of database/sql: raise SetMaxOpenConns to the requests that are in flight, or bound these with loop.Semaphore"},
}

// advice is what the place in the code suggests, or else the verdict. A library counts where the code waits.
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
			return "waits for a lock inside " + packageOf(f.Func) + ", which its calls share: use more of its clients, or Offload"
		}
	}
	return o.Verdict.advice(o.Asked, o.Released)
}

// moduleCulprit is the innermost frame of a module that the program uses, where no code of the program is further in.
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

// judge reads one look's stack. onThread: an OS thread was running the
// goroutine just before. tid is that thread, or 0.
func judge(s stackSample, onThread bool, tid int) Verdict {
	if s.collects {
		return Spin // a collection that the code asked for is its own work
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
	case s.state == "IO wait":
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

// ownLock: a loop waits for the watchdog, which does not get to run.
func ownLock(frames []Frame) bool {
	for _, f := range frames {
		if ownerOf(f) != ownerRuntime && !strings.HasPrefix(f.Func, "sync.") && !strings.HasPrefix(f.Func, "internal/sync.") {
			return strings.HasPrefix(f.Func, "tafe/loop/watchdog.(*watchedLoop).")
		}
	}
	return false
}

// garbage: the innermost frames belong to the collector.
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

// systemCall: the frame stands at the door to the kernel or to C.
func systemCall(f Frame) bool {
	switch packageOf(f.Func) {
	case "syscall", "internal/runtime/syscall", "internal/runtime/syscall/linux", "golang.org/x/sys/unix", "internal/poll", "os":
		return true
	}
	return f.Func == "runtime.cgocall" || strings.Contains(f.Func, "._Cfunc_")
}

// judgeLibrary sees through the standard library: who waits for a name or an
// answer there waits on a channel inside, and means the network.
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

// judgeSyscall tells apart what the thread is inside the kernel for: by the
// library above it, or else by the descriptor it was given.
func judgeSyscall(frames []Frame, tid int) Verdict {
	for _, f := range frames {
		if strings.HasPrefix(f.Func, "runtime.cgocall") || strings.Contains(f.Func, "._Cfunc_") {
			return Cgo
		}
		if f.Func == "syscall.Nanosleep" || strings.HasSuffix(f.Func, "/unix.Nanosleep") || strings.HasSuffix(f.Func, "/unix.ClockNanosleep") {
			return Sleep
		}
	}
	if v := judgeLibrary(frames); v != "" {
		return v
	}
	for _, f := range frames {
		if ownerOf(f) >= ownerModule {
			break
		}
		if fileCall(f.Func) {
			return File
		}
	}
	return judgeDescriptor(tid)
}

// fileCall: a function of package syscall or unix that only files have, or one
// of package os.
func fileCall(name string) bool {
	if strings.HasPrefix(name, "os.") {
		return true
	}
	pkg, call, ok := strings.Cut(shortFunc(name), ".")
	if !ok || pkg != "syscall" && pkg != "unix" {
		return false
	}
	switch call {
	case "Open", "Openat", "Fsync", "Fdatasync", "Sync", "Syncfs", "Pread", "Pwrite", "Stat", "Lstat", "Fstat", "Fstatat", "Getdents",
		"ReadDirent", "Rename", "Renameat", "Unlink", "Unlinkat", "Mkdir", "Truncate", "Ftruncate", "Fallocate", "Flock", "Statfs", "Readlink":
		return true
	}
	return false
}

// judgeDescriptor asks the kernel which call the thread is in and what its
// first argument, as a descriptor, is.
func judgeDescriptor(tid int) Verdict {
	if tid == 0 {
		return Syscall
	}
	call, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(tid) + "/syscall")
	if err != nil {
		return Syscall
	}
	fields := strings.Fields(string(call))
	if len(fields) < 2 || !descriptorCalls[fields[0]] {
		return Syscall
	}
	fd, err := strconv.ParseUint(strings.TrimPrefix(fields[1], "0x"), 16, 31)
	if err != nil {
		return Syscall
	}
	target, err := os.Readlink("/proc/self/fd/" + strconv.FormatUint(fd, 10))
	switch {
	case err != nil:
		return Syscall
	case strings.HasPrefix(target, "socket:"):
		return Network
	case strings.HasPrefix(target, "pipe:"), strings.HasPrefix(target, "/"):
		return File
	}
	return Syscall
}
