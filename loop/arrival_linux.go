package loop

// Since when have the bytes that were just read been waiting? The kernel notes
// for each TCP socket the tick at which data last arrived: an estimate for the
// bytes, good to half a tick (2 ms where a tick is 4 ms).

import "golang.org/x/sys/unix"

// arrivedAt estimates the loop clock time at which data last arrived on a TCP
// socket; now is the loop clock. It is now where the kernel does not know. One
// getsockopt and two readings of coarse clocks: 2 us.
func arrivedAt(fd int, now int64) int64 {
	if fd < 0 {
		return now
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return now
	}
	var tick, sinceTick unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &sinceTick) != nil ||
		unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick) != nil {
		return now
	}
	var exact unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &exact) != nil {
		return now
	}
	// Both are counted in ticks: it was in the tick that began then.
	began := now - (exact.Nano() - sinceTick.Nano()) - int64(info.Last_data_recv)*1e6
	return min(began+tick.Nano()/2, now)
}
