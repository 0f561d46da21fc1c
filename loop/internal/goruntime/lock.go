// ThreadLocked: whether the calling goroutine is locked to its OS thread. A coroutine switch
// on a locked thread ends the process; package loop checks first and returns an error.

package goruntime

import (
	"runtime"
	"unsafe"
)

// lockWord is the index of the descriptor's word that is non-zero while the
// goroutine is locked to its thread, or -1 if it was not found.
var lockWord = findLockWord()

// findLockWord locks and unlocks a new goroutine three times and looks for the
// one word of its descriptor that is non-zero exactly while it is locked. It
// returns -1 if there is no such word or more than one.
func findLockWord() int {
	if forcedOff("lock") {
		return -1
	}
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

// LockKnown reports whether ThreadLocked works. Any goroutine.
func LockKnown() bool { return lockWord >= 0 }

// ThreadLocked reports whether the calling goroutine holds its OS thread by
// runtime.LockOSThread. It is always false if LockKnown is. 2 ns.
func ThreadLocked() bool {
	return lockWord >= 0 && *(*uintptr)(unsafe.Add(G(), lockWord*8)) != 0
}
