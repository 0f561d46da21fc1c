package reactor

// Buffers for connection input and output, recycled per loop without locks. A
// buffer has one owner at a time; what is put back must not be viewed any more.

const (
	inputClass    = 1        // the first of an input: 1 KiB
	inputClassMax = 5        // 256 KiB
	bufferMin     = 256      // what a short request has room in, as long as it waits
	bufferClasses = 7        // 256 bytes, 1, 4, 16, 64, 256 KiB, and 1 MiB with room for a head
	outputMin     = 4 << 10  // of output: several answers, mostly, and soon given back
	bufferRoom    = 16 << 10 // of the last class beyond 1 MiB
	bufferKeepMax = 1 << 20
	bufferKeepMin = 16 // of a class
)

// bufferPool keeps at most bufferKeepMax bytes of each class, or bufferKeepMin
// buffers.
type bufferPool struct {
	free [bufferClasses][][]byte
}

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

// get returns an empty buffer with room for at least size bytes.
func (p *bufferPool) get(size int) []byte {
	class, capacity := classOf(size)
	if class >= bufferClasses {
		return make([]byte, 0, size)
	}
	return p.take(class, capacity)
}

// getClass returns an empty buffer of a class.
func (p *bufferPool) getClass(class int) []byte {
	return p.take(class, bufferMin<<(2*class)) // inputClassMax is below the last class
}

func (p *bufferPool) take(class, capacity int) []byte {
	if n := len(p.free[class]); n > 0 {
		b := p.free[class][n-1]
		p.free[class][n-1] = nil
		p.free[class] = p.free[class][:n-1]
		return b
	}
	return make([]byte, 0, capacity)
}

// put takes back a buffer of get's; others are left to the garbage collector.
func (p *bufferPool) put(b []byte) {
	class, capacity := classOf(cap(b))
	if class >= bufferClasses || capacity != cap(b) {
		return
	}
	if len(p.free[class]) < max(bufferKeepMax/capacity, bufferKeepMin) {
		p.free[class] = append(p.free[class], b[:0])
	}
}

// grow returns b with room for n more bytes, moved to a larger buffer if need
// be; keep tells that views into the old one are alive, so that it is not
// recycled.
func (p *bufferPool) grow(b []byte, n int, keep bool) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	// At least doubled, so that growing byte by byte stays linear.
	g := p.get(max(len(b)+n, 2*cap(b)))
	g = append(g, b...)
	if b != nil && !keep {
		p.put(b)
	}
	return g
}

// GrowBuffer returns b with room for n more bytes, moved into a larger buffer that
// the connections of the loop share if need be; b is recycled then. Only for the
// loop's goroutine and a task that has entered the loop.
func (c *Conn) GrowBuffer(b []byte, n int) []byte { return c.r.bufs.grow(b, n, false) }

// RecycleBuffer takes back a buffer of GrowBuffer, also once c has ended. Nothing may
// look at it any more.
func (c *Conn) RecycleBuffer(b []byte) { c.r.bufs.put(b) }
