// NoBlocking: a test fails when the goroutine of a task blocks. A trace of the Go runtime has every time that a goroutine stops.

package looptest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	runtimetrace "runtime/trace"
	"slices"
	"strings"
	"testing"

	"golang.org/x/exp/trace"

	"tafe/loop"
)

// BlockingFile lists the known places where tasks block, in the folder of the test's package. Run the tests with LOOPTEST_BASELINE=update to
// write it.
const BlockingFile = "testdata/blocking.baseline"

// NoBlocking fails t if the goroutine of a task blocks before t ends, however shortly: a sleep, a channel, a contended lock, a system call.
// The failure has the stack. Not counted are waits through Context and Task, waits of the framework or of the garbage collector, and code that
// started beside its loop, such as that of routes with app.Blocking. After a handoff the code still counts.
//
// A line with the comment //tafe:allow-blocking REASON, or a line of code below one, may block, and so may a function whose doc comment has
// it; tafe vet reads the same comments. BlockingFile has the places that a project knows.
//
// The Go runtime has one trace at a time, and it is about the process: NoBlocking cannot be used together with go test -trace or by two
// tests at once, and the tasks of parallel tests count. It needs the paths of sources, which -trimpath removes.
func NoBlocking(t testing.TB) {
	t.Helper()
	known, err := readPlaces()
	if err != nil {
		t.Fatalf("looptest: %v", err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "blocking.trace"))
	if err != nil {
		t.Fatalf("looptest: %v", err)
	}
	if err := runtimetrace.Start(file); err != nil {
		_ = file.Close()
		t.Fatalf("looptest: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		runtimetrace.Stop()
		defer func() { _ = file.Close() }()
		found, err := readBlocks(file)
		if err != nil {
			t.Errorf("looptest: the trace of the runtime: %v", err)
		}
		judgeBlocks(t, found, known)
	})
}

// judgeBlocks reports the blocks that are not known, or adds them to BlockingFile.
func judgeBlocks(t testing.TB, found []block, known []string) {
	t.Helper()
	update := os.Getenv(baselineEnv) == "update"
	allows := allowReader{}
	seen := map[string]bool{}
	for _, b := range found {
		place := b.place()
		if seen[place] || slices.Contains(known, place) || allows.anyOf(b.stack) {
			continue
		}
		seen[place] = true
		if update {
			known = append(known, place)
			continue
		}
		t.Errorf("%s", "the goroutine of a task blocked: "+place+"\n"+b.text())
	}
	if update {
		if err := writePlaces(known); err != nil {
			t.Errorf("looptest: %v", err)
		}
	}
}

// block is one time that user code of a task stopped.
type block struct {
	reason string
	stack  []trace.StackFrame // innermost first
}

// place identifies the code, without line numbers: the reason and the functions that are not the standard library's or the framework's.
func (b *block) place() string {
	var names []string
	for _, f := range b.stack {
		if f.Func == taskRoot {
			break
		}
		if standard(f) || framework(f.Func) || slices.Contains(names, f.Func) {
			continue
		}
		names = append(names, f.Func)
	}
	return b.reason + " " + strings.Join(names, " < ")
}

// text returns the stack down to the task's own frames.
func (b *block) text() string {
	var text strings.Builder
	for _, f := range b.stack {
		if f.Func == taskRoot {
			break
		}
		fmt.Fprintf(&text, "  %s\n      %s:%d\n", f.Func, f.File, f.Line)
	}
	return text.String()
}

// taskRoot is the function below which a coroutine runs tasks.
const taskRoot = "tafe/loop.(*Task).coroutine"

// readBlocks reads a trace.
func readBlocks(file io.ReadSeeker) ([]block, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	reader, err := trace.NewReader(bufio.NewReader(file))
	if err != nil {
		return nil, err
	}
	var found []block
	beside := map[trace.GoID]bool{}
	for {
		event, err := reader.ReadEvent()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		switch event.Kind() {
		case trace.EventLog:
			if log := event.Log(); log.Category == loop.TraceCategory {
				beside[event.Goroutine()] = log.Message == loop.TraceBeside
			}
		case trace.EventStateTransition:
			if b, ok := blockOf(event); ok && !beside[event.Goroutine()] {
				found = append(found, b)
			}
		}
	}
}

// blockOf returns the block that an event is, if user code of a task is what stopped.
func blockOf(event trace.Event) (block, bool) {
	change := event.StateTransition()
	if change.Resource.Kind != trace.ResourceGoroutine || change.Resource.Goroutine() != event.Goroutine() {
		return block{}, false
	}
	from, to := change.Goroutine()
	reason := change.Reason
	switch {
	case from != trace.GoRunning:
		return block{}, false
	case to == trace.GoSyscall:
		reason = "system call"
	case to != trace.GoWaiting || notOfCode(reason):
		return block{}, false
	}
	b := block{reason: reason, stack: slices.Collect(event.Stack().Frames())}
	if !slices.ContainsFunc(b.stack, func(f trace.StackFrame) bool { return f.Func == taskRoot }) {
		return block{}, false
	}
	for _, f := range b.stack {
		switch {
		case strings.HasPrefix(f.Func, "testing."): // a message of the test
			return block{}, false
		case !standard(f):
			return b, !framework(f.Func)
		}
	}
	return block{}, false
}

// notOfCode reports whether the runtime stops goroutines for a reason of its own. Switches of coroutines, the waits of tasks among them, have
// no reason.
func notOfCode(reason string) bool {
	return reason == "" || strings.Contains(reason, "GC") || reason == "preempted" || reason == "system goroutine wait" || reason == "wait for debug call"
}

// standard reports whether a frame is in the standard library, by the folder of its sources.
func standard(f trace.StackFrame) bool {
	pc := reflect.ValueOf(strings.Cut).Pointer()
	file, _ := runtime.FuncForPC(pc).FileLine(pc)
	return strings.HasPrefix(f.File, strings.TrimSuffix(file, "strings/strings.go"))
}

// framework reports whether a function is one of tafe that user code calls to wait or to answer. External tests of these packages are not.
func framework(function string) bool {
	for _, p := range []string{"tafe/loop", "tafe/app", "tafe/httpparse"} {
		rest, ok := strings.CutPrefix(function, p)
		if ok && rest != "" && (rest[0] == '.' || rest[0] == '/') {
			return !strings.HasPrefix(function, "tafe/app/edge") && !strings.Contains(rest, "_test.")
		}
	}
	return false
}

func readPlaces() (places []string, err error) {
	text, err := os.ReadFile(BlockingFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			places = append(places, line)
		}
	}
	return places, nil
}

func writePlaces(places []string) error {
	if err := os.MkdirAll(filepath.Dir(BlockingFile), 0o755); err != nil {
		return err
	}
	slices.Sort(places)
	text := "# Places where tasks are known to block: the reason, and the functions, innermost first.\n" + strings.Join(places, "\n") + "\n"
	return os.WriteFile(BlockingFile, []byte(text), 0o644)
}
