// This file has the messages of a handover and their transfer over a unix stream
// socket. handover.go has the order in which they are sent.
//
// A message is its length in 4 bytes, big-endian, and a JSON object. A message of
// kind "sockets" carries one descriptor (SCM_RIGHTS) for each of its names.

package reactor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

const (
	messageVersion  = 1
	messageBytesMax = 512 << 10 // of the JSON; enough for messageFDMax names of nameBytesMax
	messageFDMax    = 253       // the kernel's SCM_MAX_FD
	nameBytesMax    = 255       // systemd's FDNAME_MAX
	socketsMax      = 4096      // in all messages together
)

// messageKind is the purpose of a message.
type messageKind string

const (
	kindSockets messageKind = "sockets" // predecessor: descriptors; the last such message has Last set
	kindReady   messageKind = "ready"   // successor: it accepts connections
	kindStopped messageKind = "stopped" // predecessor: it no longer accepts connections
	kindRefused messageKind = "refused" // predecessor: it refuses the handover; Reason says why
)

// handoverMessage is what the two processes of a handover send each other.
type handoverMessage struct {
	Version int         `json:"version"`
	Kind    messageKind `json:"kind"`
	Names   []string    `json:"names,omitempty"` // one for each descriptor, in order; see Socket.Name
	Last    bool        `json:"last,omitempty"`
	Reason  string      `json:"reason,omitempty"`
}

// appendMessage appends the length of m and m to b. It fails if m is longer than
// messageBytesMax.
func appendMessage(b []byte, m handoverMessage) ([]byte, error) {
	m.Version = messageVersion
	body, err := json.Marshal(m)
	if err != nil {
		return b, err
	}
	if len(body) > messageBytesMax {
		return b, fmt.Errorf("message of %d bytes, more than %d", len(body), messageBytesMax)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...), nil
}

// readMessage reads one message and no byte beyond it. The error is io.EOF if r
// ends before the message.
func readMessage(r io.Reader) (m handoverMessage, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return m, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > messageBytesMax {
		return m, fmt.Errorf("message of %d bytes, more than %d", n, messageBytesMax)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return m, noEOF(err)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return handoverMessage{}, fmt.Errorf("malformed message: %w", err)
	}
	if err := m.check(); err != nil {
		return handoverMessage{}, err
	}
	return m, nil
}

// noEOF turns io.EOF into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (m *handoverMessage) check() error {
	if m.Version != messageVersion {
		return fmt.Errorf("message of version %d, want %d", m.Version, messageVersion)
	}
	switch m.Kind {
	case kindSockets, kindReady, kindStopped, kindRefused:
	default:
		return fmt.Errorf("message of unknown kind %.20q", m.Kind)
	}
	if len(m.Names) > messageFDMax {
		return fmt.Errorf("message with %d sockets, more than %d", len(m.Names), messageFDMax)
	}
	for _, name := range m.Names {
		if len(name) > nameBytesMax {
			return fmt.Errorf("socket name of %d bytes, more than %d", len(name), nameBytesMax)
		}
	}
	return nil
}

// handoverPeer is the process at the other end of a handover's connection. It is
// not safe for concurrent use, except that any goroutine may close conn or set its
// deadline.
type handoverPeer struct {
	conn *net.UnixConn
	fds  []int // received with the message that is being read
	oob  []byte
}

// Read reads bytes and collects the descriptors that come with them.
func (p *handoverPeer) Read(b []byte) (int, error) {
	if p.oob == nil {
		p.oob = make([]byte, unix.CmsgSpace(4*messageFDMax))
	}
	n, oobn, flags, _, err := p.conn.ReadMsgUnix(b, p.oob)
	if oobn > 0 {
		fds, malformed := parseRights(p.oob[:oobn])
		p.fds = append(p.fds, fds...)
		if err == nil {
			err = malformed
		}
	}
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = errors.New("descriptors were lost: the limit of open files may be too low")
	}
	return n, err
}

// parseRights returns the descriptors in control messages. It returns those that it
// found also with an error.
func parseRights(oob []byte) (fds []int, err error) {
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	for _, c := range controls {
		got, failed := unix.ParseUnixRights(&c)
		if failed != nil {
			err = os.NewSyscallError("recvmsg", failed)
			continue
		}
		fds = append(fds, got...)
	}
	return fds, err
}

var errPeerEnded = errors.New("the process at the other end closed the connection")

// receive reads a message of the wanted kind and its descriptors, which become the
// caller's. With an error it returns no descriptors.
func (p *handoverPeer) receive(want messageKind) (m handoverMessage, fds []int, err error) {
	m, err = readMessage(p)
	fds, p.fds = p.fds, nil
	switch {
	case errors.Is(err, io.EOF):
		err = errPeerEnded
	case err != nil:
	case m.Kind == kindRefused:
		err = fmt.Errorf("refused: %s", m.Reason)
	case m.Kind != want:
		err = fmt.Errorf("message of kind %q, want %q", m.Kind, want)
	case len(fds) != len(m.Names):
		err = fmt.Errorf("message with %d descriptors for %d names", len(fds), len(m.Names))
	}
	if err != nil {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return handoverMessage{}, nil, err
	}
	return m, fds, nil
}

// send writes a message with copies of the descriptors fds.
func (p *handoverPeer) send(m handoverMessage, fds ...int) error {
	b, err := appendMessage(nil, m)
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := p.conn.WriteMsgUnix(b, oob, nil) // descriptors go with the first byte
	if err == nil && n < len(b) {
		_, err = p.conn.Write(b[n:])
	}
	return err
}

// uid returns the user id of the process at the other end (SO_PEERCRED).
func (p *handoverPeer) uid() (uint32, error) {
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var ucred *unix.Ucred
	if failed := raw.Control(func(fd uintptr) {
		ucred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); failed != nil {
		return 0, failed
	}
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return ucred.Uid, nil
}

// mayHandOver reports whether a process of user uid may exchange sockets with a
// process of user own.
func mayHandOver(uid, own uint32) bool { return uid == own || uid == 0 }
