// StateOf: what a goroutine does or waits for, without stopping it. Its status and wait reason
// are words of the runtime's descriptor whose offsets differ between Go releases. learn
// finds them: it puts goroutines into each kind of wait and looks for the words that
// distinguish the kinds. Without them a watchdog must take stacks.

package goruntime

import (
	"iter"
	"os"
	"sync"
	"time"
	"unsafe"
)

// Results of StateOf that are not waits. A wait has the name that stack dumps give it:
// "sleep", "chan receive", "sync.Mutex.Lock", "coroutine"…
const (
	StateUnknown  = ""
	StateRunning  = "running"
	StateRunnable = "runnable" // ready, and no thread runs it
	StateSyscall  = "syscall"
	StateWaiting  = "waiting" // a wait that was not learned
)

// The runtime's numbers, unchanged since Go 1.2; a concurrent scan adds a bit.
const (
	gRunnable  = 1
	gRunning   = 2
	gSyscall   = 3
	gWaiting   = 4
	gPreempted = 9
	gScanBit   = 0x1000
)

// descriptor is the learned part of the layout of a goroutine's descriptor.
type descriptor struct {
	known  bool
	status uintptr // offset of a uint32
	reason uintptr // offset of a byte
	names  [256]string
	named  int // of waitKinds: those whose name is known
}

var learned = sync.OnceValue(func() *descriptor {
	if forcedOff("state") {
		return &descriptor{}
	}
	return learn()
})

// StatesKnown reports whether StateOf works. The first call of it or of StateOf
// takes some milliseconds, so make it before the loops run. Any goroutine.
func StatesKnown() bool { return learned().known }

// StateOf returns what the goroutine with the descriptor g does at this moment,
// and StateUnknown if StatesKnown is false. Any goroutine, while the other one
// lives; a few ns.
func StateOf(g unsafe.Pointer) string { return learned().of(g) }

func (d *descriptor) of(g unsafe.Pointer) string {
	if !d.known {
		return StateUnknown
	}
	status, reason := d.read(g)
	switch status &^ gScanBit {
	case gRunnable, gPreempted:
		return StateRunnable
	case gRunning:
		return StateRunning
	case gSyscall:
		return StateSyscall
	case gWaiting:
		if name := d.names[reason]; name != "" {
			return name
		}
		return StateWaiting
	}
	return StateUnknown
}

//go:norace
func (d *descriptor) read(g unsafe.Pointer) (status uint32, reason byte) {
	return *(*uint32)(unsafe.Add(g, d.status)), *(*byte)(unsafe.Add(g, d.reason))
}

// waitKinds are functions that keep the calling goroutine in one kind of wait
// until stop is closed.
var waitKinds = []struct {
	name string
	wait func(stop chan struct{})
}{
	{"sleep", func(stop chan struct{}) {
		for {
			select {
			case <-stop:
				return
			default:
				time.Sleep(10 * time.Millisecond)
			}
		}
	}},
	{"chan receive", func(stop chan struct{}) { <-stop }},
	{"chan send", func(stop chan struct{}) {
		c := make(chan int)
		go func() { <-stop; <-c }()
		c <- 1
	}},
	{"select", func(stop chan struct{}) {
		select {
		case <-stop:
		case <-make(chan int):
		}
	}},
	{"sync.Cond.Wait", func(stop chan struct{}) {
		c := sync.NewCond(&sync.Mutex{})
		go func() { <-stop; c.L.Lock(); c.Broadcast(); c.L.Unlock() }()
		c.L.Lock()
		c.Wait()
		c.L.Unlock()
	}},
	{"sync.Mutex.Lock", func(stop chan struct{}) {
		var mu sync.Mutex
		mu.Lock()
		go func() { <-stop; mu.Unlock() }()
		mu.Lock()
	}},
	{"sync.RWMutex.RLock", func(stop chan struct{}) {
		var mu sync.RWMutex
		mu.Lock()
		go func() { <-stop; mu.Unlock() }()
		mu.RLock()
	}},
	{"sync.RWMutex.Lock", func(stop chan struct{}) {
		var mu sync.RWMutex
		mu.RLock()
		go func() { <-stop; mu.RUnlock() }()
		mu.Lock()
	}},
	{"sync.WaitGroup.Wait", func(stop chan struct{}) {
		var wg sync.WaitGroup
		wg.Add(1)
		go func() { <-stop; wg.Done() }()
		wg.Wait()
	}},
	{"IO wait", func(stop chan struct{}) {
		r, w, err := os.Pipe()
		if err != nil {
			return
		}
		go func() { <-stop; _ = w.Close() }()
		_, _ = r.Read(make([]byte, 1))
		_ = r.Close()
	}},
	{"coroutine", func(stop chan struct{}) {
		next, end := iter.Pull(func(func(int) bool) { <-stop })
		next()
		end()
	}},
}

