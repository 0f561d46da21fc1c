package loop

// This file answers two questions about the calling goroutine that Go has no
// API for: is it the one I know, and is it locked to its OS thread? The first
// keeps Park from being called where it cannot work; the second turns the
// runtime's fatal throw (a coroutine switch on a locked thread) into an error.

import (
	"runtime"
	"unsafe"
)

// getg returns the address of the running goroutine's descriptor. It is only
// ever compared, and only with that of a goroutine known to be alive:
// descriptors are reused after their goroutine ends. Implemented in assembly;
// costs about 2 ns (BenchmarkGetg).
func getg() unsafe.Pointer

// gWords bounds the part of the descriptor that findLockWord looks at. The
// struct is larger than this in every Go release since 1.18.
const gWords = 48

// lockWord is the index of the descriptor's word that is non-zero while the
// goroutine is locked to its thread, or -1 when it could not be told.
var lockWord = findLockWord()

// findLockWord locks and unlocks a fresh goroutine and looks for the one word
// of its descriptor that follows along. Where none or several do, the check is
// off and a park on a locked thread ends as the Go runtime ends it.
func findLockWord() int {
	found := make(chan int)
	go func() {
		candidates := [gWords]bool{}
		for i := range candidates {
			candidates[i] = true
		}
		for range 3 {
			before := readG()
			runtime.LockOSThread()
			during := readG()
			runtime.UnlockOSThread()
			after := readG()
			for i := range candidates {
				candidates[i] = candidates[i] && before[i] == 0 && during[i] != 0 && after[i] == 0
			}
		}
		word := -1
		for i, ok := range candidates {
			if ok && word >= 0 {
				word = -1
				break
			}
			if ok {
				word = i
			}
		}
		found <- word
	}()
	return <-found
}

func readG() (words [gWords]uintptr) {
	return *(*[gWords]uintptr)(getg())
}

// threadLocked tells whether the calling goroutine holds its OS thread by
// runtime.LockOSThread. False where the Go release hides it.
func threadLocked() bool {
	return lockWord >= 0 && *(*uintptr)(unsafe.Add(getg(), lockWord*8)) != 0
}
