package reactor

import (
	"context"
	"encoding/binary"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestNoPredecessor(t *testing.T) {
	dir := t.TempDir()
	_, err := Receive(t.Context(), filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	path := filepath.Join(dir, "stale")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false)
	require.NoError(t, ln.Close())
	_, err = Receive(t.Context(), path)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
}

func TestSuccessorFailsBeforeReady(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "handover")
	serve := filepath.Join(dir, "serve")
	old := startProgram(t, path, 1, 2, "127.0.0.1:0", unixPrefix+serve)
	addr := old.listens[0].addr
	for _, fail := range []func(i *Inherited){
		func(i *Inherited) { require.NoError(t, i.Close()) }, // before it listened
		func(i *Inherited) { // after
			all, err := listen(wanted(addr.String(), unixPrefix+serve), 1, i)
			require.NoError(t, err)
			for _, l := range all {
				l.close()
			}
			require.NoError(t, i.Close())
		},
		func(i *Inherited) { // another address is taken
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer func() { _ = taken.Close() }()
			_, err = listen(wanted(unixPrefix+serve, taken.Addr().String()), 1, i)
			require.ErrorIs(t, err, unix.EADDRINUSE)
			require.NoError(t, i.Close())
		},
	} {
		i := receiveWhenFree(t, path)
		fail(i)
		for _, l := range old.listens {
			number, err := ask(l.addr)
			require.NoError(t, err)
			require.EqualValues(t, 1, number)
		}
	}
	receiveWhenFree(t, path).Close()
	old.end()
}

// receiveWhenFree retries Receive while the predecessor is busy with an earlier
// successor.
func receiveWhenFree(t *testing.T, path string) *Inherited {
	deadline := time.Now().Add(waitMax)
	for {
		i, err := Receive(t.Context(), path)
		if err == nil {
			return i
		}
		require.ErrorContains(t, err, "another process is taking over")
		require.True(t, time.Now().Before(deadline))
		runtime.Gosched()
	}
}

// offering serves sockets that no loop polls.
func offering(t *testing.T, sockets []Socket) (h *Handover, path string) {
	path = filepath.Join(t.TempDir(), "handover")
	never := func() { t.Error("no successor was ready") }
	h, err := ServeHandover(path, func() []Socket { return sockets }, never, never, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return h, path
}

func TestOneSuccessorAtATime(t *testing.T) {
	h, path := offering(t, socketsOf(listenOn(t, 2, nil, "127.0.0.1:0")))
	first, err := Receive(t.Context(), path)
	require.NoError(t, err)
	_, err = Receive(t.Context(), path)
	require.ErrorContains(t, err, "another process is taking over")
	require.NoError(t, h.Close(), "with a successor that waits")
	require.ErrorContains(t, first.Ready(t.Context()), "did not confirm")
	require.NoError(t, first.Close())
	require.NoError(t, h.Close(), "once more")
	require.NoFileExists(t, path)
}

func TestNoSecondSuccessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	stopped, drain := make(chan struct{}), make(chan struct{})
	h, err := ServeHandover(path, func() []Socket { return nil }, func() { close(stopped) }, func() { close(drain) }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	i, err := Receive(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, i.Ready(t.Context()))
	<-stopped
	<-drain
	_, err = Receive(t.Context(), path)
	require.ErrorContains(t, err, "another process has taken over")
	require.NoError(t, h.Close())
	require.FileExists(t, path, "the successor replaces it")
}

// There are more sockets, with names, than one message carries.
func TestManySockets(t *testing.T) {
	s := listenOn(t, 1, nil, "127.0.0.1:0")[0].sockets[0]
	for _, n := range []int{0, 1, messageFDMax, messageFDMax + 1, 3*messageFDMax - 1} {
		sockets := make([]Socket, n)
		for i := range sockets {
			sockets[i] = Socket{FD: s.FD, Name: string(make([]byte, nameBytesMax))} // NUL takes six bytes in JSON
		}
		h, path := offering(t, sockets)
		before := openFiles(t)
		i, err := Receive(t.Context(), path)
		require.NoError(t, err)
		require.Len(t, i.sockets, n)
		if n > 0 {
			require.Equal(t, s.Addr.String(), i.sockets[n-1].Addr.String())
			require.Equal(t, sockets[n-1].Name, i.sockets[n-1].Name)
		}
		require.Len(t, i.CloseRest(), n)
		require.NoError(t, i.Close())
		require.NoError(t, h.Close())
		require.LessOrEqual(t, openFiles(t), before)
	}
}

func TestReceiveEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	ln, err := net.Listen("unix", path) // accepts and says nothing
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		c, err := ln.Accept()
		if err == nil {
			defer func() { _ = c.Close() }()
			cancel()
			_, _ = c.Read(make([]byte, 1))
		}
	})
	_, err = Receive(ctx, path)
	require.ErrorIs(t, err, context.Canceled)
}

