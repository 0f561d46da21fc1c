package client

// This file owns the writing of a request, and what happens when the answer
// comes before its end. It refuses to know pools.
//
// A peer may answer, and stop reading, while a long body is still on its way
// (RFC 9112 section 9.3: a client should look out for that). One goroutine does
// both: between two pieces it looks whether something has arrived, and a write
// that makes no progress is interrupted to look again. No second task reads
// meanwhile, because crypto/tls would make the two block each other on locks
// that a loop must not wait for.

import (
	"errors"
	"io"
	"time"

	"tafe/httpparse"
)

const (
	pieceBytes = 64 << 10              // of a body between two looks
	stallStep  = 50 * time.Millisecond // a write without progress is looked into so often
	glanceTime = time.Millisecond      // for the rest of a TLS record that has begun to arrive
)

// errAnswered ends the writing: the final response is here already.
var errAnswered = errors.New("answered early")

// send writes the request, or as much of it as the peer wants.
func (x *call) send() error {
	if err := x.sendAll(); err != nil && err != errAnswered {
		x.partial = true
		var short *bodyError
		if errors.As(err, &short) {
			return &Error{Kind: KindRequest, Stage: StageWrite, Addr: x.host.addr, Err: short.error}
		}
		f := x.callError(StageWrite, err)
		if kindOf(f) != KindLost {
			return f
		}
		// Closed in our face: it may have said why before.
		if x.gotHead || x.receiveHead() == nil {
			return nil
		}
		return f
	}
	return nil
}

// bodyError is a failure of the caller's Stream.
type bodyError struct{ error }

func (x *call) sendAll() error {
	if x.rest == nil && x.stream == nil {
		_, err := x.conn.Write(x.out)
		return err
	}
	if err := x.write(x.out); err != nil {
		return err
	}
	if x.stream != nil {
		return x.sendStream()
	}
	for p := x.rest; len(p) > 0; {
		n := min(len(p), pieceBytes)
		if err := x.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// sendStream writes what the caller's reader yields, by length or in chunks.
func (x *call) sendStream() error {
	chunks := x.streamLeft == chunkedBody
	if x.window == nil {
		x.window = make([]byte, windowBytes)
	}
	for x.streamLeft != 0 {
		p := x.window
		if !chunks {
			p = p[:min(int64(len(p)), x.streamLeft)]
		}
		x.streamed = true
		n, err := x.readStream(p)
		if p = p[:n]; chunks {
			x.scratch = httpparse.AppendChunk(x.scratch[:0], p)
			p = x.scratch
		} else {
			x.streamLeft -= int64(n)
		}
		if len(p) > 0 {
			if err := x.write(p); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && chunks:
			return x.write(httpparse.AppendLastChunk(x.scratch[:0]))
		case err == io.EOF && x.streamLeft > 0:
			return &bodyError{ErrBodyShort}
		case err != nil && err != io.EOF:
			return &bodyError{err}
		}
	}
	return nil
}

// write writes one piece of a long request. It ends with errAnswered when the
// peer has answered in a way that makes the rest pointless.
func (x *call) write(p []byte) error {
	giveUp := x.earlier(time.Now().Add(x.options().BodyTimeout))
	for {
		if err := x.pollAnswer(); err != nil {
			return err
		}
		until := giveUp
		if step := time.Now().Add(stallStep); !x.conn.isTLS && step.Before(giveUp) {
			until = step // a TLS stream does not survive an interrupted write
		}
		if err := x.conn.SetWriteDeadline(until); err != nil {
			return err
		}
		n, err := x.conn.Write(p)
		p = p[n:]
		switch {
		case err == nil:
			return nil
		case n > 0 && isTimeout(err):
			giveUp = x.earlier(time.Now().Add(x.options().BodyTimeout))
		case !isTimeout(err) || !time.Now().Before(giveUp):
			return err
		}
	}
}

// glance reads a response that has begun to arrive, without waiting for more of
// it. An answer that refuses the request, or ends the connection, ends the
// writing; after any other the request is still finished.
func (x *call) pollAnswer() error {
	for !x.gotHead && x.arrived() {
		if err := x.conn.SetReadDeadline(time.Now().Add(glanceTime)); err != nil {
			return err
		}
		err := x.fillHead()
		if isTimeout(err) {
			break
		}
		if err != nil {
			return err
		}
		if err := x.parseHead(); err != nil {
			return err
		}
	}
	if x.gotHead && (x.head.Status >= 300 || !x.head.KeepAlive) && !x.partial {
		x.partial = true
		return errAnswered
	}
	return nil
}
