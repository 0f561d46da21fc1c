// Incremental decoder of the chunked transfer coding (RFC 9112 section 7.1). The result does not depend on how the
// input is split. Only the trailer section is buffered.

package httpparse

import (
	"bytes"
	"math"
)

// chunkState is the position of the decoder: what the next byte belongs to.
type chunkState uint8

const (
	atSize         chunkState = iota // the first digit of a chunk size
	inSize                           // another digit, or the byte after the size
	inPadding                        // whitespace before ';'
	atExtName                        // after ';' and whitespace
	inExtName                        //
	afterExtName                     // whitespace before '=' or ';'
	atExtValue                       // after '=' and whitespace
	inExtToken                       // an unquoted value
	inExtQuoted                      // between quotes
	inExtEscape                      // after a backslash between quotes
	afterExtQuoted                   // after the closing quote
	atSizeLF                         // the LF of a chunk-size line
	inData                           // chunk data
	atDataCR                         // the CRLF after it
	atDataLF                         //
	inTrailer                        // a trailer field or the final empty line
	chunkedDone                      //
	noState                          // the byte is invalid
)

const (
	sizeDigitsMax     = 16
	overheadFreeBytes = 16 // bytes of a size line that are not counted as overhead
	overheadPerByte   = 2  // and bytes more for each byte of data
)

// chunkDecoder decodes one chunked body (RFC 9112 section 7.1).
//
// Chunk extensions are validated (RFC 9112 section 7.1.1) and discarded. ChunkOverheadMax bounds their bytes, beyond 16 for
// each chunk and twice the size of its data. Single-byte chunks therefore pass, and endless extensions do not.
//
// Trailer fields follow the rules of header fields. Fields for framing, routing and authentication are ignored (RFC
// 9110 section 6.5.1).
type chunkDecoder struct {
	lim      Limits
	state    chunkState
	digits   int
	size     int64 // bytes of the current chunk that are not decoded yet
	total    int64
	response bool
	overhead int64

	trailer   []byte // the raw trailer section
	lineStart int    // offset of its last line
	fields    []Header
}

// reset prepares d for the next body, of a response or a request.
func (d *chunkDecoder) reset(lim *Limits, response bool) {
	clear(d.fields)
	*d = chunkDecoder{lim: *lim, response: response, trailer: d.trailer[:0], fields: d.fields[:0]}
}

// next is Body.next.
func (d *chunkDecoder) next(src []byte) (data []byte, consumed int, why reason) {
	i := 0
	for i < len(src) && d.state != chunkedDone && why == accepted {
		switch d.state {
		case inData:
			n := int(min(d.size, int64(len(src)-i)))
			if d.size -= int64(n); d.size == 0 {
				d.state = atDataCR
			}
			return src[i : i+n], i + n, accepted
		case inTrailer:
			i, why = d.collectTrailer(src, i)
		default:
			i, why = d.decodeFraming(src, i)
		}
	}
	return nil, i, why
}

// decodeFraming consumes bytes of the framing around the data.
func (d *chunkDecoder) decodeFraming(src []byte, i int) (next int, why reason) {
	c := src[i]
	switch d.state {
	case atSize:
		d.digits, d.size = 0, 0
		if class[c]&hexByte == 0 {
			return i, badChunkSize
		}
		d.state = inSize
		return d.sizeDigits(src, i)
	case inSize:
		return d.sizeDigits(src, i)
	case inPadding:
		return i + 1, d.afterSize(c)
	case atSizeLF:
		if c != '\n' {
			return i, bareCR
		}
		return i + 1, d.startChunk()
	case atDataCR:
		d.state = atDataLF
		return i + 1, reasonUnless(c == '\r', badChunkEnd)
	case atDataLF:
		d.state = atSize
		return i + 1, reasonUnless(c == '\n', badChunkEnd)
	}
	return i + 1, d.extension(c)
}

func reasonUnless(ok bool, why reason) reason {
	if ok {
		return accepted
	}
	return why
}

// sizeDigits consumes hexadecimal digits and the byte after them.
func (d *chunkDecoder) sizeDigits(src []byte, i int) (next int, why reason) {
	for ; i < len(src) && class[src[i]]&hexByte != 0; i++ {
		if d.digits++; d.digits > sizeDigitsMax {
			return i, badChunkSize
		}
		if d.size > math.MaxInt64>>4 {
			return i, badChunkSize
		}
		d.size = d.size<<4 | int64(hexValue(src[i]))
	}
	if i == len(src) {
		return i, accepted
	}
	return i + 1, d.afterSize(src[i])
}

// afterSize consumes a byte after the digits. Whitespace is valid only before an extension (RFC 9112 section 7.1.1).
func (d *chunkDecoder) afterSize(c byte) reason {
	switch {
	case c == ';':
		d.state = atExtName
	case c == ' ' || c == '\t':
		d.state = inPadding
	case c == '\r' && d.state == inSize:
		d.state = atSizeLF
		return accepted
	case c == '\n' && d.state == inSize:
		return bareLF
	default:
		return badChunkSize
	}
	return d.addOverhead(1)
}

