// Listening sockets that come from systemd or from the previous process, and those that go to the next one. See docs/decisions/008.

package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"tafe/app/admin"
	"tafe/loop/reactor"
)

// takeOver is the state of a process towards the previous and the next process.
type takeOver struct {
	inherited   *reactor.Inherited // nil: none
	before      bool               // inherited sockets are those of a process that still serves
	handover    *reactor.Handover  // to the next process; nil without server.handover
	adminSocket reactor.Socket     // of the admin listener, for the next process; FD 0: none
	handed      chan struct{}      // closed once the next process accepts in place of this one
}

// inherit receives the listening sockets of the process that serves server.handover, or those of systemd.
func (e *edge) inherit(ctx context.Context) (err error) {
	e.handed = make(chan struct{})
	files := activation.Files(true) // in any case, so that child processes do not use them
	if path := string(e.settings.Server.Handover); path != "" {
		e.inherited, err = reactor.Receive(ctx, path)
		if err == nil {
			e.before = true
			for _, f := range files { // the previous process has them
				_ = f.Close()
			}
			return nil
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	if len(files) == 0 {
		return nil
	}
	e.inherited, err = reactor.SystemdSockets(files)
	return err
}

// listenAdmin opens the admin listener, on an inherited socket if there is one.
func (e *edge) listenAdmin(addr string) error {
	ln, err := e.inherited.Listen(addr)
	if ln == nil && err == nil {
		ln, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return ListenError(addr, err)
	}
	e.admin = admin.On(ln)
	if e.settings.Server.Handover != "" {
		e.adminSocket, err = reactor.SocketOf(ln.(*net.TCPListener))
	}
	return err
}

// finishTakeOver is called when this process accepts connections. It stops the previous process and offers the sockets to the
// next one.
func (e *edge) finishTakeOver(ctx context.Context) error {
	if closed := e.inherited.CloseRest(); len(closed) > 0 {
		e.log.Warn("inherited sockets are not used", "closed", strings.Join(closed, ", "))
	}
	if e.before {
		// This comes first: the supervisor must know the new process before the previous one exits.
		notify(e.log, fmt.Sprintf("MAINPID=%d\n%s", os.Getpid(), daemon.SdNotifyReady))
		if err := e.inherited.Ready(ctx); err != nil {
			e.log.Error("the previous process may still accept connections", "error", err)
		} else {
			e.log.Info("took over from the previous process")
		}
	}
	path := string(e.settings.Server.Handover)
	if path == "" {
		return nil
	}
	h, err := reactor.ServeHandover(path, e.sockets, e.stopAccepting, func() { close(e.handed) }, e.log)
	switch {
	case err == nil:
		e.handover = h
	case e.before: // this process is the only one that accepts
		e.log.Error("the next process cannot take over", "error", err)
	default:
		return err
	}
	return nil
}

// sockets returns the listening sockets for the next process.
func (e *edge) sockets() []reactor.Socket {
	return append(e.server.Engine().Sockets(), e.adminSocket)
}

// stopAccepting leaves new connections to the next process, which polls the same sockets.
func (e *edge) stopAccepting() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := e.server.Engine().StopAccepting(ctx, true); err != nil {
		e.log.Warn("a held loop stops accepting when it is free", "error", err)
	}
	e.server.Engine().HandedOver()
	e.admin.StopAccepting()
}

// handedOver reports whether the next process accepts in place of this one.
func (e *edge) handedOver() bool {
	select {
	case <-e.handed:
		return true
	default:
		return false
	}
}

// endTakeOver stops offering sockets to a next process. It is called before the sockets of the server are closed.
func (e *edge) endTakeOver() {
	_ = e.inherited.Close()
	if e.handover != nil {
		_ = e.handover.Close()
		if e.handover.Offered() && e.server != nil {
			e.server.Engine().HandedOver() // the files of unix sockets are those of the process that is starting
		}
		e.handover = nil
	}
	if e.adminSocket.FD > 0 {
		_ = unix.Close(e.adminSocket.FD)
		e.adminSocket.FD = 0
	}
}
