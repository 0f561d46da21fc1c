// Stack capture of one goroutine. A goroutine profile stops the process for 15 us (0.3 ms with
// 10,000 goroutines) but has no goroutine ids. A dump has them but stops the process 40 times as
// long (BenchmarkCapture). So the capturer first searches a profile for the running task, and takes
// a dump only if that fails. It also limits the time that captures may stop the process. The caller
// (probe.go) checks before and after that the goroutine still runs the same slice.

package watchdog

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"tafe/loop"
)

const (
	// dumpGoroutinesMax is the largest number of goroutines for which a dump is taken.
	// A dump of 1,000 goroutines stops the process for 1.4 ms.
	dumpGoroutinesMax = 2000
	dumpBytesMax      = 16 << 20
	// Captures may stop the process for 1% of the time, beyond an initial allowance.
	captureShare     = 100
	captureAllowance = int64(300 * time.Millisecond) // 1% of half a minute
)

var (
	errNoStack       = errors.New("watchdog: goroutine not found in the stack dump")
	errCaptureBudget = errors.New("watchdog: no time left for stack captures")
	coroutineOf      = []byte("created by iter.Pull")
)

// stackSample is one captured stack.
type stackSample struct {
	state  string // the goroutine's state, as in a dump: "running", "sleep", "chan receive"…
	frames []Frame
	inner  bool // the innermost frames belong to a coroutine that the goroutine resumed
	// collects: the code called runtime.GC or debug.FreeOSMemory and waits for the collection.
	collects bool
	cost     int64 // ns
	// stopped is how long the capture stopped the process, ns.
	stopped int64
}

// capturer takes stacks. Only the sampler may use it.
type capturer struct {
	profile bytes.Buffer
	buf     []byte // for dumps
	credit  int64  // ns for which captures may still stop the process
	at      int64  // when credit last changed
}

// allow adds the credit earned since the last call and reports whether a capture may be taken now.
func (c *capturer) allow(now int64, first bool) bool {
	if c.at == 0 {
		c.credit = captureAllowance
	} else {
		c.credit = min(c.credit+(now-c.at)/captureShare, captureAllowance)
	}
	c.at = now
	if first {
		return c.credit > 0
	}
	return c.credit > captureAllowance/2
}

// target identifies the goroutine whose stack is wanted.
type target struct {
	gid      uint64 // of the task, or of the loop
	loop     int
	callback bool   // the goroutine runs a callback of the loop, not a task
	state    string // if known
}

// capture takes a stack of the target, or of the coroutine that the target resumed. first is true
// for the first capture of a slice; later ones leave half of the credit unused. p measures how long
// the process was stopped. The error is errCaptureBudget or errNoStack.
func (c *capturer) capture(t target, first bool, p *pauses) (s stackSample, err error) {
	if !c.allow(monotonic(), first) {
		return stackSample{}, errCaptureBudget
	}
	began := time.Now()
	// Only pauses of other causes than the collector are charged to the capture.
	p.read(monotonic())
	before := p.others
	defer func() {
		p.read(monotonic())
		s.stopped = p.others - before
		s.cost = int64(time.Since(began))
		c.credit -= s.stopped
	}()
	c.profile.Reset()
	if err = pprof.Lookup("goroutine").WriteTo(&c.profile, 1); err == nil {
		s, err = parseProfile(c.profile.Bytes(), t)
	}
	if n := runtime.NumGoroutine(); err != nil && n <= dumpGoroutinesMax {
		return parseDump(c.dump(n), t.gid)
	}
	return s, err
}

// dump returns the stacks of all goroutines, truncated at dumpBytesMax. n is the number of
// goroutines and sizes the first buffer.
func (c *capturer) dump(n int) []byte {
	if want := 64<<10 + n*2048; len(c.buf) < want {
		c.buf = make([]byte, want)
	}
	for {
		written := runtime.Stack(c.buf, true)
		if written < len(c.buf) || len(c.buf) >= dumpBytesMax {
			return c.buf[:written]
		}
		c.buf = make([]byte, 2*len(c.buf))
	}
}

// parseDump finds a goroutine in the output of runtime.Stack. If the goroutine is in a coroutine
// switch, the stack of the coroutine that runs on its behalf (iter.Pull) comes first, followed by
// its own.
func parseDump(dump []byte, gid uint64) (stackSample, error) {
	section := findSection(dump, gid)
	if section == nil {
		return stackSample{}, errNoStack
	}
	s := parseSection(section)
	if s.state != "coroutine" {
		return s, nil
	}
	if inner := runningCoroutine(dump, gid, 0); inner != nil {
		own := s.frames
		s = parseSection(inner)
		s.inner = true
		s.frames = append(s.frames, own...)
	}
	return s, nil
}

