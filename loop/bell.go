package loop

// The bell: how a reactor is woken. See docs/decisions/004.

import (
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// bell is a socket pair into a reactor. A byte on it makes the reactor call
// Turn with the next batch of events; gnet's own Execute would run it before
// the I/O that is waiting, and starve it when repeated.
type bell struct {
	fd   int // our end
	mu   sync.RWMutex
	gone bool
}

var ding = []byte{1}

func (b *bell) ring() {
	b.mu.RLock()
	if !b.gone {
		_, _ = unix.Write(b.fd, ding) // EAGAIN: enough bytes are waiting
	}
	b.mu.RUnlock()
}

func socketPair() (own int, theirs net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("loop: socketpair: %w", err)
	}
	f := os.NewFile(uintptr(fds[1]), "bell")
	defer func() { _ = f.Close() }()
	theirs, err = net.FileConn(f)
	if err != nil {
		_ = unix.Close(fds[0])
		return -1, nil, fmt.Errorf("loop: socketpair: %w", err)
	}
	return fds[0], theirs, nil
}