// raw handles one connection at a path with do.
func raw(t *testing.T, do func(p *handoverPeer)) (path string) {
	path = filepath.Join(t.TempDir(), "handover")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		do(&handoverPeer{conn: c})
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
	})
	return path
}

func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestReceiveErrors(t *testing.T) {
	listening := listenOn(t, 1, nil, "127.0.0.1:0")[0].sockets[0].FD
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { _ = unix.Close(null) }()
	for _, c := range []struct {
		bytes []byte
		fds   []int
		text  string
		why   string
	}{
		{nil, nil, "closed the connection", "nothing"},
		{[]byte{0, 0}, nil, "closed the connection", "half a length"},
		{[]byte{0, 0, 1, 0, '{'}, []int{listening}, "unexpected EOF", "half a message, with a descriptor"},
		{[]byte{0xff, 0xff, 0xff, 0xff}, nil, "message of 4294967295 bytes", "too long"},
		{frame(`[]`), []int{listening}, "malformed message", "no object"},
		{frame(`{"version":2,"kind":"sockets","names":[""],"last":true}`), []int{listening}, "message of version 2, want 1", "another version"},
		{frame(`{"version":1,"kind":"adieu"}`), nil, `unknown kind "adieu"`, "unknown kind"},
		{frame(`{"version":1,"kind":"ready"}`), nil, `message of kind "ready", want "sockets"`, "out of order"},
		{frame(`{"version":1,"kind":"refused","reason":"no"}`), nil, "refused: no", "a refusal"},
		{frame(`{"version":1,"kind":"sockets","names":["",""],"last":true}`), []int{listening}, "1 descriptors for 2 names", "a descriptor is missing"},
		{frame(`{"version":1,"kind":"sockets","names":[],"last":true}`), []int{listening}, "1 descriptors for 0 names", "one too many"},
		{frame(`{"version":1,"kind":"sockets"}`), nil, "message without sockets", "an empty message that is not the last"},
		{frame(`{"version":1,"kind":"sockets","names":["null"],"last":true}`), []int{null}, "socket operation on non-socket", "no socket"},
	} {
		path := raw(t, func(p *handoverPeer) {
			var oob []byte
			if len(c.fds) > 0 {
				oob = unix.UnixRights(c.fds...)
			}
			if len(c.bytes) > 0 {
				_, _, err := p.conn.WriteMsgUnix(c.bytes, oob, nil)
				require.NoError(t, err)
			}
		})
		before := openFiles(t)
		_, err := Receive(t.Context(), path)
		require.ErrorContains(t, err, c.text, c.why)
		require.ErrorContains(t, err, path, c.why)
		require.LessOrEqual(t, openFiles(t), before+1, "descriptors stay open: %s", c.why) // the other side may not have closed yet
	}
}

// Invalid messages of a successor do not change the predecessor.
func TestHandoverSurvivesMalformedMessages(t *testing.T) {
	h, path := offering(t, socketsOf(listenOn(t, 2, nil, "127.0.0.1:0")))
	for _, b := range [][]byte{
		nil, {0}, {0xff, 0xff, 0xff, 0xff}, frame("x"), frame(`{"version":9,"kind":"ready"}`), frame(`{"version":1,"kind":"stopped"}`),
	} {
		i := receiveWhenFree(t, path)
		_, err := i.predecessor.conn.Write(b)
		require.NoError(t, err)
		require.NoError(t, i.Close())
	}
	i := receiveWhenFree(t, path) // and descriptors that come with "ready"
	b, err := appendMessage(nil, handoverMessage{Kind: kindReady})
	require.NoError(t, err)
	_, _, err = i.predecessor.conn.WriteMsgUnix(b, unix.UnixRights(i.sockets[0].FD), nil)
	require.NoError(t, err)
	_, err = i.predecessor.conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, i.Close())
	require.NoError(t, h.Close())
}

