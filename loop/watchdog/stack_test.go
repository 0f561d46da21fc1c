package watchdog

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

func dumpFile(t *testing.T) []byte {
	dump, err := os.ReadFile("testdata/dump.txt")
	require.NoError(t, err)
	return dump
}

func TestParseDump(t *testing.T) {
	for _, c := range []struct {
		gid     uint64
		state   string
		leaf    string
		frames  int
		inner   bool
		verdict Verdict
		why     string
	}{
		{21, "sleep", "time.Sleep (time.go:363)", 3, false, Sleep, "a plain wait"},
		{22, "chan receive", "main.(*shop[...]).wait (shop.go:17)", 2, false, Channel, "minutes and a lock in the header; type arguments in the name"},
		{23, "running", "main.work (work.go:9)", 4, true, Spin, "a coroutine of a coroutine computes: its stack, then the task's"},
		{26, "coroutine", "iter.Pull[...].func1.1 (iter.go:306)", 2, false, Syscall, "all its coroutines are suspended"},
		{27, "IO wait", "poll.runtime_pollWait (netpoll.go:351)", 5, false, Network, "a socket"},
		{28, "IO wait", "poll.runtime_pollWait (netpoll.go:351)", 5, false, File, "a pipe is an os.File"},
		{29, "select", "net.(*Resolver).lookupIPAddr (lookup.go:343)", 3, false, Network, "name resolution in another goroutine"},
		{30, "syscall", "syscall.Syscall (syscall_linux.go:74)", 6, false, File, "fsync"},
		{31, "syscall", "main._Cfunc_usleep (_cgo_gotypes.go:51)", 2, false, Cgo, "C"},
		{32, "sync.Mutex.Lock", "sync.runtime_SemacquireMutex (sema.go:95)", 3, false, Lock, "a mutex"},
		{33, "chan receive", "exec.(*Cmd).awaitGoroutines (exec.go:971)", 3, false, Syscall, "a child's output"},
	} {
		s, err := parseDump(dumpFile(t), c.gid)
		require.NoError(t, err, c.why)
		require.Equal(t, c.state, s.state, c.why)
		require.Len(t, s.frames, c.frames, "%s: %v", c.why, s.frames)
		require.Equal(t, c.leaf, s.frames[0].String(), c.why)
		require.Equal(t, c.inner, s.inner, c.why)
		require.Equal(t, c.verdict, judge(s, true, 0), c.why)
	}
	_, err := parseDump(dumpFile(t), 2)
	require.ErrorIs(t, err, errNoStack, "goroutine 2 is not 21")
	_, err = parseDump(nil, 21)
	require.ErrorIs(t, err, errNoStack)
}

func TestRunnableWithoutThreadIsStarved(t *testing.T) {
	s := stackSample{state: "runnable", frames: []Frame{{"main.work", "work.go", 9}}}
	require.Equal(t, Starved, judge(s, false, 0))
	require.Equal(t, Spin, judge(s, true, 0), "a dump shows running goroutines as runnable")
}

// A loop that waits for the watchdog's lock is held by the watchdog.
func TestTheWatchdogsOwnLock(t *testing.T) {
	wait := []Frame{{"sync.runtime_SemacquireMutex", "sema.go", 95}, {"sync.(*Mutex).Lock", "mutex.go", 46}}
	own := append(slices.Clone(wait), Frame{"tafe/loop/watchdog.(*watchedLoop).Released", "release.go", 44}, Frame{"main.work", "work.go", 9})
	require.Equal(t, WatchdogLate, judge(stackSample{state: "sync.Mutex.Lock", frames: own}, true, 0))
	handler := append(wait, Frame{"main.work", "work.go", 9}, Frame{"tafe/loop/watchdog.(*watchedLoop).Released", "release.go", 44})
	require.Equal(t, Lock, judge(stackSample{state: "sync.Mutex.Lock", frames: handler}, true, 0))
}

// The goroutine of a released task that returns to its loop does not run on the loop.
func TestKindOfStack(t *testing.T) {
	event := Frame{"tafe/loop/reactor.(*Reactor).event", "reactor.go", 172}
	require.Equal(t, kindLoop, kindOf([]Frame{event}))
	require.Equal(t, kindOther, kindOf([]Frame{{"tafe/loop/watchdog.(*watchedLoop).Returned", "release.go", 69}, {"tafe/loop.(*Loop).comeBack", "region.go", 1}, event}))
}

