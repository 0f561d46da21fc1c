package load

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2conn is the client's side of one connection of HTTP/2, without I/O: next takes what was read, out is what is to be written. It checks the
// status, the length and the end of each answer. Of the header fields it reads nothing else, and of the frames it checks what would
// make the figures wrong: the cost of the generator must stay far below that of any server.
type h2conn struct {
	request *encoded
	streams int // that are to be open at once
	flights flights
	out     []byte

	ready    bool // the server's settings have come: streams may be opened
	leaving  bool // the server takes no more streams
	nextID   uint32
	unsent   int   // the last flights, which wait for window
	window   int64 // bytes of bodies that the server takes
	received int64 // bytes of DATA since the last WINDOW_UPDATE

	header  http2.FrameHeader // of the frame that is being read
	inFrame bool
	left    int    // bytes of it still to come
	partial []byte // a header or a frame that ended with the buffer
	closing bool   // HEADERS had END_STREAM, and CONTINUATION follows

	ended flight // after next has returned done
}

func (h *h2conn) reset() {
	h.flights.clear()
	*h = h2conn{request: h.request, streams: h.streams, flights: h.flights, partial: h.partial[:0], out: append(h.out[:0], preface()...),
		nextID: 1, window: initialWindow}
}

// open adds a request. Its frames are in out, unless the server's window is closed.
func (h *h2conn) open(f flight) {
	f.id = h.nextID
	h.nextID += 2
	h.flights.push(f)
	h.unsent++
	h.pump()
}

// pump appends the requests for which there is window.
func (h *h2conn) pump() {
	for ; h.unsent > 0 && h.window >= h.request.bodyBytes; h.unsent-- {
		h.window -= h.request.bodyBytes
		id := h.flights.all[len(h.flights.all)-h.unsent].id
		if id == 1 {
			h.out = h.request.first.append(h.out, id)
			continue
		}
		h.out = h.request.later.append(h.out, id)
	}
}

var errSettings = errors.New("load: the server's settings do not allow the plan")

const frameHeaderBytes = 9

// next consumes bytes of b up to the end of one answer. If done, ended describes it, and b[consumed:] is what follows. If not done, all
// of b was consumed.
func (h *h2conn) next(b []byte) (consumed int, done bool, err error) {
	for consumed < len(b) || h.inFrame && h.left == 0 {
		var n int
		switch {
		case !h.inFrame:
			n, err = h.readHeader(b[consumed:])
		case h.streamed():
			n, done, err = h.readData(b[consumed:])
		default:
			n, done, err = h.readFrame(b[consumed:])
		}
		consumed += n
		if done || err != nil {
			return consumed, done, err
		}
	}
	return consumed, false, nil
}

// readHeader takes the header of a frame.
func (h *h2conn) readHeader(b []byte) (int, error) {
	n := min(frameHeaderBytes-len(h.partial), len(b))
	head := b[:n]
	if len(h.partial) > 0 || n < frameHeaderBytes {
		h.partial = append(h.partial, head...)
		if len(h.partial) < frameHeaderBytes {
			return n, nil
		}
		head = h.partial
		h.partial = h.partial[:0]
	}
	h.header = http2.FrameHeader{
		Length: uint32(head[0])<<16 | uint32(head[1])<<8 | uint32(head[2]), Type: http2.FrameType(head[3]), Flags: http2.Flags(head[4]),
		StreamID: binary.BigEndian.Uint32(head[streamAt:]) &^ (1 << 31),
	}
	if h.header.Length > bodyBytesMax { // no larger frame was allowed
		return n, errMalformed
	}
	h.inFrame, h.left = true, int(h.header.Length)
	return n, nil
}

// streamed reports whether the frame is counted as it comes: it need not be in memory as a whole.
func (h *h2conn) streamed() bool {
	return h.header.Type == http2.FrameData && !h.header.Flags.Has(http2.FlagDataPadded)
}

func (h *h2conn) readData(b []byte) (int, bool, error) {
	n := min(h.left, len(b))
	h.left -= n
	h.received += int64(n)
	f := h.flights.stream(h.header.StreamID)
	if f == nil {
		return n, false, errMalformed
	}
	f.bodyBytes += int64(n)
	if h.left > 0 {
		return n, false, nil
	}
	h.inFrame = false
	h.openWindow()
	return n, h.endIf(f, h.header.Flags.Has(http2.FlagDataEndStream)), nil
}

// openWindow gives the server half of the window of the connection again, once that is used.
func (h *h2conn) openWindow() {
	if h.received > windowBytes/2 {
		h.out = appendFrame(h.out, http2.FrameWindowUpdate, 0, binary.BigEndian.AppendUint32(nil, uint32(h.received)))
		h.received = 0
	}
}

func appendFrame(b []byte, kind http2.FrameType, flags http2.Flags, payload []byte) []byte {
	n := len(payload)
	return append(append(b, byte(n>>16), byte(n>>8), byte(n), byte(kind), byte(flags), 0, 0, 0, 0), payload...)
}

// endIf ends the answer f if its last frame has come.
func (h *h2conn) endIf(f *flight, last bool) bool {
	if last {
		h.flights.end(f)
		h.ended = *f
	}
	return last
}

