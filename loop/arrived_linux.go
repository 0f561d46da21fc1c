package loop

// What a pool asks of a connection before it uses it again.

import (
	"syscall"
	"unsafe"
)

// Arrived tells, without waiting, whether a Read would find anything: bytes, an
// end or an error, here or still in the socket. Loop goroutine or its tasks.
func (n *netConn) Arrived() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.ended != nil || n.bulk != nil || n.got < len(n.in) {
		return true
	}
	fd := n.conn.transport.Fd()
	if fd < 0 {
		return false
	}
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return errno != syscall.EAGAIN
}