func findSection(dump []byte, gid uint64) []byte {
	head := []byte("goroutine " + strconv.FormatUint(gid, 10) + " [")
	at := 0
	if !bytes.HasPrefix(dump, head) {
		at = bytes.Index(dump, append([]byte("\n\n"), head...))
		if at < 0 {
			return nil
		}
		at += 2
	}
	section, _, _ := bytes.Cut(dump[at:], []byte("\n\n"))
	return section
}

// runningCoroutine finds the coroutine that is not suspended among those created by goroutine gid
// and, recursively, by its coroutines. There is at most one.
func runningCoroutine(dump []byte, gid uint64, depth int) []byte {
	if depth > 8 {
		return nil
	}
	suffix := []byte(" in goroutine " + strconv.FormatUint(gid, 10) + "\n")
	for rest := dump; ; {
		i := bytes.Index(rest, coroutineOf)
		if i < 0 {
			return nil
		}
		line, _, _ := bytes.Cut(rest[i:], []byte("\n"))
		if bytes.HasSuffix(append(line[:len(line):len(line)], '\n'), suffix) {
			from := max(bytes.LastIndex(rest[:i], []byte("\n\n"))+2, 0)
			section, _, _ := bytes.Cut(rest[from:], []byte("\n\n"))
			if !bytes.Contains(section[:bytes.IndexByte(section, '\n')], []byte("[coroutine")) {
				return section
			}
			var id uint64
			if _, err := fmt.Sscanf(string(section[:min(len(section), 40)]), "goroutine %d ", &id); err == nil {
				if inner := runningCoroutine(dump, id, depth+1); inner != nil {
					return inner
				}
			}
		}
		rest = rest[i+len(coroutineOf):]
	}
}

// parseSection parses one goroutine of a dump: the state in the first line, then two lines per
// frame (function, position), innermost first.
func parseSection(section []byte) (s stackSample) {
	lines := strings.Split(string(section), "\n")
	if _, state, ok := strings.Cut(lines[0], "["); ok {
		state, _, _ = strings.Cut(state, "]")
		state, _, _ = strings.Cut(state, ",") // ", 2 minutes", ", locked to thread"
		s.state = strings.TrimSuffix(state, " (scan)")
	}
	for i := 1; i+1 < len(lines); i += 2 {
		name := lines[i]
		if strings.HasPrefix(name, "created by ") || strings.HasPrefix(name, "...") {
			break
		}
		if strings.HasSuffix(name, ")") {
			name = name[:openingBracket(name)]
		}
		place, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
		colon := strings.LastIndexByte(place, ':')
		if colon < 0 {
			break
		}
		line, _ := strconv.Atoi(place[colon+1:])
		s.frames = append(s.frames, Frame{Func: name, File: place[:colon], Line: line})
	}
	s.cutCollection(s.frames)
	return s
}

