package load

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// scanner finds where answers end in a connection's byte stream: status line, Content-Length, chunked, or the end of
// the stream; after frames is set, each WebSocket message is an answer with status 200. It reads what it needs for that and nothing else, because the cost of the generator must stay far below
// that of any server. It does not validate.
type scanner struct {
	state   scanState
	partial []byte // a head or a chunk line that ended with the buffer
	left    int64  // bytes of body or chunk still to come

	frames    bool // the connection is a WebSocket
	fragment  bool // more frames of the message follow
	status    int
	bodyBytes int64
	close     bool // the answer said Connection: close
}

type scanState uint8

const (
	scanHead scanState = iota
	scanBody
	scanChunkLine
	scanChunkData
	scanChunkEnd
	scanTrailer
	scanUntilClose
	scanFrame
)

// headBytesMax bounds what the scanner keeps while it looks for the end of a head.
const headBytesMax = 64 << 10

var (
	errMalformed = errors.New("malformed")
	headEnd      = []byte("\r\n\r\n")
	lineEnd      = []byte("\r\n")
)

// next consumes bytes of b up to the end of one response. If done, status, bodyBytes and close describe a whole response, and
// b[consumed:] starts the next one. If not done, all of b was consumed.
func (s *scanner) next(b []byte) (consumed int, done bool, err error) {
	for consumed < len(b) || s.ready() {
		n, done, err := s.step(b[consumed:])
		consumed += n
		if done || err != nil {
			return consumed, done, err
		}
	}
	return consumed, false, nil
}

// ready reports that the state can be left without another byte: a body of no length.
func (s *scanner) ready() bool { return s.state == scanBody && s.left == 0 }

func (s *scanner) step(b []byte) (int, bool, error) {
	switch s.state {
	case scanHead:
		return s.stepHead(b)
	case scanBody, scanChunkData:
		n := int(min(int64(len(b)), s.left))
		s.left -= int64(n)
		s.bodyBytes += int64(n)
		if s.left > 0 {
			return n, false, nil
		}
		if s.state == scanChunkData {
			s.state = scanChunkEnd
			return n, false, nil
		}
		if s.frames {
			s.state = scanFrame
			return n, !s.fragment, nil
		}
		s.state = scanHead
		return n, true, nil
	case scanFrame:
		return s.stepFrame(b)
	case scanUntilClose:
		s.bodyBytes += int64(len(b))
		return len(b), false, nil
	default:
		return s.stepLine(b)
	}
}

// stepHead takes a head straight from b when it is whole, and by way of partial when a read cut it.
func (s *scanner) stepHead(b []byte) (int, bool, error) {
	if len(s.partial) == 0 {
		i := bytes.Index(b, headEnd)
		if i >= 0 {
			return i + 4, false, s.head(b[:i+2])
		}
		s.partial = append(s.partial, b...)
		return len(b), false, nil
	}
	old := len(s.partial)
	s.partial = append(s.partial, b...)
	from := max(0, old-3)
	i := bytes.Index(s.partial[from:], headEnd)
	if i < 0 {
		if len(s.partial) > headBytesMax {
			return len(b), false, errMalformed
		}
		return len(b), false, nil
	}
	end := from + i + 4
	err := s.head(s.partial[:end-2])
	s.partial = s.partial[:0]
	return end - old, false, err
}

// head reads one head, given without its final empty line, and sets the state for the body.
func (s *scanner) head(h []byte) error {
	if len(h) < 14 || string(h[:7]) != "HTTP/1." {
		return errMalformed
	}
	s.status = 0
	for _, d := range h[9:12] {
		if d < '0' || d > '9' {
			return errMalformed
		}
		s.status = s.status*10 + int(d-'0')
	}
	s.close = h[7] == '0'
	length, chunked := int64(-1), false
	rest := h[bytes.IndexByte(h, '\n')+1:]
	for len(rest) > 0 {
		i := bytes.IndexByte(rest, '\n')
		if i < 1 {
			return errMalformed
		}
		line := rest[:i-1]
		rest = rest[i+1:]
		switch {
		case field(line, "content-length:"):
			n, ok := decimal(line[15:])
			if !ok || (length >= 0 && length != n) {
				return errMalformed
			}
			length = n
		case field(line, "transfer-encoding:"):
			chunked = bytes.Contains(bytes.ToLower(line), []byte("chunked"))
		case field(line, "connection:"):
			v := bytes.ToLower(line[11:])
			s.close = bytes.Contains(v, []byte("close")) || s.close && !bytes.Contains(v, []byte("keep-alive"))
		}
	}
	s.frame(length, chunked)
	return nil
}

