package loop

// Streams that enter a reactor after it has started, and that leave it alive:
// the second half of the gnet adapter. It does not know what for.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// enroller is a Driver that takes streams.
type enroller interface {
	// Enroll hands stream to the loop, for good: also after an error it is closed
	// here. opened is called on the loop with its Transport; the Conn it returns
	// gets the stream's events, nil drops it. old is the Transport that the stream
	// had before, nil for an outbound connection. Waits: for no loop's goroutine.
	Enroll(stream net.Conn, old Transport, opened func(Transport) *Conn) error
}

// direct is a Transport that another goroutine can use by Loop.beside.
type direct interface {
	Receive(p []byte) (int, error)
	Send(first, then []byte) int
}

// detacher is a Transport whose stream can leave its loop. Loop goroutine only.
type detacher interface {
	// Detach gives the stream away; the Transport is dead then, and no Hangup
	// follows.
	Detach() (net.Conn, error)
	// Release tells that the stream ended where it was given to.
	Release()
}

// socket is the Transport of a gnet connection.
type socket struct {
	gc      gnet.Conn
	reactor *reactor
	count   *atomic.Int64 // where the engine counts it
	remote  net.Addr      // the client's, where a balancer has told it
}

func (s *socket) Write(p []byte) (int, error) { return s.gc.Write(p) }
func (s *socket) Unsent() int                 { return s.gc.OutboundBuffered() }
func (s *socket) CloseWrite() error           { return unix.Shutdown(s.gc.Fd(), unix.SHUT_WR) }
func (s *socket) LocalAddr() net.Addr         { return s.gc.LocalAddr() }
func (s *socket) Fd() int                     { return s.gc.Fd() }

func (s *socket) RemoteAddr() net.Addr {
	if s.remote != nil {
		return s.remote
	}
	return s.gc.RemoteAddr()
}

// Close ends the stream with a FIN, or, after an error of its Conn, with a
// reset: a FIN may say that all has been sent.
func (s *socket) Close() error {
	if c := connOf(s.gc); c != nil && c.cause != nil {
		_ = s.gc.SetLinger(0)
	}
	return s.reactor.event.Close(s.gc)
}

// connOf is the Conn of a gnet connection, nil if it has none.
func connOf(gc gnet.Conn) *Conn {
	switch v := gc.Context().(type) {
	case *Conn:
		return v
	case *TLSStream:
		return v.conn
	}
	return nil
}

// Detach duplicates the descriptor and lets gnet drop its own: no FIN is sent
// while the duplicate lives.
func (s *socket) Detach() (net.Conn, error) {
	fd, err := unix.FcntlInt(uintptr(s.gc.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("loop: detach: %w", err)
	}
	f := os.NewFile(uintptr(fd), "detached")
	stream, err := net.FileConn(f) // duplicates once more
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("loop: detach: %w", err)
	}
	s.gc.SetContext(nil) // OnClose has nothing to tell
	_ = s.reactor.event.Close(s.gc)
	return stream, nil
}

func (s *socket) Release() { s.count.Add(-1) }

// Receive reads from the socket itself, as the goroutine of Loop.beside. n is 0
// when nothing waits; the end of the stream is io.EOF.
func (s *socket) Receive(p []byte) (n int, err error) {
	n, err = unix.Read(s.gc.Fd(), p)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, nil
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Send writes of both, one after the other, what the socket takes at once: as the
// goroutine of Loop.beside, or kept apart from those. Errors are left to the loop's
// own next write.
func (s *socket) Send(first, then []byte) (n int) {
	if s.gc.OutboundBuffered() > 0 {
		return 0
	}
	switch fd := s.gc.Fd(); {
	case len(then) == 0:
		n, _ = unix.Write(fd, first)
	case len(first) == 0:
		n, _ = unix.Write(fd, then)
	default:
		n, _ = unix.Writev(fd, [][]byte{first, then})
	}
	return max(n, 0)
}

// enrollment is the context of a stream on its way into a reactor.
type enrollment struct {
	count  *atomic.Int64
	opened func(Transport) *Conn
	secure *TLSStream // that comes back to its loop
	remote net.Addr   // as socket has it
	called bool       // read after gnet's answer
}

func (r *reactor) Enroll(stream net.Conn, old Transport, opened func(Transport) *Conn) error {
	count := &r.engine.dialed
	en := &enrollment{opened: opened}
	switch o := old.(type) {
	case *socket:
		count, en.remote = o.count, o.remote
	case *TLSStream:
		under := o.under.(*socket)
		count, stream, en.secure, en.remote = under.count, o.wire.raw, o, under.remote
	}
	en.count = count
	answer, err := r.event.Enroll(gnet.NewContext(context.Background(), en), stream)
	if err != nil {
		_ = stream.Close()
		return fmt.Errorf("loop: enroll: %w", err)
	}
	select {
	case a := <-answer:
		if a.Err != nil {
			return fmt.Errorf("loop: enroll: %w", a.Err)
		}
		if !en.called {
			return errors.New("loop: enroll: the poller refused the descriptor")
		}
		return nil
	case <-r.engine.exited:
		return ErrClosed
	}
}

func (r *reactor) reserveDial() bool {
	if r.engine.dialed.Add(1) > int64(r.engine.config.DialMax) {
		r.engine.dialed.Add(-1)
		return false
	}
	return true
}

func (r *reactor) releaseDial() { r.engine.dialed.Add(-1) }

func (r *reactor) keep(b *Bulk) { r.engine.strays.Store(b, struct{}{}) }

func (r *reactor) forget(b *Bulk) { r.engine.strays.Delete(b) }

// Current is the directory's: tasks of all loops.
func (r *reactor) Current() *Task { return r.engine.Current() }

// open is OnOpen for an enrolled stream.
func (en *enrollment) open(r *reactor, gc gnet.Conn) gnet.Action {
	en.called = true
	gc.SetContext(nil)
	r.loop.enter()
	defer r.loop.leave()
	s := &socket{gc: gc, reactor: r, count: en.count, remote: en.remote}
	if en.secure == nil {
		c := en.opened(s)
		if c == nil {
			return gnet.Close
		}
		gc.SetContext(c)
		return gnet.None
	}
	en.secure.reattach(s)
	gc.SetContext(en.secure)
	if en.opened(en.secure) == nil {
		gc.SetContext(nil)
		return gnet.Close
	}
	en.secure.pump() // what it had decrypted, or received, and nobody has read
	return gnet.None
}
