// System calls whose first argument is the descriptor they operate on.

package watchdog

import (
	"strconv"

	"golang.org/x/sys/unix"
)

var descriptorCalls = func() map[string]bool {
	calls := map[string]bool{}
	for _, n := range []int{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64,
		unix.SYS_RECVFROM, unix.SYS_SENDTO, unix.SYS_RECVMSG, unix.SYS_SENDMSG, unix.SYS_CONNECT, unix.SYS_ACCEPT,
		unix.SYS_ACCEPT4, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SENDFILE, unix.SYS_FLOCK,
	} {
		calls[strconv.Itoa(n)] = true
	}
	return calls
}()
