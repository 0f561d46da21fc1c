package reactor

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop/testrig"
)

// program stands for a process: it answers each connection with its number, and
// serves a handover.
type program struct {
	t        *testing.T
	number   byte
	listens  []*listening
	sockets  int
	handover *Handover
	stop     func()        // stops accepting, and returns when that has stopped
	serving  chan struct{} // closed when handover is set
	drained  chan struct{} // closed by drain
}

// startProgram takes over from the program that serves path, if there is one.
func startProgram(t *testing.T, path string, number byte, loops int, addrs ...string) *program {
	inherited, err := Receive(t.Context(), path)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	p := &program{t: t, number: number, serving: make(chan struct{}), drained: make(chan struct{})}
	p.listens, err = listen(wanted(addrs...), loops, inherited)
	require.NoError(t, err)
	p.sockets = len(socketsOf(p.listens))
	require.Empty(t, inherited.CloseRest())
	p.accept(loops)
	require.NoError(t, inherited.Ready(t.Context()))
	p.handover, err = ServeHandover(path, func() []Socket { return socketsOf(p.listens) }, p.stop, p.drain, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	close(p.serving)
	return p
}

// accept runs a loop for each list of descriptors, which polls and then accepts
// until the queue is empty.
func (p *program) accept(loops int) {
	var wg sync.WaitGroup
	ends := make([]int, 0, loops)
	for i := range loops {
		end, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		require.NoError(p.t, err)
		ends = append(ends, end)
		polled := []unix.PollFd{{Fd: int32(end), Events: unix.POLLIN}}
		for _, l := range p.listens {
			for _, fd := range l.fds[i] {
				polled = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
		}
		wg.Go(func() { p.loop(polled) })
	}
	p.stop = sync.OnceFunc(func() {
		for _, end := range ends {
			_, _ = unix.Write(end, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
		wg.Wait()
		for _, end := range ends {
			_ = unix.Close(end)
		}
	})
}

func (p *program) loop(polled []unix.PollFd) {
	for {
		if _, err := unix.Poll(polled, -1); err != nil {
			continue // EINTR
		}
		if polled[0].Revents != 0 {
			return
		}
		for _, one := range polled[1:] {
			if one.Revents == 0 {
				continue
			}
			if c, _, err := unix.Accept4(int(one.Fd), unix.SOCK_CLOEXEC); err == nil {
				_, _ = unix.Write(c, []byte{p.number})
				_ = unix.Close(c)
			}
		}
	}
}

// drain is the callback of ServeHandover. A program has no connections, so it ends.
func (p *program) drain() {
	<-p.serving
	for _, l := range p.listens {
		l.markHandedOver()
	}
	p.end()
	close(p.drained)
}

// end ends a program, also one without a successor.
func (p *program) end() {
	_ = p.handover.Close()
	p.stop()
	for _, l := range p.listens {
		l.close()
	}
}

func (p *program) awaitDrained() {
	select {
	case <-p.drained:
	case <-time.After(waitMax):
		p.t.Fatal("no drain")
	}
}

// ask returns the number of the program that answers.
func ask(addr net.Addr) (byte, error) {
	c, err := net.DialTimeout(addr.Network(), addr.String(), waitMax)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(waitMax))
	b, err := io.ReadAll(c)
	if err == nil && len(b) != 1 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// crowd connects at a fixed rate until it is stopped, each time anew. While all its
// clients wait for an answer, it skips connections.
func crowd(addr net.Addr, perSecond int) (stop func() (asked int64, failed []error)) {
	const clients = 64
	var asked atomic.Int64
	var mu sync.Mutex
	var failed []error
	due, ended := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range due {
				asked.Add(1)
				if _, err := ask(addr); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Go(func() {
		defer close(due)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		start := time.Now()
		for begun := 0; ; {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			for wanted := int(time.Since(start).Seconds() * float64(perSecond)); begun < wanted; begun++ {
				select {
				case due <- struct{}{}:
				default: // all wait
				}
			}
		}
	})
	return func() (int64, []error) {
		close(ended)
		wg.Wait()
		return asked.Load(), failed
	}
}

// awaitAnswers waits until one client has had n answers.
func awaitAnswers(t *testing.T, addr net.Addr, n int) {
	for range n {
		_, err := ask(addr)
		require.NoError(t, err)
	}
}

func TestHandoverLosesNoConnection(t *testing.T) {
	const (
		handovers = 10
		perSecond = 2000
		between   = 500 // answers of one client that asks one after the other
	)
	for _, c := range []struct {
		loops []int // by turns
		unix  bool
		why   string
	}{
		{loops: []int{2}, why: "as many sockets as loops"},
		{loops: []int{1, 4}, why: "loops share a socket"},
		{loops: []int{4, 1}, why: "a loop has several sockets"},
		{loops: []int{2}, unix: true, why: "a unix socket"},
	} {
		t.Run(c.why, func(t *testing.T) {
			dir := t.TempDir()
			path, addr := filepath.Join(dir, "handover"), "127.0.0.1:"+testrig.Port(t)
			if c.unix {
				addr = unixPrefix + filepath.Join(dir, "serve")
			}
			now := startProgram(t, path, 0, c.loops[0], addr)
			bound := now.listens[0].addr
			stop := crowd(bound, perSecond)
			for n := 1; n <= handovers; n++ {
				awaitAnswers(t, bound, between)
				next := startProgram(t, path, byte(n), c.loops[n%len(c.loops)], addr)
				require.Equal(t, now.sockets, next.sockets, "none is left behind")
				now.awaitDrained()
				now = next
			}
			asked, failed := stop()
			t.Logf("%d connections, %d handovers: %d failed", asked, handovers, len(failed))
			require.Empty(t, failed)
			require.Positive(t, asked)
			number, err := ask(bound)
			require.NoError(t, err)
			require.EqualValues(t, handovers, number)
			now.end()
			require.NoFileExists(t, path)
			if c.unix {
				require.NoFileExists(t, addr[len(unixPrefix):], "the last one removes it")
			}
		})
	}
}

// After "stopped" the old program gets no connection, although its sockets are
// open.
func TestPredecessorStopsAcceptingAfterReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	old := startProgram(t, path, 1, 2, "127.0.0.1:0")
	addr := old.listens[0].addr
	next := startProgram(t, path, 2, 2, addr.String())
	for range 50 {
		number, err := ask(addr)
		require.NoError(t, err)
		require.EqualValues(t, 2, number)
	}
	old.awaitDrained()
	next.end()
}
