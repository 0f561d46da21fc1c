// One frame that has arrived (RFC 9113 section 6). fields.go has HEADERS and CONTINUATION.

package http2

import (
	"encoding/binary"
	"math"

	xhttp2 "golang.org/x/net/http2"
)

// receive handles a whole frame. The error ends the connection, or the stream of the frame.
func (c *Conn) receive(h frameHead, p []byte) *Error {
	if !c.settled && (h.kind != xhttp2.FrameSettings || h.has(xhttp2.FlagSettingsAck)) {
		return errPreface
	}
	if c.section.stream != 0 && (h.kind != xhttp2.FrameContinuation || h.stream != c.section.stream) {
		return errSequence
	}
	switch h.kind {
	case xhttp2.FrameData:
		return c.onData(h, p)
	case xhttp2.FrameHeaders:
		return c.onHeaders(h, p)
	case xhttp2.FrameContinuation:
		return c.onContinuation(h, p)
	case xhttp2.FrameRSTStream:
		return c.onReset(h, p)
	case xhttp2.FrameGoAway:
		return c.onGoAway(h, p)
	case xhttp2.FramePushPromise:
		return errPush
	}
	if h.kind == xhttp2.FrameSettings && h.has(xhttp2.FlagSettingsAck) {
		return c.onSettingsAck(h)
	}
	if h.kind == xhttp2.FramePing && h.has(xhttp2.FlagPingAck) {
		return c.onPingAck(h, p)
	}
	if e := c.control(); e != nil {
		return e
	}
	switch h.kind {
	case xhttp2.FrameSettings:
		return c.onSettings(h, p)
	case xhttp2.FramePing:
		return c.onPing(h, p)
	case xhttp2.FrameWindowUpdate:
		return c.onWindowUpdate(h, p)
	case xhttp2.FramePriority:
		return c.onPriority(h, p)
	case xhttp2.FramePriorityUpdate:
		return c.onPriorityUpdate(h, p)
	}
	return nil // unknown types are ignored (RFC 9113 section 5.5)
}

// isIdle reports whether a stream has not been opened.
func (c *Conn) isIdle(stream uint32) bool {
	if stream&1 == 1 == c.client { // a stream of this side
		return stream >= c.nextID
	}
	return stream > c.lastPeer && !c.isLate(stream)
}

// isLate reports whether a stream of the client is one that GOAWAY has said not to be processed. The client may have
// opened it before, and its frames are ignored (RFC 9113 section 6.8).
func (c *Conn) isLate(stream uint32) bool { return c.lastCall && !c.client && stream > c.lastPeer }

func (c *Conn) onData(h frameHead, p []byte) *Error {
	if h.stream == 0 {
		return errFrameStream
	}
	if !c.window.take(len(p)) {
		return errFlow
	}
	content, ok := p, true
	if content, ok = unpad(h, p); !ok {
		return errPadding
	}
	end := h.has(xhttp2.FlagDataEndStream)
	if len(content) > 0 || end {
		c.useful()
	} else if !c.empties.add(c.rc.Loop().Now(), c.shared.Limits.EmptyFramesMax) {
		return errEmptyFrames
	}
	s := c.streams[h.stream]
	if s == nil {
		return c.strayData(h, len(p))
	}
	if s.inEnded {
		c.read(nil, len(p))
		return errDataClosed
	}
	if c.client && !s.headed {
		c.read(nil, len(p))
		return ErrMalformed // a body without a head
	}
	if !s.window.take(len(p)) {
		c.read(nil, len(p))
		return errStreamFlow
	}
	c.read(s, len(p)-len(content)) // padding
	if !s.arrive(content, end) {
		c.read(nil, len(content))
		return errLength
	}
	return nil
}

// strayData handles DATA on a stream that is not open.
func (c *Conn) strayData(h frameHead, n int) *Error {
	if c.isIdle(h.stream) {
		return errIdleStream
	}
	c.read(nil, n)
	if _, reset := c.recall(h.stream); reset || c.client || c.isLate(h.stream) {
		return nil // it was sent before the peer knew
	}
	return errDataClosed
}

func (c *Conn) onReset(h frameHead, p []byte) *Error {
	switch {
	case len(p) != 4:
		return errFrameSize
	case h.stream == 0:
		return errFrameStream
	case c.isIdle(h.stream):
		return errIdleStream
	}
	s := c.streams[h.stream]
	if s == nil {
		c.acknowledged(h.stream)
		return c.control()
	}
	code, answered := xhttp2.ErrCode(binary.BigEndian.Uint32(p)), s.outEnded
	if c.client && code == xhttp2.ErrCodeRefusedStream {
		s.breakOff(ErrNotProcessed)
	} else {
		s.breakOff(ResetError{code})
	}
	switch {
	case c.client: // a stream of this side, which the server ended at no cost
		return nil
	case answered:
		return c.control()
	}
	return c.reset()
}

func (c *Conn) onSettings(h frameHead, p []byte) *Error {
	switch {
	case h.stream != 0:
		return errFrameStream
	case len(p)%6 != 0:
		return errFrameSize
	}
	if !c.settled {
		c.peerStreams = streamsMost
	}
	for ; len(p) > 0; p = p[6:] {
		if e := c.set(xhttp2.SettingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])); e != nil {
			return e
		}
	}
	c.rc.SetOutput(appendSettingsAck(c.rc.Output(frameHeadBytes)))
	if !c.settled {
		c.settled = true
		if c.awaitsAck && !c.leaving {
			c.startTimer(c.shared.Limits.SettingsTimeout)
		}
		c.idle()
	}
	c.handler.Progress(c)
	return nil
}

