// Sends the request body over HTTP/2. Request.Body and a Source are sent from stream events, while the response is received. Any other
// Request.Stream is read by the task first.

package client

import (
	"io"
	"time"

	"tafe/app/internal/http2"
	"tafe/httpparse"
)

const (
	sendStep  = 16 << 10 // bytes of a body that are passed to the stream at a time
	queuedMax = 32 << 10 // bytes of the body that wait in the stream, approximately; more when it was small
)

// sendHead sends the head, and as much of the body as there is room for.
func (h *http2Exchange) sendHead() {
	x, s := h.x, h.stream
	body := x.out[x.headBytes:]
	h.sending = len(body) > 0 || len(x.rest) > 0 || x.stream != nil
	h.progressAt = x.pool.clock()
	b, at := s.OpenSection(x.headBytes)
	s.CloseSection(append(b, x.out[:x.headBytes]...), at, !h.sending)
	if len(body) > 0 {
		h.sending = false
		http2.Write(s, body, true)
		return
	}
	h.pump()
}

// pump sends the next bytes of a body in memory or of a Source, until the stream has enough, and goes on when it has room. It does not wait.
func (h *http2Exchange) pump() {
	x, s := h.x, h.stream
	for h.sending && s.Queued() < queuedMax {
		var p []byte
		last := false
		switch {
		case len(x.rest) > 0:
			p = x.rest[:min(len(x.rest), sendStep)]
			x.rest = x.rest[len(p):]
			last = len(x.rest) == 0
		case h.source != nil:
			n, err := h.trySource()
			if n == 0 && err == nil {
				return // the source calls pump
			}
			p, last = h.sourceBuf[:n], err == io.EOF
			if err != nil && err != io.EOF {
				h.endSend(err)
				return
			}
		default:
			return // the task reads the Stream
		}
		h.progressAt = x.pool.clock()
		if !last {
			http2.Write(s, p, false)
			continue
		}
		h.finishSend(p, x.trailerFields)
	}
	if h.sending {
		s.WantRoom()
	}
}

// trySource reads from the Source, and checks the length that the request has declared.
func (h *http2Exchange) trySource() (int, error) {
	x := h.x
	if h.sourceBuf == nil {
		h.sourceBuf = make([]byte, sendStep)
	}
	p := h.sourceBuf
	if x.streamLeft >= 0 {
		p = p[:min(int64(len(p)), x.streamLeft)]
	}
	if len(p) == 0 {
		return 0, io.EOF
	}
	n, err := h.source.TryRead(p, h.sourceReady)
	x.streamed = x.streamed || n > 0 || err != nil
	if x.streamLeft >= 0 {
		x.streamLeft -= int64(n)
		switch {
		case x.streamLeft == 0:
			err = io.EOF
		case err == io.EOF:
			err = ErrBodyShort
		}
	}
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	return n, err
}

// sourceReady is called when the Source has more.
func (h *http2Exchange) sourceReady() {
	if h.stream != nil {
		h.pump()
		h.wake()
	}
}

// finishSend sends the last bytes of the body, and what trailers returns. trailers is only called if the request has trailers.
func (h *http2Exchange) finishSend(p []byte, trailers func() []httpparse.Header) {
	x, s := h.x, h.stream
	if x.trailerFields == nil {
		h.sending = false
		http2.Write(s, p, true)
		return
	}
	if len(p) > 0 {
		http2.Write(s, p, false)
	}
	fields := trailers()
	h.sending = false
	section, err := appendTrailers(nil, fields)
	switch {
	case h.broken != nil: // while the task was in trailers
	case err != nil:
		h.endSend(&bodyError{err})
	case len(section) == 0:
		http2.Write(s, "", true)
	default:
		b, at := s.OpenSection(len(section))
		s.CloseSection(append(b, section...), at, true)
	}
}

// endSend ends the request for an error of its body.
func (h *http2Exchange) endSend(err error) {
	h.sending, h.sendErr = false, err
	h.wake()
}

// keepRest copies the rest of a body that is still being sent, because it belongs to the caller of Do again.
func (h *http2Exchange) keepRest() {
	if x := h.x; len(x.rest) > 0 && h.sending {
		x.rest = append([]byte(nil), x.rest...)
	}
}

// sendStream reads the Stream and sends it. It returns when the stream has ended, too.
func (h *http2Exchange) sendStream() error {
	x := h.x
	if x.window == nil {
		x.window = make([]byte, windowBytes)
	}
	for h.sending && h.broken == nil {
		if h.stream.Queued() >= queuedMax {
			h.stream.WantRoom()
			since := x.pool.clock()
			if err := h.await(StageWrite, x.options().BodyTimeout, &since); err != nil {
				return err
			}
			continue
		}
		p := x.window
		if x.streamLeft >= 0 {
			p = p[:min(int64(len(p)), x.streamLeft)]
		}
		x.streamed = true
		n, err := 0, error(io.EOF)
		if len(p) > 0 {
			n, err = x.readStream(p)
		}
		if x.streamLeft >= 0 {
			if x.streamLeft -= int64(n); x.streamLeft > 0 && err == io.EOF {
				err = ErrBodyShort
			}
		}
		switch {
		case h.broken != nil: // while the Stream was read
		case err == io.EOF:
			h.finishSend(p[:n], x.callTrailers)
		case n > 0:
			http2.Write(h.stream, p[:n], false)
		}
		if err != nil && err != io.EOF {
			return h.failure(StageWrite, &bodyError{err})
		}
		h.progressAt = x.pool.clock()
		if x.deadline != (time.Time{}) && !time.Now().Before(x.deadline) {
			return h.failure(StageWrite, errLate)
		}
	}
	if h.sendErr != nil {
		return h.failure(StageWrite, h.sendErr)
	}
	return nil
}
