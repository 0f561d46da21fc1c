// This file has tlsStream, the Transport of a TLS connection, above the Transport
// of its socket. It decrypts into the buffers of the Conn and holds a bounded
// amount of encrypted output. tls.go has the handshake, tlsbelow.go the net.Conn of the
// session.

package reactor

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"unsafe"

	"tafe/loop"
)

type tlsState uint8

const (
	tlsFresh       tlsState = iota // no byte was received
	tlsHandshaking                 // the task of the handshake exists
	tlsOpen
	tlsFailed // the handshake failed
)

const (
	// sealMax is how much output is encrypted at once. With the overhead of its
	// records, which are small at first, it fits a buffer of 64 KiB.
	sealMax = 60 << 10
	// sealedMax limits the encrypted output that reading causes: responses to a
	// peer that requests key updates and does not read.
	sealedMax = 128 << 10
	// recordBufBytes is the size of the buffer in which the session collects
	// records, about three of them. If the session needed more, it would allocate a
	// buffer of its own.
	recordBufBytes = 64 << 10
)

var errUnreadAnswers = errors.New("reactor: the peer requests TLS key updates and does not read the responses")

// tlsStream is for the loop's goroutine, and for the task of its handshake by way
// of tlsBelow.
type tlsStream struct {
	conn     *Conn
	below    Transport
	config   *TLS
	open     func(*Conn) Handler
	session  *tls.Conn
	tlsBelow tlsBelow

	state       tlsState
	more        bool // there may be input that no event reports
	freshlyOpen bool // the session still holds the memory of its handshake
	readOff     bool // read events are off while the handshake's task does not wait for input
	parked      bool // the handshake's task waits for input
	closing     bool // CloseWrite was called
	finSent     bool // CloseWrite of the stream below was called
	task        *loop.Task
	waker       loop.Waker
	failure     error // result of the handshake

	out       []byte // encrypted output
	sent      int    // bytes of out that were sent
	recordBuf []byte // a buffer of the loop, in which the session collects records
}

// Read implements Transport. It decrypts until all that has arrived is read or both
// buffers are full. Before the session is open, and while the connection is
// closing, it reads without decrypting.
func (s *tlsStream) Read(first, then []byte) (n int, err error) {
	if s.state != tlsOpen || s.conn.state != connOpen {
		return s.below.Read(first, then)
	}
	if cap(s.recordBuf) < recordBufBytes {
		s.setRecordBuffer(recordBufBytes)
	}
	s.more = false
	for {
		p := first[min(n, len(first)):]
		if len(p) == 0 {
			p = then[n-len(first):]
		}
		if len(p) == 0 {
			s.more = true
			return n, nil
		}
		m, err := s.session.Read(p)
		n += m
		if err == nil {
			continue
		}
		if s.Unsent() > 0 { // the response to a key update
			s.conn.markDirty()
		}
		if err != errNoBytes {
			if err == io.EOF { // bytes after close_notify are not read
				s.setRecordBuffer(0)
			}
			return n, err
		}
		if s.freshlyOpen {
			s.freshlyOpen = false
			releaseHandshake(s.session)
		}
		s.setRecordBuffer(-1)
		return n, nil
	}
}

// setRecordBuffer moves the records that the session has collected to a buffer of
// the loop with room for n bytes. 0 means no buffer, and drops the records; -1
// means as much as the records need, which is no buffer if there are none.
func (s *tlsStream) setRecordBuffer(n int) {
	records := bufferOf(s.session, rawInputAt)
	if records == nil {
		return
	}
	if n < 0 {
		n = records.Len()
	}
	var room []byte
	if n > 0 {
		room = append(s.conn.r.bufs.getBuffer(n), records.Bytes()...)
	}
	*records = *bytes.NewBuffer(room)
	if s.recordBuf != nil {
		s.conn.r.bufs.putBuffer(s.recordBuf[:0])
	}
	s.recordBuf = room
}

