// Field sections that arrive: HEADERS and CONTINUATION frames (RFC 9113 sections 4.3, 6.2 and 6.10).

package http2

import (
	"encoding/binary"

	xhttp2 "golang.org/x/net/http2"

	"tafe/httpparse"
)

// Section is the head of a request or a response, or trailers.
type Section struct {
	Fields []httpparse.Header // pseudo-header fields too, in the order received
	End    bool               // the message has no more
	Over   bool               // it exceeds HeadBytesMax or FieldsMax, and Fields is incomplete
}

// section is a field section whose last frame has not arrived.
type section struct {
	stream        uint32 // 0: none
	end           bool
	bytes         []byte
	continuations int
	fault         *Error // of its HEADERS frame; it ends the stream once the section is decoded
}

func (c *Conn) onHeaders(h frameHead, p []byte) *Error {
	if h.stream == 0 {
		return errFrameStream
	}
	p, ok := unpad(h, p)
	if !ok {
		return errPadding
	}
	var fault *Error
	if h.has(xhttp2.FlagHeadersPriority) {
		if len(p) < 5 {
			return errFrameSize
		}
		if binary.BigEndian.Uint32(p)&streamIDMax == h.stream {
			fault = errDependency
		}
		p = p[5:]
	}
	end := h.has(xhttp2.FlagHeadersEndStream)
	if h.has(xhttp2.FlagHeadersEndHeaders) {
		return c.onSection(h.stream, p, end, fault)
	}
	c.section = section{stream: h.stream, end: end, bytes: append([]byte(nil), p...), fault: fault}
	c.rc.SetTimeout(c.shared.Limits.HeadTimeout)
	return nil
}

func (c *Conn) onContinuation(h frameHead, p []byte) *Error {
	if c.section.stream == 0 {
		return errSequence
	}
	s := &c.section
	s.continuations++
	if s.continuations > c.shared.Limits.ContinuationsMax || len(s.bytes)+len(p) > 2*c.decoder.headBytesMax+frameBytesMax {
		return errContinuations
	}
	s.bytes = append(s.bytes, p...)
	if !h.has(xhttp2.FlagContinuationEndHeaders) {
		return nil
	}
	whole := *s
	c.section = section{}
	e := c.onSection(whole.stream, whole.bytes, whole.end, whole.fault)
	c.idle()
	return e
}

// onSection decodes a complete section, whatever its stream is, because the dynamic table must follow.
func (c *Conn) onSection(stream uint32, section []byte, end bool, fault *Error) *Error {
	fields, e := c.decoder.decode(section)
	if e != nil {
		return e
	}
	head := Section{Fields: fields, End: end, Over: c.decoder.over}
	if s := c.streams[stream]; s != nil {
		return c.onFurtherSection(s, head, fault)
	}
	if c.client && stream&1 == 1 && !c.isIdle(stream) {
		return nil // it was sent before the server knew that the stream is closed
	}
	if c.client || stream&1 == 0 {
		return errStreamID
	}
	if stream <= c.lastPeer {
		switch known, reset := c.recall(stream); {
		case reset:
			return nil // it was sent before the peer knew
		case known:
			return errClosedStream
		}
		return errStreamID
	}
	if c.isLate(stream) {
		return nil
	}
	c.lastPeer = stream
	switch {
	case fault != nil:
		return fault
	case len(c.streams) >= c.streamsMax:
		return errRefusedStream
	}
	c.useful()
	s := c.newStream(stream)
	s.inEnded = end
	c.handler.Begin(s, head)
	if len(c.early) > 0 && c.streams[stream] == s {
		c.applyPriority(s)
	}
	return nil
}

// onFurtherSection handles trailers, and for a client the heads of responses.
func (c *Conn) onFurtherSection(s *Stream, head Section, fault *Error) *Error {
	switch {
	case fault != nil:
		return fault
	case s.inEnded:
		return errDataClosed
	case !c.client || s.headed:
		if head.Over || c.decoder.bytes > c.shared.Limits.TrailerBytesMax {
			return errLargeTrailers
		}
		if !head.End || !validTrailers(head.Fields) {
			return errTrailers
		}
		if s.expected > 0 {
			return errLength
		}
	}
	s.inEnded = head.End
	if s.handler != nil {
		s.handler.Section(s, head)
	}
	s.leaveIfEnded()
	return nil
}

// validTrailers reports whether fields may be trailers: none is a pseudo-header field or one of a connection (RFC 9113
// sections 8.1 and 8.2.2).
func validTrailers(fields []httpparse.Header) bool {
	for _, f := range fields {
		if !httpparse.ValidLowerName(f.Name) || !httpparse.ValidFieldValue(f.Value) || httpparse.IsConnectionField(f) {
			return false
		}
	}
	return true
}
