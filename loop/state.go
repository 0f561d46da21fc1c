package loop

// What a goroutine is doing, without stopping it: its status and what it waits
// for, as words in the runtime's descriptor. Where those words are differs
// between Go releases, so they are learned: goroutines are put into each kind of
// wait, and the words that tell the kinds apart are the ones. If that fails,
// nothing is known, and a watchdog must take stacks instead.

import (
	"iter"
	"os"
	"sync"
	"time"
	"unsafe"
)

// States that are not waits. A wait is called what a stack dump calls it:
// "sleep", "chan receive", "sync.Mutex.Lock", "coroutine"…
const (
	StateUnknown  = ""
	StateRunning  = "running"
	StateRunnable = "runnable" // ready, and nothing runs it
	StateSyscall  = "syscall"
	StateWaiting  = "waiting" // for something that has no name here
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

// descriptor is the part of the layout of a goroutine's descriptor that was
// learned.
type descriptor struct {
	known  bool
	status uintptr // offset of a uint32
	reason uintptr // offset of a byte
	names  [256]string
}

var learned = sync.OnceValue(learn)

// StatesKnown tells whether Task.State works with this Go release. The first
// call takes some milliseconds: make it before the loops run.
func StatesKnown() bool { return learned().known }

// State is what the task's goroutine is doing at this moment, or StateUnknown.
// Any goroutine, while the task runs its slice; a few ns.
func (t *Task) State() string {
	if t.gid.Load() == 0 {
		return StateUnknown
	}
	return learned().of(t.g)
}

// State is Task.State of the task that the loop runs, or else of the loop's own
// goroutine. Any goroutine.
func (l *Loop) State() string {
	if l.gid.Load() == 0 {
		return StateUnknown
	}
	if _, t, ok := l.slice.Load(); ok {
		return t.State()
	}
	return learned().of(unsafe.Pointer(l.owner.Load()))
}

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

// waitKinds put the calling goroutine into a wait until stop is closed.
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
	learnTime = time.Second // what learning may take; usually it is 1 ms
	coreKinds = 5           // of waitKinds: have had reasons of their own for long
	gBytes    = gWords * unsafe.Sizeof(uintptr(0))
)

type gImage [gBytes]byte

//go:norace
func imageOf(g unsafe.Pointer) gImage { return *(*gImage)(g) }

func (m *gImage) status(at uintptr) uint32 { return *(*uint32)(unsafe.Pointer(&m[at])) }

// learn puts two goroutines into each kind of wait and looks for the offsets
// at which all of them, and the one that looks, show what they must.
func learn() *descriptor {
	stop := make(chan struct{})
	var ended sync.WaitGroup
	defer ended.Wait()
	defer close(stop)
	parked := make([][2]unsafe.Pointer, len(waitKinds))
	for i, kind := range waitKinds {
		for j := range 2 {
			self := make(chan unsafe.Pointer)
			ended.Go(func() { self <- getg(); kind.wait(stop) })
			parked[i][j] = <-self
		}
	}
	for end := time.Now().Add(learnTime); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		if d := compare(parked); d.known {
			return d
		}
	}
	return &descriptor{}
}

func compare(parked [][2]unsafe.Pointer) *descriptor {
	own := imageOf(getg())
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
	for i, pair := range images {
		if code := pair[0][d.reason]; d.known && pair[1][d.reason] == code && d.names[code] == "" {
			d.names[code] = waitKinds[i].name
		}
	}
	return d
}

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

// isReason: the byte is small, the same for both goroutines of a kind, and
// another one for each of the core kinds.
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
