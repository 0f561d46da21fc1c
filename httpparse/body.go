// The decoder of message bodies: n bytes, chunks, or all bytes until the connection is closed. framing.go decides which
// one a message has, and chunked.go decodes the chunked coding.

package httpparse

// Body decodes the body of one message from pieces of any size; the result does not depend on how the input is split.
// Call BeginRequest or BeginResponse before each body. The zero value is an empty body. It is not safe for concurrent
// use.
type Body struct {
	framing  Framing
	response bool
	failure  reason
	left     int64 // FramingLength: bytes that follow; FramingClose: bytes that BodyBytesMax still allows
	chunks   chunkDecoder
}

// BeginRequest prepares b for the body of r and invalidates the trailers of the last body. lim is copied; nil means
// DefaultLimits.
func (b *Body) BeginRequest(r *Request, lim *Limits) {
	b.begin(r.Framing, r.ContentLength, false, lim.orDefault())
}

// BeginResponse prepares b for the body of r and invalidates the trailers of the last body. In a response, whitespace
// before the colon of a trailer field is removed, as it is in a head, and errors have status 502. lim is copied; nil
// means DefaultLimits.
func (b *Body) BeginResponse(r *Response, lim *Limits) {
	b.begin(r.Framing, r.ContentLength, true, lim.orDefault())
}

func (b *Body) begin(framing Framing, length int64, response bool, lim *Limits) {
	b.framing, b.response, b.failure, b.left = framing, response, accepted, 0
	switch framing {
	case FramingLength:
		b.left = length
	case FramingChunked:
		b.chunks.reset(lim, response)
	case FramingClose:
		b.left = lim.BodyBytesMax
	}
}

// Reset drops the trailers, and keeps the arrays for the next body.
func (b *Body) Reset() {
	b.begin(FramingNone, 0, false, nil)
	b.chunks.reset(&defaultLimits, false)
}

// Done reports whether the body has ended. A body with FramingClose never has: it ends with the input.
func (b *Body) Done() bool {
	switch b.framing {
	case FramingChunked:
		return b.chunks.state == chunkedDone
	case FramingClose:
		return false
	}
	return b.left == 0
}

// Left returns the number of bytes that follow in a body with FramingLength, 0 if there is no body, and -1 if the length
// is unknown.
func (b *Body) Left() int64 {
	if b.framing == FramingChunked || b.framing == FramingClose {
		return -1
	}
	return b.left
}

// Trailers returns the trailer fields of a chunked body that is Done. They are valid until b begins another body.
func (b *Body) Trailers() []Header {
	if b.framing != FramingChunked {
		return nil
	}
	return b.chunks.fields
}

// Next decodes src, the bytes that follow those that were consumed before, up to the end of the next piece of data. data
// is a view of src, and empty if src holds only a part of the framing. consumed is the number of bytes of src that were
// decoded; without an error it is 0 only if src is empty or the body is Done. An error is an *Error and permanent.
func (b *Body) Next(src []byte) (data []byte, consumed int, err error) {
	if b.failure == accepted {
		data, consumed = b.next(src)
	}
	return data, consumed, b.failure.in(b.response)
}

// Decode decodes src like Next, but as much of it as belongs to the body, and appends the data to dst. The rest of src,
// if any, is the next message. dst may be src[:0]; otherwise dst and src must not overlap.
func (b *Body) Decode(dst, src []byte) (out []byte, consumed int, err error) {
	for consumed < len(src) && b.failure == accepted && !b.Done() {
		data, n := b.next(src[consumed:])
		dst = appendInPlace(dst, data)
		consumed += n
	}
	return dst, consumed, b.failure.in(b.response)
}

func (b *Body) next(src []byte) (data []byte, consumed int) {
	if b.framing == FramingChunked {
		data, consumed, b.failure = b.chunks.next(src)
		return data, consumed
	}
	n := int(min(b.left, int64(len(src))))
	b.left -= int64(n)
	if n == 0 && len(src) > 0 && b.framing == FramingClose {
		b.failure = bodyTooLarge
	}
	return src[:n], n
}

// appendInPlace appends data to b, without copying if it is there already.
func appendInPlace(b, data []byte) []byte {
	if n := len(b); len(data) > 0 && cap(b)-n >= len(data) && &b[:n+1][n] == &data[0] {
		return b[:n+len(data)]
	}
	return append(b, data...)
}
