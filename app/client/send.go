// HTTP/1: writing of a request, and responses that arrive before it is complete.
//
// A server may respond and stop reading while a long body is being sent (RFC 9112 section 9.3). One goroutine handles
// both: between two pieces it checks for a response, and a write without progress is interrupted for the same check.
// A second task cannot read meanwhile, because crypto/tls would let the two block each other on locks, which would
// block the loop.

package client

import (
	"errors"
	"io"
	"time"

	"tafe/httpparse"
)

const (
	pieceBytes = 64 << 10              // of a body between two checks for a response
	stallStep  = 50 * time.Millisecond // interval of these checks in a write without progress
	recordWait = time.Millisecond      // wait for the rest of a TLS record that has begun to arrive
)

// errAnswered ends the writing: the final response has arrived.
var errAnswered = errors.New("answered early")

// send writes the request, or the part of it that the server accepts.
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
		// The server closed the connection; it may have sent a response before.
		if x.gotHead || x.receiveHead() == nil {
			return nil
		}
		return f
	}
	return nil
}

// bodyError is an error of Request.Stream.
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

// sendStream writes the bytes of Request.Stream, by length or in chunks.
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
			return x.writeLastChunk()
		case err == io.EOF && x.streamLeft > 0:
			return &bodyError{ErrBodyShort}
		case err != nil && err != io.EOF:
			return &bodyError{err}
		}
	}
	return nil
}

// writeLastChunk ends a chunked body, with its trailers.
func (x *call) writeLastChunk() error {
	if x.trailerFields == nil {
		return x.write(httpparse.AppendLastChunk(x.scratch[:0]))
	}
	b := append(x.scratch[:0], "0\r\n"...)
	for _, f := range x.callTrailers() {
		var err error
		if b, err = httpparse.AppendHeaderBytes(b, f.Name, f.Value); err != nil || reserved(f.Name) {
			return &bodyError{ErrTrailer}
		}
	}
	x.scratch = httpparse.AppendHeadEnd(b)
	return x.write(x.scratch)
}

// write writes one piece of a long request. It returns errAnswered if a response makes the rest unnecessary.
func (x *call) write(p []byte) error {
	giveUp := x.earlier(time.Now().Add(x.options().BodyTimeout))
	for {
		if err := x.pollAnswer(); err != nil {
			return err
		}
		until := giveUp
		if step := time.Now().Add(stallStep); !x.conn.isTLS && step.Before(giveUp) {
			until = step // an interrupted write makes a TLS connection unusable
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

// pollAnswer reads a response that has begun to arrive, without waiting for more. It returns errAnswered if the
// status is 300 or higher or the response ends the connection. After any other response the request is still
// completed.
func (x *call) pollAnswer() error {
	for !x.gotHead && x.arrived() {
		if err := x.conn.SetReadDeadline(time.Now().Add(recordWait)); err != nil {
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
