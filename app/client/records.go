package client

// This file owns what is special about reading through TLS: bytes that have
// left the socket and were not read yet must not hide in crypto/tls, where
// nobody can look, when the connection is used again. It refuses to know what
// they mean.

import (
	"encoding/binary"
	"io"
	"net"
)

const (
	recordHeadBytes = 5
	recordBytesMax  = 16 << 10 // of plaintext (RFC 8446 section 5.1)
)

// records is what a TLS connection reads from: one record at a time, never a
// byte of the next one, which so stays where conn.arrived sees it.
type recordReader struct {
	net.Conn
	conn *conn
	head [recordHeadBytes]byte
	got  int // of head
	left int // of the record after its head
}

// Read also notes an end of the stream: crypto/tls takes one without close_notify
// for io.EOF, and a body without a length could be cut short by anybody on the
// way (RFC 9112 section 9.8).
func (r *recordReader) Read(p []byte) (int, error) {
	inHead := r.left == 0
	if inHead {
		p = p[:min(len(p), recordHeadBytes-r.got)]
	} else {
		p = p[:min(len(p), r.left)]
	}
	n, err := r.Conn.Read(p)
	if err == io.EOF {
		r.conn.truncated = true
	}
	if !inHead {
		r.left -= n
		return n, err
	}
	r.got += copy(r.head[r.got:], p[:n])
	if r.got == recordHeadBytes {
		r.got = 0
		r.left = int(binary.BigEndian.Uint16(r.head[3:]))
	}
	return n, err
}

// pull reads from the connection. Through TLS it takes whole records: the rest
// of one that p has no room for waits in x.record.
func (x *call) readConn(p []byte) (int, error) {
	if !x.conn.isTLS {
		return x.conn.Read(p)
	}
	if len(x.undelivered) == 0 {
		if len(p) >= recordBytesMax {
			return x.conn.Read(p)
		}
		if x.record == nil {
			x.record = make([]byte, recordBytesMax)
		}
		n, err := x.conn.Read(x.record)
		if n == 0 {
			return 0, err
		}
		x.undelivered = x.record[:n]
	}
	n := copy(p, x.undelivered)
	x.undelivered = x.undelivered[n:]
	return n, nil
}

// arrived tells whether pull would find anything.
func (x *call) arrived() bool { return len(x.undelivered) > 0 || x.conn.arrived() }
