// This file has the handover: a new process takes the listening sockets of an old
// one without losing a connection (docs/decisions/008). The new process, the
// successor, calls Receive, starts its Engine and calls Ready. The old one, the
// predecessor, runs a Handover. handover_message.go has the messages.
//
//	successor                      predecessor
//	connect              ------>   checks the user
//	                     <------   sockets, sockets, ... (last)
//	listens, starts its loops
//	ready                ------>   stops polling its sockets
//	                     <------   stopped
//	serves the path                drains
//
// Until "ready" the predecessor continues to serve, whatever the successor does.

package reactor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// messageMax is the time limit of one message.
	messageMax = 5 * time.Second
	// readyMax is the time limit for a successor to start, and for a predecessor to
	// stop accepting.
	readyMax = time.Minute
	// acceptPause is how long a Handover waits after a failed accept.
	acceptPause = 100 * time.Millisecond
)

// HandoverPathMax is the maximum length of a handover socket's path, in bytes. It
// leaves room in a unix address for the suffix of a temporary name.
const HandoverPathMax = 96

// Receive gets the listening sockets of the process that serves path
// (ServeHandover). It waits at most 5 seconds for each message, and ends early with
// ctx. If no process serves path, the error is os.ErrNotExist or ECONNREFUSED
// (errors.Is). The predecessor continues to serve until Ready, also if this process
// ends or calls Close before.
func Receive(ctx context.Context, path string) (*Inherited, error) {
	i, err := receive(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("handover socket %s: %w", path, err)
	}
	return i, nil
}

// receive is Receive without the wrapping of errors.
func receive(ctx context.Context, path string) (*Inherited, error) {
	dialer := net.Dialer{Timeout: messageMax}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	old := &handoverPeer{conn: conn.(*net.UnixConn)}
	files, err := old.receiveFiles(ctx)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	i, err := inheritFiles(files)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	i.predecessor = old
	return i, nil
}

// receiveFiles receives all sockets of a predecessor.
func (p *handoverPeer) receiveFiles(ctx context.Context) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			files = nil
		}
	}()
	uid, err := p.uid()
	if err != nil {
		return nil, err
	}
	if !mayHandOver(uid, uint32(os.Geteuid())) {
		return nil, fmt.Errorf("the process at the other end runs as user %d", uid)
	}
	for last := false; !last; {
		var m handoverMessage
		var fds []int
		err := p.withDeadline(ctx, messageMax, func() (err error) {
			m, fds, err = p.receive(kindSockets)
			return err
		})
		if err != nil {
			return files, err
		}
		for n, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), m.Names[n]))
		}
		if len(files) > socketsMax {
			return files, fmt.Errorf("more than %d sockets", socketsMax)
		}
		if last = m.Last; !last && len(fds) == 0 {
			return files, errors.New("message without sockets")
		}
	}
	return files, nil
}

// withDeadline calls do. The reads and writes of do fail after the timeout, or when
// ctx ends.
func (p *handoverPeer) withDeadline(ctx context.Context, timeout time.Duration, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = p.conn.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if !stop() && err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

// Ready tells the predecessor that this process accepts connections, and returns
// when the predecessor has stopped accepting, after at most about a minute. It
// returns nil at once if there is no predecessor. After an error the predecessor
// may have ended, or may continue to accept beside this process. Call it once.
func (i *Inherited) Ready(ctx context.Context) error {
	if i == nil || i.predecessor == nil {
		return nil
	}
	old := i.predecessor
	i.predecessor = nil
	defer func() { _ = old.conn.Close() }()
	err := old.withDeadline(ctx, messageMax, func() error { return old.send(handoverMessage{Kind: kindReady}) })
	if err == nil {
		err = old.withDeadline(ctx, readyMax, func() error {
			_, _, err := old.receive(kindStopped)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("handover: the old process did not confirm that it stopped accepting: %w", err)
	}
	i.completed.Store(true)
	return nil
}

// Handover serves the sockets of an Engine to a successor, one at a time. Any
// goroutine may call its methods.
type Handover struct {
	path          string
	listener      *net.UnixListener
	file          fs.FileInfo // the socket that this process put at path
	sockets       func() []Socket
	stopAccepting func()
	drain         func()
	log           *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the accept loop, and serve

	mu         sync.Mutex
	busy       bool // a successor has the sockets and is not ready
	offered    bool // a successor had them when Close was called
	handedOver bool // a successor was ready
}

// ServeHandover listens on a unix socket at path, an absolute path of at most
// HandoverPathMax bytes. It hands the sockets to a connecting process of the same
// user or root (Receive). It replaces an existing socket, so call it after Ready,
// or if Receive found no process.
//
// sockets returns the sockets. When the successor is ready, stopAccepting is
// called; it returns when no loop polls the sockets any more, and must not call
// Close. Then the successor receives the confirmation, and drain is called on a
// goroutine of its own. Both are called at most once, possibly before ServeHandover
// returns. The sockets must stay open until Close has returned or drain is called.
func ServeHandover(path string, sockets func() []Socket, stopAccepting, drain func(), log *slog.Logger) (*Handover, error) {
	listener, file, err := listenHandover(path)
	if err != nil {
		return nil, fmt.Errorf("handover socket %s: %w", path, err)
	}
	h := &Handover{
		path: path, listener: listener, file: file,
		sockets: sockets, stopAccepting: stopAccepting, drain: drain, log: log.With("path", path),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.wg.Go(h.acceptLoop)
	return h, nil
}

// listenHandover puts a socket of mode 0600 at path, atomically by a rename.
func listenHandover(path string) (*net.UnixListener, fs.FileInfo, error) {
	if !strings.HasPrefix(path, "/") || len(path) > HandoverPathMax {
		return nil, nil, fmt.Errorf("want an absolute path of at most %d bytes", HandoverPathMax)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, nil, errors.New("the file exists and is not a socket")
	}
	temporary := path + "." + strconv.Itoa(os.Getpid())
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if failed := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); failed != nil {
			return failed
		}
		return os.NewSyscallError("fchmod", err)
	}}
	ln, err := config.Listen(context.Background(), "unix", temporary)
	if err != nil {
		return nil, nil, err
	}
	listener := ln.(*net.UnixListener)
	listener.SetUnlinkOnClose(false)
	file, err := os.Lstat(temporary)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = listener.Close()
		_ = os.Remove(temporary)
		return nil, nil, err
	}
	return listener, file, nil
}

