package goruntime

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The parts that work are exactly those that are not forced off: a Go release
// on which a self-check fails fails this test.
func TestCheck(t *testing.T) {
	report := Check()
	require.Equal(t, Report{ThreadLock: !forcedOff("lock"), Thread: !forcedOff("thread"), State: !forcedOff("state")}, report,
		"the layout of goroutines changed: see findLockWord, checkThreadWords and learn")
	require.Equal(t, report, Check(), "the same at each call")
}

func TestDegradedNamesParts(t *testing.T) {
	for _, c := range []struct {
		report Report
		want   []string
		why    string
	}{
		{Report{true, true, true}, nil, "all parts work"},
		{Report{false, true, true}, []string{"thread_lock"}, "one does not"},
		{Report{true, false, true}, []string{"thread"}, "one does not"},
		{Report{true, true, false}, []string{"state"}, "one does not"},
		{Report{}, Parts(), "none does"},
	} {
		require.Equal(t, c.want, c.report.Degraded(), c.why)
	}
}

// A part that does not work returns its unknown value.
func TestPartsThatAreOff(t *testing.T) {
	if off == "" {
		t.Skip("no part is forced off: see off in goruntime.go")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	report := Check()
	require.Equal(t, report.ThreadLock, ThreadLocked())
	require.Equal(t, report.Thread, ThreadOf(G()) != 0)
	require.Equal(t, report.State, StateOf(G()) != StateUnknown)
}

func TestThreadLocked(t *testing.T) {
	needPart(t, "lock")
	answers := make(chan [3]bool)
	go func() {
		before := ThreadLocked()
		runtime.LockOSThread()
		during := ThreadLocked()
		runtime.UnlockOSThread()
		answers <- [3]bool{before, during, ThreadLocked()}
	}()
	require.Equal(t, [3]bool{false, true, false}, <-answers)
}

func TestThreadOf(t *testing.T) {
	needPart(t, "thread")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.Equal(t, unix.Gettid(), ThreadOf(G()))
	self, stop, ended := make(chan unsafe.Pointer), make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); self <- G(); <-stop }()
	g := <-self
	for ThreadOf(g) != 0 { // it parks soon
		runtime.Gosched()
	}
	close(stop)
	<-ended
}

func TestIdentity(t *testing.T) {
	require.Equal(t, G(), G())
	var dump [64]byte
	n := runtime.Stack(dump[:], false)
	require.True(t, strings.HasPrefix(string(dump[:n]), fmt.Sprintf("goroutine %d [", ID())), "%s", bytes.TrimSpace(dump[:n]))
	others := make(chan bool)
	own, ownID := G(), ID()
	go func() { others <- G() != own && ID() != ownID && ID() != 0 }()
	require.True(t, <-others, "two goroutines differ")
}

func TestReadableAddresses(t *testing.T) {
	require.True(t, readable(uintptr(G())))
	require.False(t, readable(0))
	require.False(t, readable(1<<46), "no pointer: an error, not a crash")
}

func BenchmarkG(b *testing.B) {
	for b.Loop() {
		_ = G()
	}
}

func BenchmarkID(b *testing.B) {
	for b.Loop() {
		_ = ID()
	}
}

func BenchmarkThreadLocked(b *testing.B) {
	for b.Loop() {
		_ = ThreadLocked()
	}
}

func BenchmarkStateOf(b *testing.B) {
	g := G()
	StatesKnown()
	for b.Loop() {
		_ = StateOf(g)
	}
}
