// Reading through TLS one record at a time. Data that crypto/tls has buffered is invisible to the check for
// unexpected data before reuse, so a record is never read in part.

package client

import (
	"encoding/binary"
	"io"
	"net"
)

const (
	recordHeadBytes = 5
	recordBytesMax  = 16 << 10 // of plaintext (RFC 8446 section 5.1)
)

// recordReader is the transport of a TLS connection. It returns one record at a time and reads no byte of the next
// one, which conn.arrived can therefore detect.
type recordReader struct {
	net.Conn
	conn *conn
	head [recordHeadBytes]byte
	got  int // bytes of head
	left int // bytes left of the record
}

// Read also records an end of the stream: crypto/tls reports an end without close_notify as io.EOF, and an attacker
// could truncate a body that ends with the connection (RFC 9112 section 9.8).
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

// readConn reads from the connection. Through TLS it reads whole records; the part of a record that does not fit in p
// is kept in x.undelivered.
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

// arrived reports whether readConn would return bytes, an end or an error.
func (x *call) arrived() bool { return len(x.undelivered) > 0 || x.conn.arrived() }
