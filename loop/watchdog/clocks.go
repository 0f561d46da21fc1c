// CPU clocks of threads and of the process, and the time that threads waited for a CPU.

package watchdog

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// clocks reads them. It keeps descriptors of /proc files open: a reading takes 1.5 us instead of 12
// us. It is for one goroutine.
type clocks struct {
	delays map[int]int // thread id -> descriptor of its schedstat
	buf    [128]byte
}

const delaysMax = 256

// thread returns a thread's CPU time and its time on the kernel's run queue, in ns.
func (c *clocks) thread(tid int) (cpu, delay int64, ok bool) {
	cpu, ok = threadCPU(tid)
	if !ok {
		return 0, 0, false
	}
	return cpu, c.delay(tid), true
}

// delay returns a thread's time on the kernel's run queue in ns, or 0 if the kernel does not
// account for it.
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
	if err != nil || n <= 0 { // the thread has ended
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

// state returns a thread's scheduling state as in ps, or 'S' if it cannot be read.
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

// threadCPU returns the CPU time of a thread of this process, in ns.
func threadCPU(tid int) (int64, bool) {
	var ts unix.Timespec
	if tid <= 0 || unix.ClockGettime(int32((^tid)<<3|6), &ts) != nil {
		return 0, false
	}
	return ts.Nano(), true
}

// processCPU returns the CPU time of all threads, in ns.
func processCPU() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return ts.Nano()
}

func threadID() int { return unix.Gettid() }
