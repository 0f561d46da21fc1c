package watchdog

// The stack of one goroutine that is not ours. Go gives out stacks in two ways:
// a goroutine profile, which stops the process for 15 us and for 0.3 ms at
// 10,000 goroutines, but does not say which goroutine is which; and a dump, which
// does, and stops it 40 times as long (BenchmarkCapture). So the profile is
// searched for the task that runs, and a dump is the last resort. This file also
// keeps the account of what that cost, and refuses when it would be too much. It
// knows nothing of slices: its caller asks before and after whether the goroutine
// is still at the same thing.

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
	// dumpGoroutinesMax is up to how many goroutines are dumped: 1.4 ms at 1,000,
	// and all of it stops the loops.
	dumpGoroutinesMax = 2000
	dumpBytesMax      = 16 << 20
	// Captures may stop the process for 1% of the time, after a first allowance.
	captureShare     = 100
	captureAllowance = int64(300 * time.Millisecond) // 1% of half a minute
)

var (
	errNoStack  = errors.New("watchdog: the goroutine is not in the dump")
	errTooDear  = errors.New("watchdog: captures have used up their share of the time")
	coroutineOf = []byte("created by iter.Pull")
)

// shot is one captured stack.
type shot struct {
	state  string // the goroutine's state, as in a dump: "running", "sleep", "chan receive"…
	frames []Frame
	inner  bool // it is a coroutine that the goroutine drives
	// collects: it has called runtime.GC or the like, and waits for the whole collection.
	collects bool
	cost     int64 // ns
	// stopped is for how long the process stood still for it, ns.
	stopped int64
}

// camera takes stacks. For the sampler's thread alone.
type camera struct {
	profile bytes.Buffer
	buf     []byte // for dumps
	credit  int64  // ns that captures may still cost
	at      int64  // clock of the last change of credit
}

// allow adds what passed since the last time to the credit and tells whether
// a capture may be taken now.
func (c *camera) allow(now int64, first bool) bool {
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

// target is the goroutine that a stack is wanted of.
type target struct {
	gid     uint64 // of the task, or of the loop
	loop    int
	outside bool   // the loop's own, not a task's
	state   string // if it is known
}

// take takes a stack of the target, or of the coroutine that it drives. first
// tells that nothing is known yet: later ones leave half of the credit for those.
// account reads what the process was really stopped for.
func (c *camera) take(t target, first bool, account *pauses) (s shot, err error) {
	if !c.allow(monotonic(), first) {
		return shot{}, errTooDear
	}
	began := time.Now()
	// The collector's pauses meanwhile are not the camera's doing.
	account.read(monotonic())
	before := account.others
	defer func() {
		account.read(monotonic())
		s.stopped = account.others - before
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

// dump writes all stacks, into a buffer that has room for n of usual size and
// grows when it did not.
func (c *camera) dump(n int) []byte {
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

// parseDump finds a goroutine in the text of runtime.Stack. If it waits in a
// coroutine switch, somewhere below it runs a coroutine of its own (iter.Pull):
// then that one's stack comes first and its own follows.
func parseDump(dump []byte, gid uint64) (shot, error) {
	section := findSection(dump, gid)
	if section == nil {
		return shot{}, errNoStack
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

// runningCoroutine finds, among the coroutines that the goroutine gid created
// and those that they created, the one that is not suspended. At most one is.
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

// parseSection reads one goroutine of a dump: its state from the first line,
// then pairs of lines, function and place, innermost first.
func parseSection(section []byte) (s shot) {
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

// openingBracket is where the arguments begin that end a function's line.
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

// parseProfile finds the target in the text of a goroutine profile with labels:
// the task of its loop that is not suspended, or, if that drives a coroutine, the
// one coroutine of the loop's that runs. Where several can be meant, and their
// stacks differ, it finds none.
func parseProfile(profile []byte, t target) (shot, error) {
	label := strconv.Quote(loop.LoopLabel) + ":" + strconv.Quote(strconv.Itoa(t.loop))
	var own, inner []shot
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
		s := shot{state: state, frames: visible}
		s.cutCollection(frames)
		switch kind := kindOf(frames); {
		case t.outside && kind == kindLoop, !t.outside && kind == kindTask:
			own = append(own, s)
		case kind == kindCoroutine && state != stateCoroutine:
			s.inner = true
			inner = append(inner, s)
		}
	}
	s, ok := onlyOne(own, t)
	if !ok {
		return shot{}, errNoStack // none, or who knows which
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
		return shot{}, errNoStack
	}
	inner[0].frames = append(inner[0].frames, s.frames...)
	return inner[0], nil
}

// cutCollection looks whether the code has asked for a collection, given all frames of the stack. That call is the innermost frame
// then.
func (s *shot) cutCollection(frames []Frame) {
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

// onlyOne is the one of several stacks that can be the target's. Beside the loop
// there may be tasks of it that were released, and goroutines that wait for those:
// they are told apart by what they do.
func onlyOne(all []shot, t target) (shot, bool) {
	if len(all) == 1 {
		return all[0], true
	}
	var fitting []shot
	for _, s := range all {
		switch {
		case t.outside && s.state == stateCoroutine && t.state != stateCoroutine: // drives released code
		case t.state == loop.StateUnknown || t.state == loop.StateWaiting, s.state == t.state, onCPU(s.state) && onCPU(t.state):
			fitting = append(fitting, s)
		}
	}
	if len(fitting) != 1 {
		return shot{}, false
	}
	return fitting[0], true
}

func onCPU(state string) bool { return state == loop.StateRunning || state == loop.StateRunnable }

type stackKind uint8

const (
	kindOther     stackKind = iota
	kindTask                // of a task in its slice
	kindCoroutine           // of a coroutine that a handler made
	kindLoop                // of a loop in a callback
)

func kindOf(frames []Frame) stackKind {
	kind := kindOther
	for _, f := range frames {
		switch f.Func {
		case "tafe/loop.(*Task).suspend":
			return kindOther // parked
		case "tafe/loop.(*Loop).comeBack":
			return kindOther // no longer the loop's
		case "tafe/loop.(*Task).run": // not in the frames of an idle one
			return kindTask
		case "runtime.corostart":
			kind = kindCoroutine
		case "tafe/loop/reactor.(*Reactor).event", "tafe/loop.(*Loop).Turn", "tafe/loop.(*Loop).Adopt":
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

// waits are the functions in which a goroutine gives up its thread, with what a
// dump calls that.
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
	{"internal/poll.runtime_pollWait", "IO wait"},
	{"runtime.netpollblock", "IO wait"},
	{"runtime.cgocall", "syscall"},
	{"syscall.", "syscall"},
	{"internal/runtime/syscall.", "syscall"},
}

// stateOf reads a goroutine's state off its innermost frames, and takes the
// runtime's frames away from above the first one of other code.
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