// Write implements Transport. It accepts up to sealMax bytes of p once everything
// before is sent.
func (s *tlsStream) Write(p []byte) (int, error) {
	if err := s.flush(); err != nil || s.Unsent() > 0 {
		return 0, err
	}
	if len(p) == 0 || s.state != tlsOpen {
		return len(p), nil // output without a session is dropped
	}
	p = p[:min(len(p), sealMax)]
	s.out = s.conn.r.bufs.getBuffer(len(p) + len(p)/32 + 256)
	if _, err := s.session.Write(p); err != nil {
		return 0, err
	}
	return len(p), s.flush()
}

// queue appends p, which is encrypted or to be sent in plain text, to the output.
func (s *tlsStream) queue(p []byte) {
	if len(p) > 0 {
		s.out = append(s.conn.r.bufs.growBuffer(s.out, len(p), false), p...)
	}
}

// flush sends what the stream below accepts, and then FIN after CloseWrite.
func (s *tlsStream) flush() error {
	for s.sent < len(s.out) {
		n, err := s.below.Write(s.out[s.sent:])
		if err != nil || n == 0 {
			return err
		}
		s.sent += n
	}
	s.dropOut()
	if s.closing && !s.finSent {
		s.finSent = true
		return s.below.CloseWrite()
	}
	return nil
}

func (s *tlsStream) dropOut() {
	if s.out != nil {
		s.conn.r.bufs.putBuffer(s.out)
		s.out, s.sent = nil, 0
	}
}

// Unsent implements Transport.
func (s *tlsStream) Unsent() int { return len(s.out) - s.sent }

// Want implements Transport.
func (s *tlsStream) Want(read, write bool) { s.below.Want(read && !s.readOff, write) }

// CloseWrite implements Transport. It sends close_notify and then FIN. If the
// stream below does not accept all of it, the next Write continues.
func (s *tlsStream) CloseWrite() error {
	if s.state == tlsOpen && !s.closing {
		if err := s.session.CloseWrite(); err != nil {
			return err
		}
	}
	s.closing = true
	return s.flush()
}

// Close implements Transport. Without CloseWrite it sends no close_notify, so that
// the peer knows that bytes may be missing.
func (s *tlsStream) Close(abort bool) {
	s.below.Close(abort)
	s.dropOut()
	s.tlsBelow.early = nil
	if s.recordBuf != nil {
		s.setRecordBuffer(0)
	}
}

// RemoteAddr implements Transport.
func (s *tlsStream) RemoteAddr() net.Addr { return s.below.RemoteAddr() }

// LocalAddr implements Transport.
func (s *tlsStream) LocalAddr() net.Addr { return s.below.LocalAddr() }

// FD implements Transport.
func (s *tlsStream) FD() int { return s.below.FD() }

// handAt and rawInputAt are the offsets of the fields in which a tls.Conn collects
// handshake messages and records. They are -1, and the fields are left alone, if a
// Go version has no such field of type bytes.Buffer.
var handAt, rawInputAt = bufferAt("hand"), bufferAt("rawInput")

// bufferAt returns the offset of a bytes.Buffer in tls.Conn, or -1.
func bufferAt(name string) int {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[bytes.Buffer]() {
		return -1
	}
	return int(f.Offset)
}

// bufferOf returns the buffer of a session at an offset of bufferAt, or nil.
func bufferOf(session *tls.Conn, at int) *bytes.Buffer {
	if at < 0 {
		return nil
	}
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(session), at))
}

// releaseHandshake frees the memory that the client hello took in a session.
// crypto/tls would keep it as long as the session. The handshake must be complete
// and the session not in use. An empty Buffer is equivalent to a new one.
func releaseHandshake(session *tls.Conn) {
	for _, at := range []int{handAt, rawInputAt} {
		if b := bufferOf(session, at); b != nil && b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
}