// extension consumes a byte of *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ). As after the size,
// whitespace after a value is valid only before another extension.
func (d *chunkDecoder) extension(c byte) reason {
	space, token := c == ' ' || c == '\t', class[c]&tokenByte != 0
	next := noState
	switch d.state {
	case atExtName, atExtValue:
		switch {
		case space:
			next = d.state
		case token:
			next = d.state + 1
		case c == '"' && d.state == atExtValue:
			next = inExtQuoted
		}
	case inExtQuoted:
		switch {
		case c == '"':
			next = afterExtQuoted
		case c == '\\':
			next = inExtEscape
		case class[c]&valueByte != 0:
			next = inExtQuoted
		}
	case inExtEscape:
		if class[c]&valueByte != 0 {
			next = inExtQuoted
		}
	default:
		next = d.extensionEnd(c, space, token)
	}
	if next == noState {
		return extensionFault(c)
	}
	if d.state = next; next == atSizeLF {
		return accepted
	}
	return d.addOverhead(1)
}

// extensionEnd consumes a byte at a position where a name or a value may be complete.
func (d *chunkDecoder) extensionEnd(c byte, space, token bool) chunkState {
	switch {
	case token && (d.state == inExtName || d.state == inExtToken):
		return d.state
	case c == ';':
		return atExtName
	case c == '=' && (d.state == inExtName || d.state == afterExtName):
		return atExtValue
	case space && (d.state == inExtName || d.state == afterExtName):
		return afterExtName
	case space:
		return inPadding
	case c == '\r' && d.state != afterExtName:
		return atSizeLF
	}
	return noState
}

func extensionFault(c byte) reason {
	switch {
	case c == '\n':
		return bareLF
	case c != '\r' && class[c]&valueByte == 0:
		return controlByte
	}
	return badChunkExtension
}

// addOverhead counts n bytes of a chunk-size line other than its digits and CRLF.
func (d *chunkDecoder) addOverhead(n int64) reason {
	d.overhead += n
	return reasonUnless(d.overhead <= int64(d.lim.ChunkOverheadMax), chunkOverhead)
}

// startChunk begins the chunk whose size line is complete. Size zero begins the trailer section.
func (d *chunkDecoder) startChunk() reason {
	if d.size == 0 {
		d.state = inTrailer
		return accepted
	}
	if d.size > d.lim.BodyBytesMax-d.total {
		return bodyTooLarge
	}
	d.total += d.size
	if d.size >= d.overhead { // so that the product below cannot overflow
		d.overhead = 0
	}
	d.overhead = max(0, d.overhead-overheadFreeBytes-overheadPerByte*min(d.size, d.overhead))
	d.state = inData
	return accepted
}

// collectTrailer buffers the trailer section up to its empty line, then parses it.
func (d *chunkDecoder) collectTrailer(src []byte, i int) (next int, why reason) {
	end, ended := len(src), false
	if n := bytes.IndexByte(src[i:], '\n'); n >= 0 {
		end, ended = i+n+1, true
	}
	if len(d.trailer)+end-i > d.lim.TrailerBytesMax+len("\r\n") {
		return end, trailerTooLarge
	}
	d.trailer = append(d.trailer, src[i:end]...)
	if !ended {
		return end, accepted
	}
	length := len(d.trailer) - d.lineStart
	if length < 2 || d.trailer[len(d.trailer)-2] != '\r' {
		return end, bareLF
	}
	if length > len("\r\n") {
		d.lineStart = len(d.trailer)
		return end, accepted
	}
	if why := d.parseTrailer(); why != accepted {
		return end, why
	}
	d.state = chunkedDone
	return end, accepted
}

func (d *chunkDecoder) parseTrailer() reason {
	read := fieldLine
	if d.response {
		read = responseFieldLine
	}
	lines := 0
	for i := 0; i < d.lineStart; lines++ {
		if lines == d.lim.HeaderCountMax {
			return tooManyHeaders
		}
		l, why := read(d.trailer, i)
		if why != accepted {
			return why
		}
		if !ForbiddenInTrailer(d.trailer[i:l.nameEnd]) {
			d.fields = appendField(d.fields, d.trailer, i, l)
		}
		i = l.next
	}
	return accepted
}

// ForbiddenInTrailer reports whether a field must not be sent in a trailer because it frames or routes the message,
// modifies the request or authenticates (RFC 9110 section 6.5.1).
func ForbiddenInTrailer[T text](name T) bool {
	for _, forbidden := range trailersForbidden {
		if equalFold(ViewBytes(name), forbidden) {
			return true
		}
	}
	return false
}

var trailersForbidden = [...]string{
	"transfer-encoding", "content-length", "trailer", "connection", "keep-alive", "upgrade", "te", "host",
	"content-encoding", "content-type", "content-range", "range", "expect", "max-forwards", "cache-control",
	"authorization", "proxy-authorization", "proxy-authenticate", "www-authenticate", "cookie", "set-cookie",
	"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "location", "vary",
	"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
