package watchdog

// The clocks of threads and of the process, and the time a thread waited for a
// CPU.

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// clocks reads them. Descriptors of /proc files are kept open: 1.5 us a reading
// instead of 12. For one goroutine.
type clocks struct {
	delays map[int]int // thread id -> descriptor of its schedstat
	buf    [128]byte
}

const delaysMax = 256

// thread reads a thread's CPU time and its time on the run queue, in ns.
func (c *clocks) thread(tid int) (cpu, delay int64, ok bool) {
	cpu, ok = threadCPU(tid)
	if !ok {
		return 0, 0, false
	}
	return cpu, c.delay(tid), true
}

// delay reads a thread's time on the run queue; 0 where it is not accounted.
func (c *clocks) delay(tid int) int64 {
	fd, found := c.delays[tid]
	if !found {
		if len(c.delays) >= delaysMax {
			c.close()
		}
		var err error
		fd, err = unix.Open("/proc/self/task/"+strconv.Itoa(tid)+"/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0
		}
		if c.delays == nil {
			c.delays = map[int]int{}
		}
		c.delays[tid] = fd
	}
	n, err := unix.Pread(fd, c.buf[:], 0)
	if err != nil || n <= 0 { // the thread has ended and its number lives on
		_ = unix.Close(fd)
		delete(c.delays, tid)
		return 0
	}
	return secondField(c.buf[:n])
}

func secondField(line []byte) (v int64) {
	i := bytes.IndexByte(line, ' ') + 1
	for ; i > 0 && i < len(line) && line[i] >= '0' && line[i] <= '9'; i++ {
		v = v*10 + int64(line[i]-'0')
	}
	return v
}

// state is a thread's scheduling state, as in ps.
func (c *clocks) state(tid int) byte {
	fd, err := unix.Open("/proc/self/task/"+strconv.Itoa(tid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 'S'
	}
	defer func() { _ = unix.Close(fd) }()
	n, err := unix.Read(fd, c.buf[:])
	if err != nil {
		return 'S'
	}
	if i := bytes.LastIndexByte(c.buf[:n], ')'); i >= 0 && i+2 < n {
		return c.buf[i+2]
	}
	return 'S'
}

func (c *clocks) close() {
	for _, fd := range c.delays {
		_ = unix.Close(fd)
	}
	clear(c.delays)
}

// threadCPU reads the CPU clock of any thread of this process.
func threadCPU(tid int) (int64, bool) {
	var ts unix.Timespec
	if tid <= 0 || unix.ClockGettime(int32((^tid)<<3|6), &ts) != nil {
		return 0, false
	}
	return ts.Nano(), true
}

// processCPU is the CPU time of all threads, in ns.
func processCPU() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return ts.Nano()
}

func threadID() int { return unix.Gettid() }