const (
	learnTime  = time.Second // the bound on learning, which usually takes 1 ms
	learnTimes = 5           // looks that must show the same
	coreKinds  = 5           // the first of waitKinds: each has a wait reason of its own
	gBytes     = gWords * wordBytes
)

type gImage [gBytes]byte

//go:norace
func imageOf(g unsafe.Pointer) gImage { return *(*gImage)(g) }

func (m *gImage) status(at uintptr) uint32 { return *(*uint32)(unsafe.Pointer(&m[at])) }

// learn puts two goroutines into each kind of wait and looks for the offsets at
// which all of them, and the calling goroutine, have the values that they must.
func learn() *descriptor {
	stop := make(chan struct{})
	var ended sync.WaitGroup
	defer ended.Wait()
	defer close(stop)
	parked := make([][2]unsafe.Pointer, len(waitKinds))
	for i, kind := range waitKinds {
		for j := range 2 {
			self := make(chan unsafe.Pointer)
			ended.Go(func() { self <- G(); kind.wait(stop) })
			parked[i][j] = <-self
		}
	}
	// A goroutine may first wait for the collector. A result counts only when it stays the
	// same.
	best, last, same := &descriptor{}, &descriptor{}, 0
	for end := time.Now().Add(learnTime); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		d := compare(parked)
		if *d != *last {
			last, same = d, 0
		}
		if same++; d.known && same >= learnTimes && d.named >= best.named {
			best = d
		}
		if best.named == len(waitKinds) {
			break
		}
	}
	return best
}

// compare looks for exactly one status word and one reason byte.
func compare(parked [][2]unsafe.Pointer) *descriptor {
	own := imageOf(G())
	images := make([][2]gImage, len(parked))
	for i, pair := range parked {
		images[i] = [2]gImage{imageOf(pair[0]), imageOf(pair[1])}
	}
	d := &descriptor{}
	statuses, reasons := 0, 0
	for at := uintptr(0); at < gBytes; at += 4 {
		if isStatus(&own, images, at) {
			statuses++
			d.status = at
		}
	}
	for at := range gBytes {
		if isReason(images, at) {
			reasons++
			d.reason = at
		}
	}
	d.known = statuses == 1 && reasons == 1
	if !d.known {
		return &descriptor{}
	}
	var core [256]bool
	for i, pair := range images {
		code := pair[0][d.reason]
		if pair[1][d.reason] != code || core[code] {
			continue // one of them is in another wait
		}
		core[code] = i < coreKinds
		d.named++
		if d.names[code] == "" {
			d.names[code] = waitKinds[i].name
		}
	}
	return d
}

// isStatus reports whether the word at an offset is "running" in the calling
// goroutine and "waiting" in all others.
func isStatus(own *gImage, images [][2]gImage, at uintptr) bool {
	if own.status(at)&^gScanBit != gRunning {
		return false
	}
	for i := range images {
		for j := range 2 {
			if images[i][j].status(at)&^gScanBit != gWaiting {
				return false
			}
		}
	}
	return true
}

// isReason reports whether the byte at an offset is small, equal in both
// goroutines of a kind, and different for each of the core kinds.
func isReason(images [][2]gImage, at uintptr) bool {
	var seen [256]bool
	for _, pair := range images[:coreKinds] {
		code := pair[0][at]
		if code == 0 || code >= 128 || pair[1][at] != code || seen[code] {
			return false
		}
		seen[code] = true
	}
	return true
}
