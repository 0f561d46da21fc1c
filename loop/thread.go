package loop

// Which OS thread and which goroutine a task runs on, for those who watch it
// from elsewhere: the thread's clock tells computing from waiting, the
// goroutine's number finds its stack. Go has an API for neither.

import (
	"bytes"
	"context"
	"runtime"
	"runtime/pprof"
	"strconv"
	"unsafe"
)

// Words of the runtime's descriptors: a goroutine's pointer to the thread that
// runs it (nil while none does), and that descriptor's thread id. They have not
// moved in years; threadWords is false where they are not what is expected.
const (
	gThreadWord = 6 // g.m
	mTidWord    = 8 // m.procid
)

var threadWords = checkThreadWords()

// threadOf is the id of the thread that runs the goroutine g now, or 0.
//
//go:norace
func threadOf(g unsafe.Pointer) int {
	m := *(*unsafe.Pointer)(unsafe.Add(g, gThreadWord*unsafe.Sizeof(uintptr(0))))
	if m == nil {
		return 0
	}
	return int(*(*uint64)(unsafe.Add(m, mTidWord*unsafe.Sizeof(uintptr(0)))))
}

// Thread is the id of the OS thread that runs the task's goroutine at this
// moment: 0 while none does, and always where the Go release hides it. A task
// that the loop runs and that has no thread is waiting inside the Go runtime,
// or has been preempted. Any goroutine, while the task runs its slice.
func (t *Task) Thread() int {
	if !threadWords || t.gid.Load() == 0 {
		return 0
	}
	return threadOf(t.g)
}

// Thread is the id of the OS thread that the loop, or the task that it runs,
// is on at this moment, or 0; see Task.Thread. Any goroutine.
func (l *Loop) Thread() int {
	if !threadWords || l.gid.Load() == 0 {
		return 0
	}
	if _, t, ok := l.slice.Load(); ok {
		return t.Thread()
	}
	return threadOf(unsafe.Pointer(l.owner.Load()))
}

// ThreadsKnown tells whether Thread works with this Go release.
func ThreadsKnown() bool { return threadWords }

// GoroutineID is the number of the task's goroutine in stack dumps; a later
// task may have the same. Any goroutine, while the task runs its slice.
func (t *Task) GoroutineID() uint64 { return t.gid.Load() }

// GoroutineID is the number of the loop's own goroutine in stack dumps, 0
// before its first turn. Any goroutine.
func (l *Loop) GoroutineID() uint64 { return l.gid.Load() }

// LoopLabel is the pprof label whose value is the loop's id: the goroutines of
// a loop and of its tasks carry it, and what they start inherits it.
const LoopLabel = "tafe.loop"

func labelGoroutine(id int) {
	labels := pprof.Labels(LoopLabel, strconv.Itoa(id))
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), labels))
}

// goroutineID reads the calling goroutine's number off its stack dump: 1 us,
// once per coroutine.
func goroutineID() uint64 {
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
