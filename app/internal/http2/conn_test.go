package http2

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
)

func TestOpening(t *testing.T) {
	d := silent(t, limits(nil))
	require.Equal(t, []string{
		"SETTINGS [ENABLE_CONNECT_PROTOCOL = 1] [NO_RFC7540_PRIORITIES = 1] [MAX_CONCURRENT_STREAMS = 128] [MAX_HEADER_LIST_SIZE = 32768]",
		"0 WINDOW_UPDATE 196609",
	}, d.frames())
}

func TestRequestAndAnswer(t *testing.T) {
	d := talk(t, limits(nil))
	d.onBegin = func(s *Stream, head Section) {
		require.True(t, head.End)
		answer(s, 200, "hello", true)
		s.Release()
	}
	d.request(1, true, "x", "y")
	d.send()
	require.Equal(t, []string{"1 HEADERS :status=200", `1 DATA "hello" end`}, d.frames())
	require.Zero(t, d.conn.Streams())
	require.Len(t, d.heads[1], 5)
}

// A body waits for windows, of the stream and of the connection, and goes on when they open.
func TestOutputWaitsForWindows(t *testing.T) {
	d := talk(t, limits(nil))
	d.onBegin = func(s *Stream, _ Section) { answer(s, 200, strings.Repeat("x", 100_000), true); s.Release() }
	d.request(1, true)
	d.send()
	require.Equal(t, []string{"1 HEADERS :status=200", "1 DATA 16384", "1 DATA 16384", "1 DATA 16384", "1 DATA 16383"}, d.frames())
	require.Equal(t, 100_000-windowDefault, d.conn.Unsent())
	require.NoError(t, d.framer.WriteWindowUpdate(1, 100))
	d.send()
	require.Empty(t, d.frames(), "the window of the connection is closed")
	require.NoError(t, d.framer.WriteWindowUpdate(0, 1<<20))
	d.send()
	require.Equal(t, []string{"1 DATA 100"}, d.frames())
	require.NoError(t, d.framer.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 200_000}))
	d.send()
	require.Equal(t, []string{"SETTINGS ack", "1 DATA 16384", "1 DATA 16384", "1 DATA 1597 end"}, d.frames())
	require.Zero(t, d.conn.Unsent())
}

func TestErrorsOfConnections(t *testing.T) {
	for _, c := range []struct {
		write  func(d *dialogue)
		code   xhttp2.ErrCode
		reason string
		why    string
	}{
		{func(d *dialogue) { _ = d.framer.WriteData(0, true, nil) }, xhttp2.ErrCodeProtocol, "h2-frame-stream", "DATA needs a stream"},
		{func(d *dialogue) { _ = d.framer.WriteData(1, true, nil) }, xhttp2.ErrCodeProtocol, "h2-idle-stream", "that was opened"},
		{func(d *dialogue) { _ = d.framer.WriteWindowUpdate(0, 0) }, xhttp2.ErrCodeProtocol, "h2-window-zero", "an update of nothing"},
		{func(d *dialogue) { _ = d.framer.WriteWindowUpdate(0, 1<<31-1) }, xhttp2.ErrCodeFlowControl, "h2-window", "a window beyond 31 bits"},
		{func(d *dialogue) { d.request(2, true) }, xhttp2.ErrCodeProtocol, "h2-stream-id", "even numbers are the server's"},
		{func(d *dialogue) { d.request(5, false); d.request(3, true) }, xhttp2.ErrCodeProtocol, "h2-stream-id", "numbers ascend"},
		{func(d *dialogue) { _ = d.framer.WriteRawFrame(xhttp2.FramePing, 0, 0, make([]byte, 7)) }, xhttp2.ErrCodeFrameSize, "h2-frame-size", "PING has 8 bytes"},
		{func(d *dialogue) { _ = d.framer.WriteRawFrame(xhttp2.FrameSettings, 0, 0, make([]byte, 7)) }, xhttp2.ErrCodeFrameSize, "h2-frame-size", "a setting has 6 bytes"},
		{func(d *dialogue) { _ = d.framer.WriteRawFrame(xhttp2.FrameData, 0, 1, make([]byte, 16385)) }, xhttp2.ErrCodeFrameSize, "h2-frame-size", "SETTINGS_MAX_FRAME_SIZE"},
		{func(d *dialogue) { _ = d.framer.WriteContinuation(1, true, nil) }, xhttp2.ErrCodeProtocol, "h2-frame-sequence", "CONTINUATION of nothing"},
		{func(d *dialogue) { _ = d.framer.WritePushPromise(xhttp2.PushPromiseParam{StreamID: 1, PromiseID: 2}) }, xhttp2.ErrCodeProtocol, "h2-push", "clients do not push"},
		{func(d *dialogue) {
			_ = d.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x80}, EndHeaders: true})
		}, xhttp2.ErrCodeCompression, "h2-compression", "index 0 of HPACK"},
	} {
		d := talk(t, limits(nil))
		c.write(d)
		d.send()
		frames := d.frames()
		require.NotEmpty(t, frames, c.why)
		last := frames[len(frames)-1]
		require.True(t, strings.HasPrefix(last, "GOAWAY ") && strings.HasSuffix(last, c.code.String()+" "+c.reason), "%s: %v", c.why, frames)
		require.Equal(t, []string{c.reason}, d.failed, c.why)
		require.True(t, d.closed, c.why)
	}
}

