// This file has the buffers of connection input and output, recycled by each loop
// without locks. A buffer has one owner at a time. After putBuffer, views into it
// are invalid.

package reactor

const (
	inputClass    = 1        // of a connection's first input buffer: 1 KiB
	inputClassMax = 5        // of input buffers: 256 KiB
	bufferMin     = 256      // fits a short request that waits
	bufferClasses = 7        // 256 bytes, 1, 4, 16, 64, 256 KiB, and 1 MiB with room for a head
	outputMin     = 4 << 10  // of output: fits several responses, and is soon put back
	bufferRoom    = 16 << 10 // what the last class has beyond 1 MiB
	bufferKeepMax = 1 << 20  // bytes of a class that a pool keeps
	bufferKeepMin = 16       // buffers of a class that a pool keeps in any case
)

// bufferPool keeps for each class at most bufferKeepMax bytes, or bufferKeepMin
// buffers if that is more.
type bufferPool struct {
	free [bufferClasses][][]byte
}

// classOf returns the smallest class whose buffers hold size bytes, and their
// capacity. For larger sizes the class is bufferClasses.
func classOf(size int) (class, capacity int) {
	capacity = bufferMin
	for class < bufferClasses && capacity < size {
		class++
		capacity <<= 2
		if class == bufferClasses-1 {
			capacity += bufferRoom
		}
	}
	return class, capacity
}

// getBuffer returns an empty buffer with room for at least size bytes.
func (p *bufferPool) getBuffer(size int) []byte {
	class, capacity := classOf(size)
	if class >= bufferClasses {
		return make([]byte, 0, size)
	}
	return p.popBuffer(class, capacity)
}

// getBufferClass returns an empty buffer of a class of at most inputClassMax.
func (p *bufferPool) getBufferClass(class int) []byte {
	return p.popBuffer(class, bufferMin<<(2*class))
}

// popBuffer returns a recycled buffer of the class, or a new one.
func (p *bufferPool) popBuffer(class, capacity int) []byte {
	if n := len(p.free[class]); n > 0 {
		b := p.free[class][n-1]
		p.free[class][n-1] = nil
		p.free[class] = p.free[class][:n-1]
		return b
	}
	return make([]byte, 0, capacity)
}

// putBuffer recycles a buffer of getBuffer. Buffers of other capacities are left to
// the garbage collector.
func (p *bufferPool) putBuffer(b []byte) {
	class, capacity := classOf(cap(b))
	if class >= bufferClasses || capacity != cap(b) {
		return
	}
	if len(p.free[class]) < max(bufferKeepMax/capacity, bufferKeepMin) {
		p.free[class] = append(p.free[class], b[:0])
	}
}

// growBuffer returns b with room for n more bytes, moved to a larger buffer if need
// be. The old buffer is recycled unless keep, which says that views into it are in
// use.
func (p *bufferPool) growBuffer(b []byte, n int, keep bool) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	// The capacity at least doubles, so that growing byte by byte takes linear time.
	g := p.getBuffer(max(len(b)+n, 2*cap(b)))
	g = append(g, b...)
	if b != nil && !keep {
		p.putBuffer(b)
	}
	return g
}

// GrowBuffer returns b with room for n more bytes. If b is too small, its content
// moves to a larger buffer of the loop's pool and b is recycled. Only the loop's
// goroutine and a task after Task.Enter may call it.
func (c *Conn) GrowBuffer(b []byte, n int) []byte { return c.r.bufs.growBuffer(b, n, false) }

// RecycleBuffer returns a buffer of GrowBuffer to the loop's pool. Views into it
// become invalid. It may be called after c has ended.
func (c *Conn) RecycleBuffer(b []byte) { c.r.bufs.putBuffer(b) }
