package loop

// The check that a goroutine's thread can be told, on Linux.

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// checkThreadWords compares with two threads whose ids are known.
func checkThreadWords() bool {
	answers := make(chan bool)
	for range 2 {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			words := readG()
			tid := words[gThreadWord] + mTidWord*unsafe.Sizeof(uintptr(0))
			answers <- readable(tid) && threadOf(getg()) == unix.Gettid()
		}()
	}
	first, second := <-answers, <-answers
	return first && second
}

// readable tells whether 8 bytes can be read at an address, by having the
// kernel try it: where it is no pointer at all, that is an error and no crash.
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
