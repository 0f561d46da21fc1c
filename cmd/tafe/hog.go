// /hog: six ways to hold a loop by mistake, for trying the watchdog and handoff.

package main

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// holds are the values of how.
func holds() map[string]func(time.Duration) error {
	return map[string]func(time.Duration) error{
		"spin":    holdSpin,
		"sleep":   holdSleep,
		"mutex":   holdMutex,
		"channel": holdChannel,
		"syscall": holdSyscall,
		"read":    holdRead,
	}
}

// holdSpin computes.
func holdSpin(d time.Duration) error {
	number := uint64(1)
	for end := time.Now().Add(d); time.Now().Before(end); {
		for range 1000 {
			number = number*6364136223846793005 + 1442695040888963407
		}
	}
	runtime.KeepAlive(number)
	return nil
}

// holdSleep sleeps without its Context.
func holdSleep(d time.Duration) error {
	time.Sleep(d)
	return nil
}

// holdMutex waits for a mutex that another goroutine holds.
func holdMutex(d time.Duration) error {
	var mu sync.Mutex
	mu.Lock()
	time.AfterFunc(d, mu.Unlock)
	mu.Lock()
	defer mu.Unlock()
	return nil
}

// holdChannel waits for a message of another goroutine.
func holdChannel(d time.Duration) error {
	message := make(chan struct{})
	time.AfterFunc(d, func() { close(message) })
	<-message
	return nil
}

// holdSyscall blocks its thread in a system call.
func holdSyscall(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		rest := time.Until(end)
		if rest <= 0 {
			return nil
		}
		// Rounded up, so that the last millisecond is not spent in a busy loop.
		_, err := unix.Poll(nil, int((rest + time.Millisecond - 1).Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// holdRead reads from a slow peer.
func holdRead(d time.Duration) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	time.AfterFunc(d, func() {
		_, _ = w.Write([]byte{1})
		_ = w.Close()
	})
	_, err = r.Read(make([]byte, 1))
	return err
}