// stillDriver is a loop.Driver whose clock the test moves.
type stillDriver struct{ now int64 }

func (d *stillDriver) Now() int64   { d.now++; return d.now }
func (d *stillDriver) Wake()        {}
func (d *stillDriver) WakeAt(int64) {}
func (d *stillDriver) Flush()       {}

// slowRunner is a task that runs for a second, of which the end is user code.
type slowRunner struct{ d *stillDriver }

func (r slowRunner) Run(t *loop.Task)       { r.d.now += int64(time.Second); t.Outside(func() {}) }
func (r slowRunner) Done(*loop.Task, error) {}

// A turn begins with Turn after a wake, and with Adopt on the goroutine that takes the loop over. A callback
// is found below both.
func TestKindOfCallbackStack(t *testing.T) {
	d := &stillDriver{now: 1}
	l := loop.New(0, d, loop.Limits{}, slog.New(slog.DiscardHandler))
	kinds := map[string]stackKind{}
	callback := func(name string) {
		pcs := make([]uintptr, 64)
		var at strings.Builder
		for _, pc := range pcs[:runtime.Callers(1, pcs)] {
			fmt.Fprintf(&at, "%#x ", pc)
		}
		kinds[name] = kindOf(resolve(at.String()))
	}
	turn, adopt := l.Drive().Turn, l.Drive().Adopt // as the reactor passes them
	l.Drive().ForceHandoff(func(*loop.Task) bool { return true })
	timer := loop.Timer{}
	require.True(t, l.Post(func() {
		callback("a posted function in Turn")
		l.AfterFunc(&timer, time.Millisecond, func(*loop.Timer) { callback("a timer in Adopt") })
		_, err := l.Start(slowRunner{d})
		require.NoError(t, err)
	}))
	require.False(t, turn(), "the loop was taken")
	for !adopt() {
	}
	for l.Drive().RunReleased() {
		turn()
	}
	require.Equal(t, map[string]stackKind{"a posted function in Turn": kindLoop, "a timer in Adopt": kindLoop}, kinds)
	l.Drive().BeginTurn()
	l.Drive().Shutdown()
	l.Drive().Close()
	l.Drive().EndTurn()
}

func TestOwners(t *testing.T) {
	server := modules{main: "tafe", deps: []string{"golang.org/x/sys", "example.org/x", "plain"}}
	shop := modules{main: "example.org/shop", deps: []string{"tafe", "example.org/shopping"}}
	unknown := modules{}
	for _, c := range []struct {
		m    modules
		name string
		want owner
		why  string
	}{
		{server, "runtime.gopark", ownerRuntime, "the runtime"},
		{server, "internal/runtime/syscall.Syscall6", ownerRuntime, "its inner part"},
		{server, "iter.Pull[...].func1", ownerRuntime, "coroutines"},
		{server, "encoding/json.Marshal", ownerLibrary, "the standard library"},
		{server, "tafe/loop.(*Task).run", ownerFramework, "below every handler"},
		{server, "tafe/loop/reactor.(*Reactor).event", ownerFramework, "below every callback"},
		{server, "tafe/app.(*exchange).Run", ownerFramework, "below every handler"},
		{server, "tafe/app/proxy.(*Proxy).serve", ownerHandler, "a handler of the server's own"},
		{server, "main.main", ownerHandler, "the program"},
		{server, "main._Cfunc_usleep", ownerLibrary, "a stub that cgo made"},
		{server, "golang.org/x/sys/unix.ppoll", ownerLibrary, "as good as the standard library"},
		{server, "github.com/panjf2000/gnet/v2.(*conn).Write", ownerFramework, "below the loop"},
		{server, "example.org/x/y.(*T).M", ownerModule, "a dependency"},
		{server, "plain/z.F", ownerModule, "one without a dot in its path"},
		{server, "gopkg.in/yaml%2ev3.Unmarshal", ownerModule, "one that the build does not list"},
		{shop, "example.org/shop/cart.Total", ownerHandler, "an author's own module"},
		{shop, "example.org/shopping.F", ownerModule, "whose path only begins alike"},
		{shop, "tafe/app/proxy.(*Proxy).serve", ownerModule, "the server is a dependency there"},
		{shop, "tafe/loop.(*Task).run", ownerFramework, "and its loop is below every handler"},
		{unknown, "example.org/shop/cart.Total", ownerHandler, "the main module is not known"},
	} {
		require.Equal(t, c.want, c.m.ownerOf(Frame{Func: c.name}), "%s: %s", c.name, c.why)
	}
}