// readFrame takes a whole frame.
func (h *h2conn) readFrame(b []byte) (int, bool, error) {
	n := min(h.left, len(b))
	payload := b[:n]
	h.left -= n
	if len(h.partial) > 0 || h.left > 0 {
		h.partial = append(h.partial, payload...)
		if h.left > 0 {
			return n, false, nil
		}
		payload = h.partial
		h.partial = h.partial[:0]
	}
	h.inFrame = false
	done, err := h.frame(payload)
	return n, done, err
}

func (h *h2conn) frame(p []byte) (done bool, err error) {
	switch h.header.Type {
	case http2.FrameHeaders:
		return h.headers(p)
	case http2.FrameContinuation:
		f := h.flights.stream(h.header.StreamID)
		if f == nil || !h.header.Flags.Has(http2.FlagContinuationEndHeaders) {
			return false, nil
		}
		return h.endIf(f, h.closing), nil
	case http2.FrameData:
		return h.paddedData(p)
	case http2.FrameRSTStream:
		f := h.flights.stream(h.header.StreamID)
		if f == nil { // the answer was whole
			return false, nil
		}
		f.fault = ErrorReset
		return h.endIf(f, true), nil
	case http2.FrameSettings:
		return false, h.settings(p)
	case http2.FramePing:
		if !h.header.Flags.Has(http2.FlagPingAck) {
			h.out = appendFrame(h.out, http2.FramePing, http2.FlagPingAck, p)
		}
	case http2.FrameWindowUpdate:
		if len(p) != 4 {
			return false, errMalformed
		}
		if h.header.StreamID == 0 {
			h.window += int64(binary.BigEndian.Uint32(p))
			h.pump()
		}
	case http2.FrameGoAway:
		h.leaving = true
	case http2.FramePushPromise:
		return false, errMalformed
	}
	return false, nil
}

func (h *h2conn) paddedData(p []byte) (bool, error) {
	f := h.flights.stream(h.header.StreamID)
	if f == nil || len(p) == 0 || len(p) <= int(p[0]) {
		return false, errMalformed
	}
	h.received += int64(len(p))
	f.bodyBytes += int64(len(p) - 1 - int(p[0]))
	h.openWindow()
	return h.endIf(f, h.header.Flags.Has(http2.FlagDataEndStream)), nil
}

// headers takes the head of an answer, which may be an interim one, or its trailers.
func (h *h2conn) headers(p []byte) (bool, error) {
	f := h.flights.stream(h.header.StreamID)
	if f == nil {
		return false, errMalformed
	}
	skip := 0
	if h.header.Flags.Has(http2.FlagHeadersPadded) {
		skip++
	}
	if h.header.Flags.Has(http2.FlagHeadersPriority) {
		skip += 5
	}
	if len(p) < skip {
		return false, errMalformed
	}
	last := h.header.Flags.Has(http2.FlagHeadersEndStream)
	if f.status < 200 {
		f.status = statusOf(p[skip:])
	} else if f.trailers = true; !last {
		return false, errMalformed
	}
	if !h.header.Flags.Has(http2.FlagHeadersEndHeaders) {
		h.closing = last
		return false, nil
	}
	return h.endIf(f, last), nil
}

// settings checks that the plan is possible, and acknowledges.
func (h *h2conn) settings(p []byte) error {
	if h.header.Flags.Has(http2.FlagSettingsAck) {
		return nil
	}
	for ; len(p) >= 6; p = p[6:] {
		v := binary.BigEndian.Uint32(p[2:])
		switch id := http2.SettingID(binary.BigEndian.Uint16(p)); {
		case id == http2.SettingMaxConcurrentStreams && int64(v) < int64(h.streams),
			id == http2.SettingHeaderTableSize && v < h.request.tableBytes,
			id == http2.SettingInitialWindowSize && int64(v) < h.request.bodyBytes:
			return errSettings
		}
	}
	h.ready = true
	h.out = appendFrame(h.out, http2.FrameSettings, http2.FlagSettingsAck, nil)
	return nil
}

// statusOf reads the status from the start of a header block, where it must be (RFC 9113 section 8.3). A status that the server has put into the dynamic table
// is not recognized and 0: no server does that with the statuses that plans ask for, which have entries in the static table.
func statusOf(block []byte) int {
	for len(block) > 0 && block[0]&0xe0 == 0x20 { // the size of the dynamic table
		i := 0
		if block[0]&0x1f == 0x1f {
			for i++; i < len(block) && block[i]&0x80 != 0; i++ {
			}
		}
		block = block[min(i+1, len(block)):]
	}
	if len(block) == 0 {
		return 0
	}
	const first, last = 8, 14 // entries of :status in the static table
	b := block[0]
	if b >= 0x80|first && b <= 0x80|last {
		return [...]int{200, 204, 206, 304, 400, 404, 500}[b-0x80-first]
	}
	name := b & 0x0f
	if b&0xc0 == 0x40 {
		name = b & 0x3f
	}
	if name < first || name > last || len(block) < 2 {
		return 0
	}
	value := block[2:min(2+int(block[1]&0x7f), len(block))]
	text := string(value)
	if block[1]&0x80 != 0 {
		text, _ = hpack.HuffmanDecodeToString(value)
	}
	n, ok := decimal([]byte(text))
	if !ok {
		return 0
	}
	return int(n)
}
