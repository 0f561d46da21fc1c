package load

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// encoded is a request of HTTP/2 as its frames, HEADERS and perhaps DATA. The first request of a connection puts its fields into the server's
// dynamic table; all later ones refer to them, as those of browsers and of other clients do.
type encoded struct {
	first, later frames
	bodyBytes    int64
	tableBytes   uint32 // of the dynamic table that the fields need
}

// frames have stream 0, and the places where the number of the stream belongs.
type frames struct {
	bytes []byte
	ids   []int
}

// bodyBytesMax is the largest body of a request: it fits in one frame.
const bodyBytesMax = 16 << 10

func encode(r *Request) (*encoded, error) {
	if len(r.Body) > bodyBytesMax {
		return nil, fmt.Errorf("load: request %q: a body over HTTP/2 has at most %d bytes", r.Name, bodyBytesMax)
	}
	e := &encoded{bodyBytes: int64(len(r.Body))}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, out := range []*frames{&e.first, &e.later} {
		block.Reset()
		for _, f := range r.Fields {
			if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				return nil, err
			}
		}
		if err := out.write(block.Bytes(), r.Body); err != nil {
			return nil, fmt.Errorf("load: request %q: %w", r.Name, err)
		}
	}
	for _, f := range r.Fields {
		e.tableBytes += hpack.HeaderField{Name: f[0], Value: f[1]}.Size()
	}
	return e, nil
}

func (s *frames) write(block, body []byte) error {
	var b bytes.Buffer
	framer := http2.NewFramer(&b, nil)
	framer.AllowIllegalWrites = true // stream 0
	err := framer.WriteHeaders(http2.HeadersFrameParam{BlockFragment: block, EndHeaders: true, EndStream: len(body) == 0})
	s.ids = []int{streamAt}
	if err == nil && len(body) > 0 {
		s.ids = append(s.ids, b.Len()+streamAt)
		err = framer.WriteData(0, true, body)
	}
	s.bytes = b.Bytes()
	return err
}

// streamAt is the place of the stream's number in the header of a frame.
const streamAt = 5

// append appends the frames to b, for the stream id.
func (s *frames) append(b []byte, id uint32) []byte {
	start := len(b)
	b = append(b, s.bytes...)
	for _, at := range s.ids {
		binary.BigEndian.PutUint32(b[start+at:], id)
	}
	return b
}

// windowBytes is the flow-control window of connections and streams, as large as that of h2load: it limits no server.
const windowBytes = 1<<30 - 1

// preface is what a client of HTTP/2 begins with.
func preface() []byte {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&b, nil)
	// A buffer takes every write.
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: windowBytes})
	_ = framer.WriteWindowUpdate(0, windowBytes-initialWindow)
	return b.Bytes()
}

// initialWindow is the window of a new connection in bytes (RFC 9113 section 6.9.2).
const initialWindow = 65535