func TestShutdown(t *testing.T) {
	d := talk(t, limits(nil))
	d.request(1, true)
	d.send()
	d.loop.On(d.conn.Shutdown)
	require.Equal(t, []string{"GOAWAY 2147483647 NO_ERROR ", `PING false "tafe:bye"`}, d.frames())
	d.request(3, true) // it was sent before GOAWAY arrived
	require.NoError(t, d.framer.WritePing(true, [8]byte([]byte(pingMark))))
	d.send()
	require.Equal(t, []string{"GOAWAY 3 NO_ERROR "}, d.frames())
	d.request(5, true)
	d.send()
	require.Len(t, d.begun, 2, "a stream after the last one is not processed")
	d.loop.On(func() {
		for _, s := range d.begun {
			answer(s, 204, "", true)
			s.Release()
		}
	})
	require.Equal(t, []string{"1 HEADERS end :status=204", "3 HEADERS end :status=204"}, d.frames())
	d.loop.Settle()
	require.True(t, d.peer.Ended())
}

func TestTimeouts(t *testing.T) {
	d := silent(t, limits(nil))
	d.loop.Advance(11 * time.Second)
	require.True(t, d.closed, "nothing was sent")
	require.Empty(t, d.failed)

	for _, c := range []struct {
		why    string
		send   func(d *dialogue)
		within time.Duration
		reason string
	}{
		{"no SETTINGS", func(*dialogue) {}, 10 * time.Second, "h2-head-timeout"},
		{"SETTINGS are not acknowledged", func(d *dialogue) {
			require.NoError(t, d.framer.WriteSettings())
			d.request(1, false)
		}, 3 * time.Second, "h2-settings-timeout"},
		{"a field section does not end", func(d *dialogue) {
			require.NoError(t, d.framer.WriteSettings())
			require.NoError(t, d.framer.WriteSettingsAck())
			require.NoError(t, d.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: d.section("a", "b")}))
		}, 10 * time.Second, "h2-head-timeout"},
	} {
		d = silent(t, limits(func(l *Limits) { l.SettingsTimeout = 3 * time.Second }))
		d.out.WriteString(Preface)
		c.send(d)
		d.send()
		d.loop.Advance(c.within - time.Second)
		require.Empty(t, d.failed, c.why)
		d.loop.Advance(2 * time.Second)
		require.Equal(t, []string{c.reason}, d.failed, c.why)
		frames := d.frames()
		require.Contains(t, frames[len(frames)-1], "GOAWAY", c.why)
		require.Contains(t, frames[len(frames)-1], c.reason, c.why)
	}

	d = talk(t, limits(nil))
	d.loop.Advance(61 * time.Second)
	require.Equal(t, []string{"GOAWAY 0 NO_ERROR "}, d.frames(), "idle")
	require.True(t, d.peer.Ended())
}