func TestServeHandoverPath(t *testing.T) {
	dir := t.TempDir()
	file, missing := filepath.Join(dir, "file"), filepath.Join(dir, "missing", "s")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	for _, c := range []struct{ path, text, why string }{
		{"handover", "absolute", "relative"},
		{"@handover", "absolute", "abstract: others could not be kept from it"},
		{"/" + string(make([]byte, HandoverPathMax)), "at most 96 bytes", "too long for an address"},
		{file, "not a socket", "a regular file"},
		{missing, "no such file", "no directory"},
	} {
		_, err := ServeHandover(c.path, nil, nil, nil, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, c.text, c.why)
	}
	require.FileExists(t, file)
}

func TestHandoverSocketMode(t *testing.T) {
	h, path := offering(t, nil)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket|0o600, info.Mode())
	require.NoError(t, h.Close())
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, left)
}

// Close of a Handover leaves the socket of a successor in place.
func TestReplacedHandoverKeepsPath(t *testing.T) {
	old, path := offering(t, nil)
	next, err := ServeHandover(path, func() []Socket { return nil }, func() {}, func() {}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NoError(t, old.Close())
	require.FileExists(t, path)
	require.NoError(t, next.Close())
	require.NoFileExists(t, path)
}

func TestMayHandOver(t *testing.T) {
	require.True(t, mayHandOver(1000, 1000), "the same user")
	require.True(t, mayHandOver(0, 1000), "root")
	require.False(t, mayHandOver(1000, 0), "another user from root")
	require.False(t, mayHandOver(1001, 1000), "another user")
}

// A process of another user that can open the socket is refused, in both
// directions.
func TestAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	const nobody = 65534
	path := filepath.Join("/tmp", "tafe-handover-test-"+filepath.Base(t.TempDir())+filepath.Base(filepath.Dir(t.TempDir())))
	never := func() { t.Error("no successor was ready") }
	h, err := ServeHandover(path, func() []Socket { return nil }, never, never, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o666))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	asUser(t, nobody, func() { err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
	require.NoError(t, err)
	file := os.NewFile(uintptr(fd), "")
	conn, err := net.FileConn(file)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	m, err := readMessage(conn)
	require.NoError(t, err)
	require.Equal(t, kindRefused, m.Kind)
	require.Contains(t, m.Reason, "user 65534 may not take over")
	require.NoError(t, conn.Close())
	require.NoError(t, h.Close())

	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) // listens as nobody, where a successor looks
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	defer func() { _ = os.Remove(path) }()
	asUser(t, nobody, func() { err = unix.Listen(fd, 1) })
	require.NoError(t, err)
	_, err = Receive(t.Context(), path)
	require.ErrorContains(t, err, "as user 65534")
}

// asUser calls do on a separate thread with another effective user. The thread ends
// with it.
func asUser(t *testing.T, uid int, do func()) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread is not used again
		const same = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
			done <- errno
			return
		}
		do()
		done <- nil
	}()
	require.NoError(t, <-done)
}

// A listener outside of the engine is handed over with those of the engine.
func TestHandoverOfOtherListeners(t *testing.T) {
	old, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := old.Addr().String()
	socket, err := SocketOf(old.(*net.TCPListener))
	require.NoError(t, err)
	h, path := offering(t, []Socket{socket})
	i, err := Receive(t.Context(), path)
	require.NoError(t, err)
	ln, err := i.Listen("127.0.0.1:1")
	require.NoError(t, err)
	require.Nil(t, ln, "another address")
	ln, err = i.Listen(addr)
	require.NoError(t, err)
	require.Empty(t, i.CloseRest())
	require.NoError(t, old.Close())
	require.NoError(t, unix.Close(socket.FD))
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	accepted, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, accepted.Close())
	require.NoError(t, c.Close())
	require.NoError(t, ln.Close())
	_, err = i.Listen("no address")
	require.Error(t, err)
	none := (*Inherited)(nil)
	ln, err = none.Listen(addr)
	require.NoError(t, err)
	require.Nil(t, ln)
	require.NoError(t, i.Close())
	require.NoError(t, h.Close())
}