// The culprit is the innermost code that the reader of the report can change.
func TestCulpritIsTheProgramsOwnCode(t *testing.T) {
	for _, c := range []struct {
		frames []string
		want   string
		why    string
	}{
		{[]string{"syscall.Syscall6", "golang.org/x/sys/unix.ppoll", "golang.org/x/sys/unix.Poll", "main.holdSyscall", "main.hog"}, "main.holdSyscall", "below it the door to the kernel"},
		{[]string{"runtime.cgocall", "main._Cfunc_usleep", "main.nap"}, "main.nap", "not the code that cgo generated below it"},
		{[]string{"runtime.chanrecv", "example.org/pool.(*Pool).Get", "main.load"}, "main.load", "below it a module it uses"},
		{[]string{"runtime.mallocgc", "encoding/json.Marshal", "example.org/pool.encode", "tafe/app.(*exchange).Run"}, "example.org/pool.encode", "a module is the handler"},
		{[]string{"runtime.memmove", "bytes.Clone", "tafe/app.(*exchange).Run"}, "bytes.Clone", "no code but the library's"},
		{[]string{"runtime.memmove", "tafe/app.(*exchange).Run"}, "tafe/app.(*exchange).Run", "nor that"},
		{[]string{"runtime.memmove"}, "runtime.memmove", "nothing else"},
	} {
		var frames []Frame
		for _, name := range c.frames {
			frames = append(frames, Frame{Func: name})
		}
		require.Equal(t, c.want, culprit(frames).Func, c.why)
	}
}

func TestKeysFollowThePlaceInTheCode(t *testing.T) {
	stack := func(leaf string, line int) []Frame {
		return []Frame{{leaf, "x.go", 3}, {"encoding/json.Marshal", "encode.go", 9}, {"main.render", "render.go", line}, {"main.handle", "main.go", 80}}
	}
	key := stackKey(File, stack("reflect.Value.Len", 12))
	require.Equal(t, key, stackKey(File, stack("strconv.AppendInt", 12)), "the leaf below moves")
	require.NotEqual(t, key, stackKey(File, stack("reflect.Value.Len", 13)), "another line of the handler")
	require.NotEqual(t, key, stackKey(Sleep, stack("reflect.Value.Len", 12)), "another reason")
	require.Equal(t, stackKey(Spin, stack("a.b", 12)), stackKey(Spin, stack("a.b", 13)), "the line of computing code varies")
	require.Equal(t, "main.render (render.go:12)", culprit(stack("reflect.Value.Len", 12)).String())
	require.Equal(t, "main.handle;main.render;json.Marshal;reflect.Value.Len", Folded(stack("reflect.Value.Len", 12)))
}

func TestTreeMergesFromTheRoot(t *testing.T) {
	var tree Tree
	for _, leaf := range []string{"a.x", "a.y", "a.x"} {
		tree.add([]Frame{{leaf, "a.go", 1}, {"main.f", "f.go", 2}, {"main.g", "g.go", 3}})
	}
	want := "3 main.g (g.go:3) > main.f (f.go:2)\n  2 a.x (a.go:1)\n  1 a.y (a.go:1)"
	require.Equal(t, want, tree.String())
	published := tree.clone()
	tree.add([]Frame{{"a.x", "a.go", 1}, {"main.f", "f.go", 2}, {"main.g", "g.go", 3}})
	require.Equal(t, want, published.String(), "a published tree does not change")
}

func FuzzParseDump(f *testing.F) {
	dump, err := os.ReadFile("testdata/dump.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(dump, uint64(23))
	f.Fuzz(func(t *testing.T, dump []byte, gid uint64) {
		s, err := parseDump(dump, gid)
		if err == nil {
			judge(s, true, 0)
			culprit(trim(s.frames))
		}
		if s, err = parseProfile(dump, target{}); err == nil {
			judge(s, true, 0)
		}
	})
}