// Close stops listening and ends a handover that has not come to "ready". If
// stopAccepting is running, it waits for it. It removes the socket's file unless a
// successor has taken over.
func (h *Handover) Close() error {
	h.cancel()
	err := h.listener.Close()
	h.wg.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if errors.Is(err, net.ErrClosed) {
		return nil // the second call
	}
	if info, failed := os.Lstat(h.path); failed == nil && !h.handedOver && os.SameFile(info, h.file) {
		_ = os.Remove(h.path)
	}
	return err
}

// Offered reports whether a successor has received the sockets, has not failed, and
// is not ready. It may listen on them.
func (h *Handover) Offered() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.busy || h.offered
}

func (h *Handover) acceptLoop() {
	for {
		conn, err := h.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			h.log.Warn("handover: accept failed", "error", err)
			select {
			case <-h.ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		p := &handoverPeer{conn: conn}
		if reason := h.admit(p); reason != "" {
			h.log.Warn("handover refused", "reason", reason)
			_ = p.withDeadline(h.ctx, messageMax, func() error { return p.send(handoverMessage{Kind: kindRefused, Reason: reason}) })
			_ = conn.Close()
			continue
		}
		h.wg.Add(1)
		go func() {
			handed := h.serve(p)
			h.wg.Done()
			if handed {
				h.drain()
			}
		}()
	}
}

// admit makes p the successor, or returns why it refuses.
func (h *Handover) admit(p *handoverPeer) (reason string) {
	uid, err := p.uid()
	if err != nil {
		return err.Error()
	}
	if !mayHandOver(uid, uint32(os.Geteuid())) {
		return fmt.Sprintf("user %d may not take over", uid)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.handedOver {
		return "another process has taken over"
	}
	if h.busy {
		return "another process is taking over"
	}
	h.busy = true
	return ""
}

// serve hands the sockets to a successor. It reports whether the successor was
// ready and accepting has stopped.
func (h *Handover) serve(p *handoverPeer) bool {
	defer func() { _ = p.conn.Close() }()
	sockets := h.sockets()
	err := h.offer(p, sockets)
	h.mu.Lock()
	h.busy = false
	h.handedOver = err == nil
	h.offered = err != nil && h.ctx.Err() != nil
	h.mu.Unlock()
	if err != nil {
		h.log.Warn("handover failed", "error", err)
		return false
	}
	h.stopAccepting()
	if err := p.withDeadline(h.ctx, messageMax, func() error { return p.send(handoverMessage{Kind: kindStopped}) }); err != nil {
		h.log.Warn("handover: the successor did not receive the confirmation", "error", err)
	}
	h.log.Info("a successor has taken over", "sockets", len(sockets))
	return true
}

// offer sends the sockets and waits for "ready".
func (h *Handover) offer(p *handoverPeer, sockets []Socket) error {
	if len(sockets) > socketsMax {
		return fmt.Errorf("%d sockets, more than %d", len(sockets), socketsMax)
	}
	for last := false; !last; {
		part := sockets[:min(len(sockets), messageFDMax)]
		sockets = sockets[len(part):]
		last = len(sockets) == 0
		m := handoverMessage{Kind: kindSockets, Last: last}
		var fds []int
		for _, s := range part {
			m.Names, fds = append(m.Names, s.Name), append(fds, s.FD)
		}
		if err := p.withDeadline(h.ctx, messageMax, func() error { return p.send(m, fds...) }); err != nil {
			return err
		}
	}
	return p.withDeadline(h.ctx, readyMax, func() error {
		_, _, err := p.receive(kindReady)
		return err
	})
}
