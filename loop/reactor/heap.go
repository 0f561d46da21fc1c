// This file keeps the garbage collector from running while the heap is small.

package reactor

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// heapMin is the size of the heap, in bytes, below which no collection begins. By
// default Go collects from 4 MiB on. A collection has a fixed cost that grows with
// GOMAXPROCS, and a server that keeps 2 MB would pay it for every 40 TLS handshakes;
// see docs/decisions/023.
const heapMin = 32 << 20

// goHeapMin is Go's own minimum at GOGC=100. It is proportional to GOGC.
const goHeapMin = 4 << 20

var keepHeapMinOnce sync.Once

// keepHeapMin sets GOGC of the process after each collection, so that the next one
// begins at heapMin or, as by default, at twice the live heap, whichever is more.
// The environment variable GOGC turns it off. GOMEMLIMIT works as always.
func keepHeapMin() {
	if os.Getenv("GOGC") == "" {
		keepHeapMinOnce.Do(func() { afterCollection(100) })
	}
}

// afterCollection adapts GOGC, which is percent, now and after each collection.
func afterCollection(percent int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if want := percentFor(live[0].Value.Uint64()); want < percent-percent/8 || want > percent+percent/8 {
		debug.SetGCPercent(want) // it stops the world for a moment
		percent = want
	}
	runtime.AddCleanup(new([2]uint64), afterCollection, percent)
}

// percentFor returns the GOGC with which the next collection begins at heapMin or
// at twice the live heap.
func percentFor(live uint64) int {
	const most = 100 * heapMin / goHeapMin
	if live == 0 {
		return most
	}
	return int(min(max(100*heapMin/live, 200), 100+most)) - 100
}