// openingBracket returns the index of the parenthesis that opens the argument list at the end of
// name.
func openingBracket(name string) int {
	depth := 0
	for i := len(name) - 1; i >= 0; i-- {
		switch name[i] {
		case ')':
			depth++
		case '(':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(name)
}

// parseProfile finds the target in the text of a goroutine profile with labels: the task of the
// loop that is not suspended or, if that task resumed a coroutine, the only running coroutine of
// the loop. It returns errNoStack if several goroutines qualify and their stacks differ.
func parseProfile(profile []byte, t target) (stackSample, error) {
	label := strconv.Quote(loop.LoopLabel) + ":" + strconv.Quote(strconv.Itoa(t.loop))
	var own, inner []stackSample
	for record := range strings.SplitSeq(string(profile), "\n\n") {
		if !strings.Contains(record, label) {
			continue
		}
		_, at, ok := strings.Cut(record, " @ ")
		if !ok {
			continue
		}
		at, _, _ = strings.Cut(at, "\n")
		frames := resolve(at)
		state, visible := stateOf(frames)
		s := stackSample{state: state, frames: visible}
		s.cutCollection(frames)
		switch kind := kindOf(frames); {
		case t.callback && kind == kindLoop, !t.callback && kind == kindTask:
			own = append(own, s)
		case kind == kindCoroutine && state != stateCoroutine:
			s.inner = true
			inner = append(inner, s)
		}
	}
	s, ok := onlyOne(own, t)
	if !ok {
		return stackSample{}, errNoStack // none, or several that cannot be told apart
	}
	switch {
	case s.state != stateCoroutine:
		switch t.state {
		case loop.StateUnknown, loop.StateWaiting, stateCoroutine: // the frames say more
		default:
			s.state = t.state
		}
		return s, nil
	case len(inner) != 1:
		return stackSample{}, errNoStack
	}
	inner[0].frames = append(inner[0].frames, s.frames...)
	return inner[0], nil
}

// cutCollection sets collects if the code called for a garbage collection, and makes that call the
// innermost frame. frames is the whole stack.
func (s *stackSample) cutCollection(frames []Frame) {
	for i, f := range frames {
		switch {
		case f.Func == "runtime.GC", f.Func == "runtime/debug.freeOSMemory", f.Func == "runtime/debug.FreeOSMemory":
			s.collects, s.frames = true, frames[i:]
			return
		case ownerOf(f) != ownerRuntime && !strings.HasPrefix(f.Func, "sync."):
			return
		}
	}
}

// onlyOne returns the only stack that can be the target's. The loop may have other candidates: its
// released tasks, and goroutines that wait for them. Their states tell them apart.
func onlyOne(all []stackSample, t target) (stackSample, bool) {
	if len(all) == 1 {
		return all[0], true
	}
	var fitting []stackSample
	for _, s := range all {
		switch {
		case t.callback && s.state == stateCoroutine && t.state != stateCoroutine: // drives released code
		case t.state == loop.StateUnknown || t.state == loop.StateWaiting, s.state == t.state, onCPU(s.state) && onCPU(t.state):
			fitting = append(fitting, s)
		}
	}
	if len(fitting) != 1 {
		return stackSample{}, false
	}
	return fitting[0], true
}

func onCPU(state string) bool { return state == loop.StateRunning || state == loop.StateRunnable }

type stackKind uint8

const (
	kindOther     stackKind = iota
	kindTask                // of a task in its slice
	kindCoroutine           // of a coroutine that a handler created
	kindLoop                // of a loop in a callback
)

func kindOf(frames []Frame) stackKind {
	kind := kindOther
	for _, f := range frames {
		switch f.Func {
		case "tafe/loop.(*Task).suspend":
			return kindOther // parked
		case "tafe/loop.(*Loop).comeBack":
			return kindOther // released
		case "tafe/loop.(*Task).run": // an idle task does not have this frame
			return kindTask
		case "runtime.corostart":
			kind = kindCoroutine
		case "tafe/loop/reactor.(*Reactor).event", "tafe/loop.LoopControl.Turn", "tafe/loop.LoopControl.Adopt":
			kind = kindLoop
		}
	}
	return kind
}

func resolve(addresses string) (frames []Frame) {
	var pcs []uintptr
	for field := range strings.FieldsSeq(addresses) {
		pc, err := strconv.ParseUint(strings.TrimPrefix(field, "0x"), 16, 64)
		if err != nil {
			break
		}
		pcs = append(pcs, uintptr(pc))
	}
	if len(pcs) == 0 {
		return nil
	}
	for it := runtime.CallersFrames(pcs); ; {
		f, more := it.Next()
		if f.Function != "" {
			frames = append(frames, Frame{Func: f.Function, File: f.File, Line: f.Line})
		}
		if !more {
			return frames
		}
	}
}

// waits maps functions in which a goroutine gives up its thread to the state that a dump shows for
// them.
var waits = []struct{ prefix, state string }{
	{"runtime.coroswitch", "coroutine"},
	{"time.Sleep", "sleep"},
	{"runtime.timeSleep", "sleep"},
	{"sync.runtime_SemacquireMutex", "sync.Mutex.Lock"},
	{"internal/sync.runtime_SemacquireMutex", "sync.Mutex.Lock"},
	{"sync.runtime_SemacquireRWMutex", "sync.RWMutex.Lock"},
	{"sync.runtime_SemacquireWaitGroup", "sync.WaitGroup.Wait"},
	{"sync.runtime_notifyListWait", "sync.Cond.Wait"},
	{"sync.runtime_Semacquire", "semacquire"},
	{"runtime.gcParkAssist", "GC assist wait"},
	{"runtime.gcAssistAlloc", "GC assist marking"},
	{"runtime.semacquire", "semacquire"},
	{"runtime.chanrecv", "chan receive"},
	{"runtime.chansend", "chan send"},
	{"runtime.selectgo", "select"},
	{"runtime.block", "select (no cases)"},
	{"internal/poll.runtime_pollWait", stateIO},
	{"runtime.netpollblock", stateIO},
	{"runtime.cgocall", "syscall"},
	{"syscall.", "syscall"},
	{"internal/runtime/syscall.", "syscall"},
}

// stateOf derives the state of a goroutine from its innermost frames. It also returns the frames
// without the runtime's frames above the first frame of other code.
func stateOf(frames []Frame) (string, []Frame) {
	state := "running"
	for i, f := range frames {
		for _, w := range waits {
			if strings.HasPrefix(f.Func, w.prefix) {
				return w.state, frames[min(leafAt(frames), i):]
			}
		}
		if ownerOf(f) != ownerRuntime {
			break
		}
	}
	return state, frames[leafAt(frames):]
}

func leafAt(frames []Frame) int {
	for i, f := range frames {
		if ownerOf(f) != ownerRuntime {
			return i
		}
	}
	return 0
}
