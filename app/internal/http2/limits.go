// Limits of a connection, and the buffers and counters that the connections of a loop share.

package http2

import (
	"time"

	"tafe/httpparse"
)

// Limits bounds what one connection may cost. Zero values are not replaced: begin with DefaultLimits.
type Limits struct {
	HeadBytesMax    int // decoded bytes of a field section, a field counted as its line in HTTP/1
	TrailerBytesMax int // the same of a trailer section; HeadBytesMax bounds it, too
	FieldsMax       int // fields of a section, each cookie counted

	StreamsMax      int // streams that the peer may have open at once
	StreamWindowMax int // bytes that the window of a stream grows to
	ConnWindowMax   int // bytes that the window of a connection grows to, which bounds the unread bytes of its streams
	LoopWindowMax   int // bytes that the windows of all connections of a loop may grow by

	ContinuationsMax int // CONTINUATION frames of a section
	// The following are bursts. They are refilled in 30 seconds; useful frames refill ControlFramesMax and EmptyFramesMax, too,
	// while the peer reads.
	ResetsMax        int // streams that the peer resets or has reset by its errors
	ControlFramesMax int // SETTINGS, PING, PRIORITY, WINDOW_UPDATE and unknown frames
	EmptyFramesMax   int // DATA frames without data

	IdleTimeout     time.Duration // of a connection without streams; 0: none
	HeadTimeout     time.Duration // from the begin of the preface or of a field section to its end
	SettingsTimeout time.Duration // for the acknowledgement of SETTINGS
	WriteTimeout    time.Duration // in which the peer must take writeStep bytes of a stream that has output
}

// DefaultLimits returns the default bounds.
func DefaultLimits() Limits {
	return Limits{
		HeadBytesMax: 32 << 10, TrailerBytesMax: 8 << 10, FieldsMax: 100,
		StreamsMax: 128, StreamWindowMax: 1 << 20, ConnWindowMax: 4 << 20, LoopWindowMax: 256 << 20,
		ContinuationsMax: 16, ResetsMax: 1000, ControlFramesMax: 1000, EmptyFramesMax: 1000,
		IdleTimeout: time.Minute, HeadTimeout: 10 * time.Second, SettingsTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
	}
}

// Shared has the limits, counters and free buffers of the connections of one loop with one role.
type Shared struct {
	// Limits may be replaced, by a value that is not changed afterwards. A connection keeps those that it has announced in SETTINGS.
	Limits *Limits

	granted int // bytes by which windows of connections have grown
	fields  []httpparse.Header
	free    []*Stream
}

const streamsKept = 1024 // Streams that a loop keeps for reuse

// takeStream returns an empty Stream.
func (sh *Shared) takeStream() *Stream {
	if n := len(sh.free); n > 0 {
		s := sh.free[n-1]
		sh.free[n-1] = nil
		sh.free = sh.free[:n-1]
		return s
	}
	return &Stream{}
}

// putStream recycles a Stream that neither its connection nor its handler uses.
func (sh *Shared) putStream(s *Stream) {
	if len(sh.free) < streamsKept {
		*s = Stream{}
		sh.free = append(sh.free, s)
	}
}

// grant takes up to n bytes of LoopWindowMax.
func (sh *Shared) grant(n int) int {
	n = max(min(n, sh.Limits.LoopWindowMax-sh.granted), 0)
	sh.granted += n
	return n
}