// A peer that makes the dynamic table smaller expects the next section that arrives to begin with a size (RFC 7541 section 4.2).
func TestHeaderTableSize(t *testing.T) {
	for _, c := range []struct {
		sizes []uint32 // of the peer, by SETTINGS
		want  string   // begin of the next section
		why   string
	}{
		{nil, "\x88", "the default"},
		{[]uint32{tableBytes}, "\x88", "the default"},
		{[]uint32{1 << 20}, "\x88", "a larger table, which is not used"},
		{[]uint32{0}, "\x20\x88", "none"},
		{[]uint32{100, tableBytes}, "\x20\x88", "the smallest size counts"},
	} {
		d := talk(t, limits(nil))
		d.framer.ReadMetaHeaders = nil
		d.onBegin = func(s *Stream, _ Section) {
			answer(s, 200, strings.Repeat("x", windowDefault+1), false)
			b, at := s.OpenSection(0)
			s.CloseSection(AppendStatus(b, 404), at, true) // waits for the body
		}
		for _, size := range c.sizes {
			require.NoError(t, d.framer.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: size}))
		}
		d.request(1, true)
		d.send()
		sections := func() (all []string) {
			d.in.Write(d.peer.Received())
			for d.in.Len() > 0 {
				f, err := d.framer.ReadFrame()
				require.NoError(t, err)
				if f, ok := f.(*xhttp2.HeadersFrame); ok {
					all = append(all, string(f.HeaderBlockFragment()))
				}
			}
			return all
		}
		require.Equal(t, []string{c.want}, sections(), c.why)
		require.NoError(t, d.framer.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: 10}))
		require.NoError(t, d.framer.WriteWindowUpdate(0, 100))
		require.NoError(t, d.framer.WriteWindowUpdate(1, 100))
		d.send()
		require.Equal(t, []string{"\x20\x8d"}, sections(), "trailers that were encoded before")
	}
}

// Frames of requests that the client has sent before it knew of GOAWAY are ignored, and the others are answered.
func TestFramesAfterShutdown(t *testing.T) {
	d := talk(t, limits(nil))
	d.request(1, false)
	d.send()
	d.loop.On(d.conn.Shutdown)
	d.frames()
	d.loop.Advance(2 * leaveTime)
	require.Equal(t, []string{"GOAWAY 1 NO_ERROR "}, d.frames())
	for id := uint32(3); id < 20; id += 2 {
		d.request(id, false)
		require.NoError(t, d.framer.WriteWindowUpdate(id, 10))
		require.NoError(t, d.framer.WriteData(id, false, make([]byte, 16<<10)))
		require.NoError(t, d.framer.WriteData(id, true, make([]byte, 16<<10)))
		require.NoError(t, d.framer.WriteRSTStream(id, xhttp2.ErrCodeCancel))
	}
	require.NoError(t, d.framer.WriteData(1, true, []byte("end")))
	d.send()
	require.Empty(t, d.failed)
	require.Len(t, d.begun, 1)
	require.Equal(t, "end", string(d.begun[0].Input()))
	require.NotContains(t, strings.Join(d.frames(), "\n"), "RST_STREAM", "the client knows by GOAWAY")
	d.loop.On(func() { answer(d.begun[0], 204, "", true); d.begun[0].Release() })
	require.Equal(t, []string{"1 HEADERS end :status=204"}, d.frames())
	d.loop.Settle()
	require.True(t, d.peer.Ended())
}

