// The bounds of HTTP/2 connections, in Options.

package app

import (
	"crypto/tls"
	"time"

	"tafe/app/internal/http2"
)

// HTTP2 bounds what one HTTP/2 connection may cost. Zero fields take their defaults. A connection that exceeds one of the bounds of frames
// ends with GOAWAY, whose code is ENHANCE_YOUR_CALM. They are bursts that are refilled within 30 seconds.
type HTTP2 struct {
	StreamsMax int // requests of a connection at once; further ones are refused; default 128

	// The windows of flow control bound the bytes of request bodies that were received and not read. That of a stream begins with 64 KiB
	// and that of a connection with 256 KiB. They grow while handlers read faster than the client sends. Defaults: 1 MiB, 4 MiB, and
	// 256 MiB for the growth of all connections of a loop.
	StreamWindowMax, ConnWindowMax, LoopWindowMax int

	ContinuationsMax int // CONTINUATION frames of one request; default 16
	ResetsMax        int // requests that the client cancels, or that are reset for its errors; default 1000
	ControlFramesMax int // SETTINGS, PING, PRIORITY and WINDOW_UPDATE frames, beyond 4 for each frame with a request or data; default 1000
	EmptyFramesMax   int // DATA frames without data, beyond 4 for each frame with a request or data; default 1000

	SettingsTimeout time.Duration // in which the client must acknowledge SETTINGS; default 10 s
	WriteTimeout    time.Duration // in which the client must open the windows for 16 KiB of a response that waits; default 30 s
}

// http2Limits returns the limits of connections. o has its defaults.
func (o *Options) http2Limits() http2.Limits {
	l := http2.DefaultLimits()
	l.HeadBytesMax, l.TrailerBytesMax, l.FieldsMax = o.Limits.HeadBytesMax, o.Limits.TrailerBytesMax, o.Limits.HeaderCountMax
	l.IdleTimeout, l.HeadTimeout = o.IdleTimeout, o.HeadTimeout
	h := &o.HTTP2
	for _, f := range []struct {
		to    *int
		value int
	}{
		{&l.StreamsMax, h.StreamsMax}, {&l.StreamWindowMax, h.StreamWindowMax}, {&l.ConnWindowMax, h.ConnWindowMax},
		{&l.LoopWindowMax, h.LoopWindowMax}, {&l.ContinuationsMax, h.ContinuationsMax}, {&l.ResetsMax, h.ResetsMax},
		{&l.ControlFramesMax, h.ControlFramesMax}, {&l.EmptyFramesMax, h.EmptyFramesMax},
	} {
		if f.value > 0 {
			*f.to = f.value
		}
	}
	if h.SettingsTimeout > 0 {
		l.SettingsTimeout = h.SettingsTimeout
	}
	if h.WriteTimeout > 0 {
		l.WriteTimeout = h.WriteTimeout
	}
	return l
}

// The names of protocols in ALPN.
const (
	protocolHTTP1 = "http/1.1"
	protocolHTTP2 = "h2"
)

// withProtocols returns config, or a copy that offers HTTP/2 and HTTP/1.1 by ALPN if config says nothing about protocols.
func withProtocols(config *tls.Config, http2 bool) *tls.Config {
	if len(config.NextProtos) > 0 || config.GetConfigForClient != nil {
		return config
	}
	config = config.Clone()
	if config.NextProtos = []string{protocolHTTP1}; http2 {
		config.NextProtos = []string{protocolHTTP2, protocolHTTP1}
	}
	return config
}
