package reactor

// tlsStream: the Transport of a TLS connection, above that of its socket. It
// decrypts into the buffers of Conn and keeps a bounded amount of encrypted
// output. The handshake is in tls.go.

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
	tlsFresh       tlsState = iota // nothing was received
	tlsHandshaking                 // its task runs
	tlsOpen
	tlsFailed // the handshake has failed
)

const (
	// sealMax is how much output is encrypted at once: with the overhead of its
	// records, which are small at first, it fits a buffer of 64 KiB.
	sealMax = 60 << 10
	// sealedMax bounds the encrypted output that reading causes: answers to a peer
	// that asks for new keys and does not read.
	sealedMax = 128 << 10
	// recordsRoom is the room for what is read at once: some three records. The
	// session never needs more, or it would move to a buffer of its own.
	recordBufBytes = 64 << 10
)

var errUnreadAnswers = errors.New("reactor: the peer asks for new TLS keys and does not read the answers")

// tlsStream is for the loop's goroutine, except where the task of its handshake
// uses it through wire.
type tlsStream struct {
	conn    *Conn
	below   Transport
	config  *TLS
	open    func(*Conn) Handler
	session *tls.Conn
	wire    wire

	state       tlsState
	more        bool // there may be input for which no event comes
	freshlyOpen bool // opened just now: the session holds the memory of its handshake
	readOff     bool // read events are off: the handshake's task does not look at them
	parked      bool // the handshake's task waits for input
	closing     bool // CloseWrite was called
	finSent     bool // and the stream below was told
	task        *loop.Task
	waker       loop.Waker
	failure     error // of the handshake

	out       []byte // encrypted
	sent      int    // of out
	recordBuf []byte // of the loop, lent to the session: where it gathers records
}

// Read implements Transport: it decrypts what has arrived, until nothing is left
// or both buffers are full. Input of a connection without a session, or that is
// being closed, is not decrypted.
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
		if s.Unsent() > 0 { // an answer to a request for new keys
			s.conn.markDirty()
		}
		if err != errNoBytes {
			if err == io.EOF { // what follows close_notify is not read
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

// lend has the session gather records in a buffer of the loop, with room for n
// bytes, to which what it holds is moved. With -1 there is room for a record that
// is there in part, and else no buffer. What was decrypted and not read is lost.
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

// Write implements Transport: of p it takes up to sealMax bytes, once all it took
// before is sent.
func (s *tlsStream) Write(p []byte) (int, error) {
	if err := s.flush(); err != nil || s.Unsent() > 0 {
		return 0, err
	}
	if len(p) == 0 || s.state != tlsOpen {
		return len(p), nil // without a session there is nothing to send it by
	}
	p = p[:min(len(p), sealMax)]
	s.out = s.conn.r.bufs.getBuffer(len(p) + len(p)/32 + 256)
	if _, err := s.session.Write(p); err != nil {
		return 0, err
	}
	return len(p), s.flush()
}

// queue appends to what is to be sent, encrypted or meant to be sent as it is.
func (s *tlsStream) queue(p []byte) {
	if len(p) > 0 {
		s.out = append(s.conn.r.bufs.growBuffer(s.out, len(p), false), p...)
	}
}

// flush sends what the stream below takes, and then the end of the stream if that
// is due.
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

// CloseWrite implements Transport: it sends close_notify and then ends the stream
// below; where that has no room, the next Write goes on.
func (s *tlsStream) CloseWrite() error {
	if s.state == tlsOpen && !s.closing {
		if err := s.session.CloseWrite(); err != nil {
			return err
		}
	}
	s.closing = true
	return s.flush()
}

// Close implements Transport. Without a CloseWrite before it there is no
// close_notify: the peer knows that something may be missing.
func (s *tlsStream) Close(abort bool) {
	s.below.Close(abort)
	s.dropOut()
	s.wire.early = nil
	if s.recordBuf != nil { // of an open session, which nothing reads any more
		s.setRecordBuffer(0)
	}
}

// RemoteAddr implements Transport.
func (s *tlsStream) RemoteAddr() net.Addr { return s.below.RemoteAddr() }

// LocalAddr implements Transport.
func (s *tlsStream) LocalAddr() net.Addr { return s.below.LocalAddr() }

// FD implements Transport.
func (s *tlsStream) FD() int { return s.below.FD() }

// The fields in which a tls.Conn gathers messages and records; -1 where a Go version
// names them otherwise, and then they are left alone.
var handAt, rawInputAt = bufferAt("hand"), bufferAt("rawInput")

func bufferAt(name string) int {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[bytes.Buffer]() {
		return -1
	}
	return int(f.Offset)
}

func bufferOf(session *tls.Conn, at int) *bytes.Buffer {
	if at < 0 {
		return nil
	}
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(session), at))
}

// releaseHandshake has a session whose handshake is done, and which nothing else
// uses now, let go of the memory that the hello took; crypto/tls would keep it for
// as long as it lives. An empty Buffer is as good as a new one.
func releaseHandshake(session *tls.Conn) {
	for _, at := range []int{handAt, rawInputAt} {
		if b := bufferOf(session, at); b != nil && b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
}