func (s *scanner) frame(length int64, chunked bool) {
	s.bodyBytes = 0
	switch {
	case s.status == 101:
		s.state, s.left = scanBody, 0
	case s.status < 200:
		s.state = scanHead // an interim answer: the real one follows
	case s.status == 204 || s.status == 304:
		s.state, s.left = scanBody, 0
	case chunked:
		s.state = scanChunkLine
	case length >= 0:
		s.state, s.left = scanBody, length
	default:
		s.state, s.close = scanUntilClose, true
	}
}

// upgrade makes the scanner read frames after the answer to an opening handshake.
func (s *scanner) upgrade() { s.frames, s.state = true, scanFrame }

// stepFrame takes the header of a frame, which a read may have cut.
func (s *scanner) stepFrame(b []byte) (int, bool, error) {
	old := len(s.partial)
	s.partial = append(s.partial, b[:min(len(b), frameHeadMax-old)]...)
	h := s.partial
	size := 2
	if len(h) >= 2 {
		switch h[1] {
		case 126:
			size = 4
		case 127:
			size = 10
		}
	}
	if len(h) < size {
		return len(h) - old, false, nil
	}
	if op := h[0] & 0x7f; h[1] > 127 || (op != 0) != (!s.fragment) || op > 2 {
		return 0, false, errMalformed // control frames and masks are not expected
	}
	if !s.fragment {
		s.bodyBytes = 0
	}
	s.fragment = h[0]&0x80 == 0
	s.left = int64(h[1])
	switch size {
	case 4:
		s.left = int64(binary.BigEndian.Uint16(h[2:]))
	case 10:
		s.left = int64(binary.BigEndian.Uint64(h[2:]))
	}
	s.state, s.status = scanBody, 200
	s.partial = s.partial[:0]
	return size - old, false, nil
}

// frameHeadMax is the longest header of a frame without a mask.
const frameHeadMax = 10

// stepLine takes one line of the chunked coding: a size, the end of a chunk, or a trailer.
func (s *scanner) stepLine(b []byte) (int, bool, error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		s.partial = append(s.partial, b...)
		if len(s.partial) > headBytesMax {
			return len(b), false, errMalformed
		}
		return len(b), false, nil
	}
	s.partial = append(s.partial, b[:i+1]...)
	if !bytes.HasSuffix(s.partial, lineEnd) {
		return i + 1, false, errMalformed
	}
	line := s.partial[:len(s.partial)-2]
	s.partial = s.partial[:0]
	switch s.state {
	case scanChunkEnd:
		if len(line) > 0 {
			return i + 1, false, errMalformed
		}
		s.state = scanChunkLine
	case scanChunkLine:
		n, ok := hexadecimal(line)
		if !ok {
			return i + 1, false, errMalformed
		}
		s.state, s.left = scanChunkData, n
		if n == 0 {
			s.state = scanTrailer
		}
	case scanTrailer:
		if len(line) == 0 {
			s.state = scanHead
			return i + 1, true, nil
		}
	}
	return i + 1, false, nil
}

// eof reports whether the end of the stream ends an answer.
func (s *scanner) eof() (done bool) { return s.state == scanUntilClose }

func (s *scanner) reset() { *s = scanner{partial: s.partial[:0]} }

// field reports whether line starts with name, ignoring case; name is in lower case.
func field(line []byte, name string) bool {
	if len(line) < len(name) || line[0]|0x20 != name[0] {
		return false
	}
	for i := 1; i < len(name); i++ {
		c := line[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

func decimal(b []byte) (int64, bool) {
	b = bytes.Trim(b, " \t")
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	return n, true
}

// hexadecimal reads a chunk size and leaves out an extension after ';'.
func hexadecimal(b []byte) (int64, bool) {
	if i := bytes.IndexByte(b, ';'); i >= 0 {
		b = b[:i]
	}
	b = bytes.TrimRight(b, " \t")
	if len(b) == 0 || len(b) > 15 {
		return 0, false
	}
	var n int64
	for _, d := range b {
		switch {
		case '0' <= d && d <= '9':
			n = n<<4 | int64(d-'0')
		case 'a' <= d|0x20 && d|0x20 <= 'f':
			n = n<<4 | int64(d|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
