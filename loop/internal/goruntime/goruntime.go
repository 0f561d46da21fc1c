// Package goruntime reads facts about goroutines for which the Go runtime has no API: the
// identity of the calling goroutine, whether it is locked to its OS thread, which thread
// runs a goroutine, and what it waits for. It reads the runtime's goroutine descriptor at
// offsets that may differ between Go releases.
//
// # The parts, in reading order
//
//	goruntime.go  G and ID: the calling goroutine; Check: which parts work
//	lock.go       ThreadLocked, with its self-check
//	thread.go     ThreadOf, with its self-check
//	state.go      StateOf, with its self-check
//	platform.go   the compile error on other platforms
//
// Each part checks itself once per process against goroutines whose state is known. A part
// that fails its check is off. Its function then returns the unknown value that its
// comment names, and never a guess.
//
// Only package loop imports this package. The decision and its figures are in
// docs/decisions/005-goroutine-identity.md.
package goruntime

import (
	"bytes"
	"runtime"
	"strconv"
	"strings"
	"unsafe"
)

// off lists parts that are off without a check, separated by commas: lock,
// thread, state. It is set at link time only, for tests of the degraded server:
//
//	go test -ldflags '-X tafe/loop/internal/goruntime.off=thread,state' ./loop
var off string

// forcedOff reports whether off lists a part.
func forcedOff(part string) bool {
	for name := range strings.SplitSeq(off, ",") {
		if name == part {
			return true
		}
	}
	return false
}

// Report says which parts work in this process.
type Report struct {
	ThreadLock bool // ThreadLocked
	Thread     bool // ThreadOf
	State      bool // StateOf
}

// Check returns which parts work. The first call takes some milliseconds. Any goroutine.
func Check() Report {
	return Report{ThreadLock: LockKnown(), Thread: ThreadsKnown(), State: StatesKnown()}
}

// Parts returns the names that Degraded uses, in its order.
func Parts() []string { return []string{"thread_lock", "thread", "state"} }

// Degraded returns the names of the parts that do not work, nil if all do.
func (r Report) Degraded() (parts []string) {
	works := [...]bool{r.ThreadLock, r.Thread, r.State}
	for i, name := range Parts() {
		if !works[i] {
			parts = append(parts, name)
		}
	}
	return parts
}

// G returns the address of the calling goroutine's descriptor. Compare it only
// with that of a goroutine that is known to be alive: the runtime reuses
// descriptors. It does not depend on the Go release; 2 ns (BenchmarkG).
func G() unsafe.Pointer { return g() }

// g is implemented in assembly.
func g() unsafe.Pointer

// ID returns the calling goroutine's number in stack dumps, or 0 if the dump's
// format has changed. It parses a stack dump: 1 us (BenchmarkID).
func ID() uint64 {
	var buf [64]byte
	dump := buf[:runtime.Stack(buf[:], false)]
	dump = bytes.TrimPrefix(dump, []byte("goroutine "))
	end := max(bytes.IndexByte(dump, ' '), 0)
	id, err := strconv.ParseUint(string(dump[:end]), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

// gWords bounds the part of the descriptor that the checks read. The struct has
// been larger than this in every Go release since 1.18.
const gWords = 48

// readG copies the words of the calling goroutine's descriptor.
func readG() (words [gWords]uintptr) {
	return *(*[gWords]uintptr)(G())
}
