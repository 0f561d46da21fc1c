//go:build !race

package http2

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// A stream whose request has begun and whose body does not come costs less than 2 KB.
func TestIdleStreamMemory(t *testing.T) {
	const streams = 10_000
	d := talk(t, limits(func(l *Limits) { l.StreamsMax = streams }))
	d.request(1, false)
	d.send()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := 1; i < streams; i++ {
		d.request(uint32(2*i+1), false)
		d.send()
	}
	require.Equal(t, streams, d.conn.Streams())
	each := (heap() - before) / streams
	t.Logf("%d bytes each, with the fields that the test keeps", each)
	require.Less(t, each, uint64(2<<10))
}
