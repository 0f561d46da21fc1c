// ThreadOf: which OS thread runs a goroutine. The watchdog reads the CPU clock of that thread
// to distinguish computing from waiting.

package goruntime

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Words of the runtime's descriptors: a goroutine's pointer to the thread that
// runs it (nil while none does), and the thread id in that thread's descriptor.
// They have not moved in years; checkThreadWords notices if they do.
const (
	gThreadWord = 6 // g.m
	mTidWord    = 8 // m.procid
	wordBytes   = unsafe.Sizeof(uintptr(0))
)

var threadWords = checkThreadWords()

// ThreadsKnown reports whether ThreadOf works. Any goroutine.
func ThreadsKnown() bool { return threadWords }

// ThreadOf returns the id of the OS thread that runs the goroutine with the
// descriptor g at this moment, 0 while none does. It is always 0 if
// ThreadsKnown is false. Any goroutine, while the other one lives; a few ns.
func ThreadOf(g unsafe.Pointer) int {
	if !threadWords {
		return 0
	}
	return threadOf(g)
}

//go:norace
func threadOf(g unsafe.Pointer) int {
	m := *(*unsafe.Pointer)(unsafe.Add(g, gThreadWord*wordBytes))
	if m == nil {
		return 0
	}
	return int(*(*uint64)(unsafe.Add(m, mTidWord*wordBytes)))
}

// checkThreadWords compares threadOf with the kernel's answer on two threads.
func checkThreadWords() bool {
	if forcedOff("thread") {
		return false
	}
	answers := make(chan bool)
	for range 2 {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			words := readG()
			tid := words[gThreadWord] + mTidWord*wordBytes
			answers <- readable(tid) && threadOf(G()) == unix.Gettid()
		}()
	}
	first, second := <-answers, <-answers
	return first && second
}

// readable reports whether 8 bytes can be read at an address. It has the kernel
// read them, which returns an error where the process would crash.
func readable(address uintptr) bool {
	var ends [2]int
	if unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC) != nil {
		return false
	}
	n, _, _ := unix.Syscall(unix.SYS_WRITE, uintptr(ends[1]), address, 8)
	_ = unix.Close(ends[0])
	_ = unix.Close(ends[1])
	return n == 8
}