// A client that reads nothing cannot have answers to control frames pile up, whatever else it sends.
func TestUnreadAnswers(t *testing.T) {
	for _, c := range []struct {
		why     string
		control func(d *dialogue) error
	}{
		{"PING", func(d *dialogue) error { return d.framer.WritePing(false, [8]byte{}) }},
		{"SETTINGS", func(d *dialogue) error { return d.framer.WriteSettings() }},
	} {
		t.Run(c.why, func(t *testing.T) {
			d := talk(t, limits(nil))
			d.arrived = func(s *Stream) { s.Consume(len(s.Input())) }
			d.request(1, false)
			d.send()
			d.peer.Stall()
			for round := 0; !d.conn.Ended() && round < 1000; round++ {
				for range 100 {
					for range usefulness {
						require.NoError(t, c.control(d))
					}
					require.NoError(t, d.framer.WriteData(1, false, []byte("x")))
				}
				d.send()
				require.Less(t, d.conn.Unsent(), 4*outputMax)
			}
			require.Equal(t, []string{"h2-control-frames"}, d.failed)
		})
	}
}

// The work that floods cause is bounded: the connection ends with the first frame beyond the bound, and what follows is not looked at.
func TestFloods(t *testing.T) {
	const most = 50
	for _, c := range []struct {
		why    string
		begin  func(d *dialogue)
		flood  func(d *dialogue, i uint32) error
		reason string
		taken  int // frames, or requests
	}{
		{"PING", nil, func(d *dialogue, _ uint32) error { return d.framer.WritePing(false, [8]byte{}) }, "h2-control-frames", most},
		{"SETTINGS", nil, func(d *dialogue, _ uint32) error { return d.framer.WriteSettings() }, "h2-control-frames", most},
		{"acknowledgements", nil, func(d *dialogue, _ uint32) error { return d.framer.WriteSettingsAck() }, "h2-control-frames", most},
		{"PRIORITY", nil, func(d *dialogue, i uint32) error { return d.framer.WritePriority(i, xhttp2.PriorityParam{}) }, "h2-control-frames", most},
		{"PRIORITY_UPDATE", nil, func(d *dialogue, i uint32) error { return d.framer.WritePriorityUpdate(i, "u=1") }, "h2-control-frames", most},
		{"WINDOW_UPDATE", nil, func(d *dialogue, _ uint32) error { return d.framer.WriteWindowUpdate(0, 1) }, "h2-control-frames", most},
		{"unknown frames", nil, func(d *dialogue, i uint32) error { return d.framer.WriteRawFrame(0xee, 0, i, nil) }, "h2-control-frames", most},
		{"RST_STREAM of a closed stream", func(d *dialogue) {
			d.request(1, false)
			require.NoError(t, d.framer.WriteRSTStream(1, xhttp2.ErrCodeCancel))
		}, func(d *dialogue, _ uint32) error { return d.framer.WriteRSTStream(1, xhttp2.ErrCodeCancel) }, "h2-control-frames", most + usefulness},
		{"rapid reset", nil, func(d *dialogue, i uint32) error {
			d.request(i, false)
			return d.framer.WriteRSTStream(i, xhttp2.ErrCodeCancel)
		}, "h2-resets", most},
		{"DATA without data", func(d *dialogue) { d.request(1, false) },
			func(d *dialogue, _ uint32) error { return d.framer.WriteData(1, false, nil) }, "h2-empty-frames", most},
	} {
		t.Run(c.why, func(t *testing.T) {
			d := talk(t, limits(func(l *Limits) { l.ControlFramesMax, l.EmptyFramesMax, l.ResetsMax = most, most, most }))
			d.conn.controls, d.conn.empties = rateLimit{}, rateLimit{} // what the opening has used
			if c.begin != nil {
				c.begin(d)
				d.send()
			}
			taken := -1
			for i := uint32(3); len(d.failed) == 0 && taken < 10*most; i += 2 {
				require.NoError(t, c.flood(d, i))
				d.send()
				taken++
			}
			require.Equal(t, []string{c.reason}, d.failed)
			require.InDelta(t, c.taken, taken, usefulness)
			frames := d.frames()
			require.Contains(t, frames[len(frames)-1], "ENHANCE_YOUR_CALM "+c.reason)
			before := len(d.begun)
			d.request(10_001, true)
			d.send()
			require.Len(t, d.begun, before)
			require.Zero(t, d.conn.Streams())
		})
	}
}