// set applies one setting of the peer (RFC 9113 section 6.5.2).
func (c *Conn) set(id xhttp2.SettingID, v uint32) *Error {
	switch id {
	case xhttp2.SettingHeaderTableSize:
		c.emptiesTable = c.emptiesTable || v < tableBytes
	case xhttp2.SettingEnablePush:
		if v > 1 || v == 1 && c.client {
			return errSettings
		}
	case xhttp2.SettingMaxConcurrentStreams:
		c.peerStreams = int(min(v, math.MaxInt32))
	case xhttp2.SettingInitialWindowSize:
		if v > windowMax {
			return errWindowSet
		}
		return c.setPeerWindow(int(v))
	case xhttp2.SettingMaxFrameSize:
		if v < frameBytesMax || v > 1<<24-1 {
			return errSettings
		}
		c.peerFrame = frameBytesMax // a larger frame would only delay others
	case xhttp2.SettingEnableConnectProtocol:
		if v > 1 || v == 0 && c.connects {
			return errSettings
		}
		c.connects = v == 1
	}
	return nil
}

// setPeerWindow adjusts the windows of all streams (RFC 9113 section 6.9.2). They may become negative.
func (c *Conn) setPeerWindow(n int) *Error {
	change := n - c.peerWindow
	c.peerWindow = n
	for _, s := range c.streams {
		if s.room+change > windowMax {
			return errWindowSet
		}
		s.room += change
		s.setReady()
	}
	return nil
}

func (c *Conn) onSettingsAck(h frameHead) *Error {
	switch {
	case h.bytes != 0:
		return errFrameSize
	case h.stream != 0:
		return errFrameStream
	case !c.awaitsAck:
		return c.control()
	}
	c.awaitsAck = false
	if !c.leaving {
		c.rc.Loop().StopTimer(&c.timer)
	}
	return nil
}

func (c *Conn) onPing(h frameHead, p []byte) *Error {
	if e := checkPing(h, p); e != nil {
		return e
	}
	c.rc.SetOutput(appendPing(c.rc.Output(frameHeadBytes+8), xhttp2.FlagPingAck, p))
	return nil
}

func (c *Conn) onPingAck(h frameHead, p []byte) *Error {
	if e := checkPing(h, p); e != nil {
		return e
	}
	if c.leaving && !c.lastCall && string(p) == pingMark {
		c.callLast()
		return nil
	}
	if string(p) == probeMark && c.probe.Armed() {
		c.rc.Loop().StopTimer(&c.probe)
		return nil
	}
	return c.control()
}

func checkPing(h frameHead, p []byte) *Error {
	switch {
	case len(p) != 8:
		return errFrameSize
	case h.stream != 0:
		return errFrameStream
	}
	return nil
}

// onGoAway handles GOAWAY. The streams of this side that the peer has not processed end with ErrNotProcessed.
func (c *Conn) onGoAway(h frameHead, p []byte) *Error {
	switch {
	case len(p) < 8:
		return errFrameSize
	case h.stream != 0:
		return errFrameStream
	}
	last := binary.BigEndian.Uint32(p) & streamIDMax
	c.peerGone = true
	if c.client {
		for id, s := range c.streams {
			if id > last {
				s.breakOff(ErrNotProcessed)
			}
		}
		c.lastCall = true
	}
	c.handler.GoingAway(c)
	c.closeIfDone()
	return nil
}

func (c *Conn) onWindowUpdate(h frameHead, p []byte) *Error {
	if len(p) != 4 {
		return errFrameSize
	}
	n := int(binary.BigEndian.Uint32(p) & windowMax)
	if h.stream == 0 {
		switch {
		case n == 0:
			return errWindowZero
		case c.room+n > windowMax:
			return errWindowSet
		}
		c.room += n
		return nil
	}
	if c.isIdle(h.stream) {
		return errIdleStream
	}
	s := c.streams[h.stream]
	switch {
	case n == 0:
		return errStreamZero
	case s == nil:
		return nil // it has ended, which the peer may not know
	case s.room+n > windowMax:
		return errStreamWindow
	}
	s.room += n
	s.setReady()
	return nil
}

// onPriority checks a PRIORITY frame, whose content is not used (RFC 9113 section 5.3.2).
func (c *Conn) onPriority(h frameHead, p []byte) *Error {
	switch {
	case h.stream == 0:
		return errFrameStream
	case len(p) != 5:
		return errPrioritySize
	case binary.BigEndian.Uint32(p)&streamIDMax == h.stream:
		return errDependency
	}
	return nil
}

// onPriorityUpdate handles PRIORITY_UPDATE (RFC 9218 section 7.1).
func (c *Conn) onPriorityUpdate(h frameHead, p []byte) *Error {
	switch {
	case h.stream != 0 || c.client:
		return errFrameStream
	case len(p) < 4:
		return errFrameSize
	}
	stream := binary.BigEndian.Uint32(p) & streamIDMax
	if stream == 0 {
		return errFrameStream
	}
	switch s := c.streams[stream]; {
	case s != nil:
		s.SetPriority(p[4:])
	case c.isIdle(stream) && stream&1 == 1:
		c.keepPriority(stream, p[4:])
	}
	return nil
}
