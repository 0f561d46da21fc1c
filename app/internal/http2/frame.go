// The header of a frame, and the frames that this side writes (RFC 9113 sections 4.1 and 6). Names and numbers are
// those of x/net/http2. Its Framer is not used: it allocates a value for each frame, and copies what it writes.

package http2

import (
	"encoding/binary"

	xhttp2 "golang.org/x/net/http2"
)

const (
	frameHeadBytes = 9
	frameBytesMax  = 16 << 10 // payload of a frame that this side accepts, and the least that every peer accepts
	windowMax      = 1<<31 - 1
	windowDefault  = 65535 // of a connection, and of a stream before SETTINGS (RFC 9113 section 6.9.2)
	streamIDMax    = 1<<31 - 1
)

// Preface is what a client sends first (RFC 9113 section 3.4).
const Preface = xhttp2.ClientPreface

// frameHead is the header of a frame.
type frameHead struct {
	bytes  int
	kind   xhttp2.FrameType
	flags  xhttp2.Flags
	stream uint32
}

func (h frameHead) has(f xhttp2.Flags) bool { return h.flags&f != 0 }

// parseFrameHead reads the first frameHeadBytes of b.
func parseFrameHead(b []byte) frameHead {
	_ = b[frameHeadBytes-1]
	return frameHead{
		bytes:  int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   xhttp2.FrameType(b[3]),
		flags:  xhttp2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) & streamIDMax,
	}
}

func appendFrameHead(b []byte, bytes int, kind xhttp2.FrameType, flags xhttp2.Flags, stream uint32) []byte {
	return append(b, byte(bytes>>16), byte(bytes>>8), byte(bytes), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendSettings(b []byte, settings ...xhttp2.Setting) []byte {
	b = appendFrameHead(b, 6*len(settings), xhttp2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

func appendSettingsAck(b []byte) []byte {
	return appendFrameHead(b, 0, xhttp2.FrameSettings, xhttp2.FlagSettingsAck, 0)
}

func appendPing(b []byte, flags xhttp2.Flags, data []byte) []byte {
	return append(appendFrameHead(b, 8, xhttp2.FramePing, flags, 0), data[:8]...)
}

func appendWindowUpdate(b []byte, stream uint32, n int32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHead(b, 4, xhttp2.FrameWindowUpdate, 0, stream), uint32(n))
}

func appendReset(b []byte, stream uint32, code xhttp2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHead(b, 4, xhttp2.FrameRSTStream, 0, stream), uint32(code))
}

func appendGoAway(b []byte, last uint32, code xhttp2.ErrCode, reason string) []byte {
	b = appendFrameHead(b, 8+len(reason), xhttp2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, reason...)
}

// endSection completes the HEADERS frame whose header has room at b[at:] and whose field section follows. A section
// that is longer than the peer's frames is continued in CONTINUATION frames (RFC 9113 section 6.10).
func endSection(b []byte, at int, stream uint32, end bool, frameMax int) []byte {
	flags := xhttp2.FlagHeadersEndHeaders
	if end {
		flags |= xhttp2.FlagHeadersEndStream
	}
	section := b[at+frameHeadBytes:]
	if len(section) <= frameMax {
		appendFrameHead(b[:at], len(section), xhttp2.FrameHeaders, flags, stream)
		return b
	}
	rest := append([]byte(nil), section[frameMax:]...)
	appendFrameHead(b[:at], frameMax, xhttp2.FrameHeaders, flags&^xhttp2.FlagHeadersEndHeaders, stream)
	b = b[:at+frameHeadBytes+frameMax]
	for len(rest) > 0 {
		piece := rest[:min(len(rest), frameMax)]
		rest = rest[len(piece):]
		flags = 0
		if len(rest) == 0 {
			flags = xhttp2.FlagContinuationEndHeaders
		}
		b = append(appendFrameHead(b, len(piece), xhttp2.FrameContinuation, flags, stream), piece...)
	}
	return b
}

// unpad removes the padding of a DATA or HEADERS payload (RFC 9113 section 6.1).
func unpad(h frameHead, p []byte) (content []byte, ok bool) {
	if !h.has(xhttp2.FlagDataPadded) {
		return p, true
	}
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, false
	}
	return p[1 : len(p)-int(p[0])], true
}
