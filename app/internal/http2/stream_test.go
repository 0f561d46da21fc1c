package http2

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"

	"tafe/loop"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

// When the connection is the bottleneck, urgency comes first, then the order of requests or turns.
func TestPriorities(t *testing.T) {
	const size = 3 * frameBytesMax
	for _, c := range []struct {
		priorities []string // of the streams 1, 3, 5, ...; - for none
		want       string
		why        string
	}{
		{[]string{"-", "-"}, "1 3 1 3 1 3", "without priorities, in turns"},
		{[]string{"u=3", "u=3"}, "1 1 1 3 3 3", "not incremental: one after the other"},
		{[]string{"u=5", "u=1"}, "3 3 3 1 1 1", "the urgent one first"},
		{[]string{"u=2, i", "u=2,i", "u=1"}, "5 5 5 1 3 1 3 1 3", "incremental ones in turns"},
		{[]string{"u=3, i=?1;x", "u=9, u=0", "i=?0"}, "3 3 3 5 1 5 1 5 1", "parameters and invalid members are ignored"},
	} {
		d := talk(t, limits(nil))
		require.NoError(t, d.framer.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 20}))
		for i, p := range c.priorities {
			if p == "-" {
				d.request(uint32(2*i+1), true)
			} else {
				d.request(uint32(2*i+1), true, "priority", p)
			}
		}
		d.onBegin = func(s *Stream, head Section) {
			for _, f := range head.Fields {
				if string(f.Name) == "priority" {
					s.SetPriority(f.Value)
				}
			}
		}
		d.send()
		d.frames()
		d.loop.On(func() {
			d.conn.room = 0 // everything is queued
			for _, s := range d.begun {
				answer(s, 200, strings.Repeat("x", size), true)
				s.Release()
			}
		})
		d.frames()
		require.NoError(t, d.framer.WriteWindowUpdate(0, 1<<20))
		d.send()
		var order []string
		for _, f := range d.frames() {
			order = append(order, strings.Fields(f)[0])
		}
		require.Equal(t, c.want, strings.Join(order, " "), c.why)
	}
}

// PRIORITY_UPDATE may come before its stream, and counts more than the field of the request. What is kept is bounded.
func TestPriorityBeforeStream(t *testing.T) {
	d := talk(t, limits(func(l *Limits) { l.StreamsMax = 3 }))
	d.onBegin = func(s *Stream, head Section) { s.SetPriority([]byte("u=6")) }
	for _, u := range []struct {
		stream uint32
		field  string
	}{{1, "u=5"}, {1, "u=1"}, {2, "u=1"}, {5, "u=2, i"}, {7, "u=0" + strings.Repeat(" ", priorityMax)}, {9, "u=1"}, {11, "u=1"}} {
		require.NoError(t, d.framer.WritePriorityUpdate(u.stream, u.field))
	}
	d.request(1, true)
	d.request(3, true)
	d.request(5, true)
	d.send()
	require.Empty(t, d.failed)
	var got []string
	for _, s := range d.begun {
		got = append(got, fmt.Sprint(s.id, " ", s.urgency, " ", s.incremental))
	}
	require.Equal(t, []string{"1 1 false", "3 6 false", "5 2 true"}, got)
	require.Equal(t, []early{{9, "u=1"}}, d.conn.early)
	d.onBegin = func(s *Stream, _ Section) { answer(s, 204, "", true); s.Release() } // s is used again
	d.loop.On(func() { d.begun[0].Reset(xhttp2.ErrCodeNo) })
	d.request(9, true)
	d.send()
	require.NoError(t, d.framer.WritePriorityUpdate(13, "u=1"))
	d.send()
	require.Equal(t, []early{{13, "u=1"}}, d.conn.early, "closed streams are forgotten")
}

// A window grows while its reader is faster than the peer, and not while the reader sleeps.
func TestInputWindows(t *testing.T) {
	d := talk(t, limits(func(l *Limits) { l.StreamWindowMax = 256 << 10 }))
	reads := true
	d.arrived = func(s *Stream) {
		if reads {
			s.Consume(len(s.Input()))
		}
	}
	d.request(1, false)
	d.send()
	piece := make([]byte, 16<<10)
	for range 100 {
		require.NoError(t, d.framer.WriteData(1, false, piece))
		d.send()
	}
	require.Equal(t, 256<<10, d.begun[0].window.size)
	require.Greater(t, d.conn.window.size, windowInitial)
	require.Equal(t, d.conn.granted, d.shared.granted)
	reads = false
	size, sent := d.conn.window.size, 0
	for ; len(d.failed) == 0; sent++ {
		require.NoError(t, d.framer.WriteData(1, false, piece))
		d.send()
	}
	require.LessOrEqual(t, sent*len(piece), 256<<10+len(piece), "the window bounds what is held")
	require.Equal(t, []string{"h2-flow-control"}, d.failed)
	require.Equal(t, size, d.conn.window.size)
	d.loop.On(func() { d.begun[0].Release() })
	require.Zero(t, d.conn.window.unread(), "what was not read is given back")
	d.loop.On(func() { d.conn.Abort(io.EOF) })
	d.loop.Settle()
	require.Zero(t, d.shared.granted)
}

// The windows of connections grow up to ConnWindowMax, and of all connections of a loop by LoopWindowMax.
func TestWindowsAreBounded(t *testing.T) {
	const grown = windowInitial - windowDefault
	d := talk(t, limits(func(l *Limits) { l.ConnWindowMax, l.LoopWindowMax = 1<<20, 1<<20+100_000 }))
	d.arrived = func(s *Stream) { s.Consume(len(s.Input())) }
	open := func() *dialogue {
		d := &dialogue{party: newParty(), t: t, loop: d.loop, shared: d.shared}
		d.peer = d.loop.Open(func(rc *reactor.Conn) reactor.Handler {
			d.conn = NewServer(rc, d.shared, d.party)
			return d.conn
		})
		d.loop.Settle()
		return d
	}
	d.request(1, false)
	for range 500 {
		require.NoError(t, d.framer.WriteData(1, false, make([]byte, 16<<10)))
		d.send()
	}
	require.Empty(t, d.failed)
	require.Equal(t, 1<<20, d.conn.window.size)
	second := open()
	left := d.shared.Limits.LoopWindowMax - d.conn.granted
	require.Less(t, left, grown)
	require.Equal(t, windowDefault+left, second.conn.window.size, "what is left")
	third := open()
	require.Equal(t, windowDefault, third.conn.window.size, "the window that RFC 9113 has")
	d.loop.On(func() { d.conn.Abort(io.EOF) })
	require.Equal(t, windowInitial, open().conn.window.size, "what a closed connection had is free")
}

func TestRateLimit(t *testing.T) {
	var s rateLimit
	now := int64(1)
	for range 10 {
		require.True(t, s.add(now, 10))
	}
	require.False(t, s.add(now, 10), "the burst is used up")
	now += int64(7 * time.Second)
	require.True(t, s.add(now, 10), "and refilled with time")
	require.False(t, s.add(now, 10))
	s.relieve(4, 10)
	require.True(t, s.add(now, 10), "and by useful frames")
}

func TestStall(t *testing.T) {
	d := talk(t, limits(func(l *Limits) { l.WriteTimeout = time.Second }))
	d.onBegin = func(s *Stream, _ Section) { answer(s, 200, strings.Repeat("x", 100_000), true) }
	d.request(1, true)
	d.send()
	d.frames()
	d.loop.Advance(900 * time.Millisecond)
	require.NoError(t, d.framer.WriteWindowUpdate(0, 1<<20))
	require.NoError(t, d.framer.WriteWindowUpdate(1, 20_000))
	d.send()
	require.NotEmpty(t, d.frames())
	d.loop.Advance(900 * time.Millisecond)
	require.Empty(t, d.failed, "16 KiB were taken")
	d.loop.Advance(time.Second)
	require.Equal(t, []string{"write-timeout"}, d.failed)
	require.Equal(t, []string{"1 RST_STREAM CANCEL"}, d.frames())
	require.Zero(t, d.conn.Unsent())
}

// A task that writes more than the client takes waits, and goes on, or ends with the stream.
func TestDrain(t *testing.T) {
	d := talk(t, limits(nil))
	d.request(1, true)
	d.send()
	s := d.begun[0]
	written := 0
	run := d.loop.Start(func(task *loop.Task) {
		defer task.Leave(task.Enter())
		for range 100 {
			if s.Drain(task) != nil {
				return
			}
			Write(s, make([]byte, 16<<10), false)
			written += 16 << 10
		}
	})
	d.loop.Settle()
	require.LessOrEqual(t, written, windowDefault+queueMax+16<<10)
	require.NoError(t, d.framer.WriteWindowUpdate(0, 1<<20))
	require.NoError(t, d.framer.WriteWindowUpdate(1, 200_000))
	d.send()
	require.Greater(t, written, 200_000)
	require.NoError(t, d.framer.WriteRSTStream(1, xhttp2.ErrCodeCancel))
	d.send()
	require.True(t, run.Ended())
	require.Equal(t, ResetError{xhttp2.ErrCodeCancel}, d.broken[1])
}

// A request that was answered before its end: what still arrives is discarded for a while, so that the client reads the answer first.
func TestLinger(t *testing.T) {
	piece := make([]byte, 16<<10)
	for _, c := range []struct {
		why  string
		then func(d *dialogue)
		want []string // but for WINDOW_UPDATE
	}{
		{"the body ends", func(d *dialogue) {
			require.NoError(t, d.framer.WriteData(1, false, piece))
			require.NoError(t, d.framer.WriteData(1, true, piece))
			d.send()
		}, nil},
		{"trailers end it", func(d *dialogue) {
			require.NoError(t, d.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: d.section("sum", "4"), EndStream: true, EndHeaders: true}))
			d.send()
		}, nil},
		{"the client resets", func(d *dialogue) {
			require.NoError(t, d.framer.WriteRSTStream(1, xhttp2.ErrCodeNo))
			d.send()
			require.Zero(t, d.conn.resets.full, "the answer was complete: no rapid reset")
		}, nil},
		{"it ends too late", func(d *dialogue) {
			d.loop.Advance(lingerTime + time.Second)
			require.NoError(t, d.framer.WriteData(1, true, piece))
			d.send()
		}, []string{"1 RST_STREAM NO_ERROR"}},
		{"it is too long", func(d *dialogue) {
			for range lingerBytes/len(piece) + 2 {
				require.NoError(t, d.framer.WriteData(1, false, piece))
				d.send()
			}
		}, []string{"1 RST_STREAM NO_ERROR"}},
	} {
		t.Run(c.why, func(t *testing.T) {
			d := talk(t, limits(nil))
			d.onBegin = func(s *Stream, _ Section) { s.Expect(1 << 30); answer(s, 413, "no", true); s.Finish(); s.Release() }
			d.request(1, false)
			d.send()
			require.Equal(t, []string{"1 HEADERS :status=413", `1 DATA "no" end`}, d.frames())
			require.Equal(t, 1, d.conn.Streams())
			c.then(d)
			var got []string
			for _, f := range d.frames() {
				if !strings.Contains(f, "WINDOW_UPDATE") {
					got = append(got, f)
				}
			}
			require.Equal(t, c.want, got)
			require.Empty(t, d.failed)
			require.Zero(t, d.conn.Streams())
			require.Zero(t, d.conn.window.unread())
			require.Len(t, d.shared.free, 1, "the stream is used again")
			d.loop.Advance(time.Minute / 2)
			require.Empty(t, d.frames())
		})
	}
}

func TestTrailers(t *testing.T) {
	d := talk(t, limits(nil))
	d.request(1, false)
	require.NoError(t, d.framer.WriteData(1, false, []byte("body")))
	require.NoError(t, d.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: d.section("sum", "4"), EndStream: true, EndHeaders: true}))
	d.send()
	s := d.begun[0]
	require.Equal(t, "body", string(s.Input()))
	require.True(t, s.InputEnded())
	require.Equal(t, "sum", string(d.further[1][0].Fields[0].Name))
	d.loop.On(func() {
		d.conn.room = 3 // the trailers wait for the body
		answer(s, 200, "answer", false)
		b, at := s.OpenSection(0)
		s.CloseSection(AppendField(b, "Status", "0"), at, true)
	})
	require.Equal(t, []string{"1 HEADERS :status=200", `1 DATA "ans"`}, d.frames()[:2])
	require.NoError(t, d.framer.WriteWindowUpdate(0, 100))
	d.send()
	require.Equal(t, []string{`1 DATA "wer"`, "1 HEADERS end status=0"}, d.frames())
	require.Zero(t, d.conn.Streams())
}

// Long sections are continued; both roles understand each other, whatever the splits.
func TestBothRoles(t *testing.T) {
	for seed := range uint64(20) {
		l := looptest.New(t, looptest.Options{Seed: seed + 1})
		server, client := newParty(), newParty()
		var there, here *looptest.Peer
		there = l.Open(func(rc *reactor.Conn) reactor.Handler {
			server.conn = NewServer(rc, &Shared{Limits: limits(nil)}, server)
			return server.conn
		})
		here = l.Open(func(rc *reactor.Conn) reactor.Handler {
			client.conn = NewClient(rc, &Shared{Limits: limits(nil)}, client)
			return client.conn
		})
		settle := func() {
			for {
				l.Settle()
				up, down := bytes.Clone(here.Received()), bytes.Clone(there.Received())
				if len(up)+len(down) == 0 {
					return
				}
				there.Send(up)
				here.Send(down)
			}
		}
		echo := func(s *Stream) {
			in := bytes.Clone(s.Input())
			s.Consume(len(in))
			Write(s, in, s.InputEnded())
		}
		long := strings.Repeat("v", 20_000)
		server.onBegin = func(s *Stream, _ Section) {
			b, at := s.OpenSection(0)
			s.CloseSection(AppendField(AppendStatus(b, 418), "X-Long", long), at, false)
			echo(s)
		}
		server.arrived = echo
		got := map[uint32]int{}
		client.arrived = func(s *Stream) {
			got[s.ID()] += len(s.Input())
			s.Consume(len(s.Input()))
		}
		settle()
		const streams, size = 5, 150_000
		l.On(func() {
			for range streams {
				s, err := client.conn.Open(client)
				require.NoError(t, err)
				b, at := s.OpenSection(0)
				for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "h"}, {"x-long", long}} {
					b = AppendField(b, f[0], f[1])
				}
				s.CloseSection(b, at, false)
				Write(s, make([]byte, size), true)
			}
		})
		settle()
		require.Empty(t, append(client.failed, server.failed...))
		require.Len(t, server.begun, streams)
		require.Len(t, got, streams, "seed %d", seed+1)
		for id, n := range got {
			require.Equal(t, size, n, "seed %d, stream %d", seed+1, id)
			require.Equal(t, "418", string(client.further[id][0].Fields[0].Value))
			require.Len(t, client.further[id][0].Fields[1].Value, len(long))
		}
		require.Zero(t, client.conn.Streams())
		require.Zero(t, server.conn.Streams())
		require.Empty(t, append(client.failed, server.failed...))
		l.On(func() { client.conn.Shutdown() })
		l.Settle()
		here.Close()
		there.Close()
		l.Settle()
		require.True(t, server.closed && client.closed, fmt.Sprint(seed))
	}
}

func TestTrailersTooLarge(t *testing.T) {
	for _, c := range []struct {
		why    string
		change func(l *Limits)
		fields []string
		want   string // reason; "": taken
	}{
		{"a section of TrailerBytesMax", func(l *Limits) { l.TrailerBytesMax = len("sum: 4\r\n") }, []string{"sum", "4"}, ""},
		{"one byte more", func(l *Limits) { l.TrailerBytesMax = len("sum: 4\r\n") - 1 }, []string{"sum", "4"}, "trailer-too-large"},
		{"HeadBytesMax is lower", func(l *Limits) { l.HeadBytesMax = 60 }, []string{"sum", strings.Repeat("4", 60)}, "trailer-too-large"},
		{"more fields than FieldsMax", func(l *Limits) { l.FieldsMax = 4 }, []string{"a", "", "b", "", "c", "", "d", "", "e", ""}, "trailer-too-large"},
		{"a pseudo-header field", func(*Limits) {}, []string{":status", "200"}, "h2-trailers"},
		{"a field of HTTP/1", func(*Limits) {}, []string{"transfer-encoding", "chunked"}, "h2-trailers"},
	} {
		t.Run(c.why, func(t *testing.T) {
			d := talk(t, limits(c.change))
			d.request(1, false)
			require.NoError(t, d.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: d.section(c.fields...), EndStream: true, EndHeaders: true}))
			d.request(3, true)
			d.send()
			require.Len(t, d.begun, 2, "the connection goes on")
			if c.want == "" {
				require.Empty(t, d.failed)
				require.Len(t, d.further[1], 1)
				return
			}
			require.Equal(t, []string{c.want}, d.failed)
			require.Empty(t, d.further[1])
			require.Error(t, d.broken[1])
		})
	}
}

// Shared.Limits is replaced while a connection is open. The limits that SETTINGS has announced stay those of the connection (RFC 9113
// section 6.5); the others change.
func TestAnnouncedLimitsStay(t *testing.T) {
	d := talk(t, limits(func(l *Limits) { l.StreamsMax, l.HeadBytesMax = 3, 4000 }))
	d.shared.Limits = limits(func(l *Limits) { l.StreamsMax, l.HeadBytesMax, l.TrailerBytesMax = 1, 100, 10 })
	for id := uint32(1); id <= 5; id += 2 {
		d.request(id, false, "x-long", strings.Repeat("v", 2000))
	}
	d.send()
	require.Empty(t, d.failed)
	require.Len(t, d.begun, 3)
	require.NotEmpty(t, d.heads[1])
	require.Equal(t, "x-long", string(d.heads[5][4].Name), "the section is complete")
	d.request(7, true)
	d.send()
	require.Equal(t, []string{"h2-streams-max"}, d.failed, "the announced bound still holds")
	require.NoError(t, d.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: d.section("sum", "1234567"), EndStream: true, EndHeaders: true}))
	d.send()
	require.Equal(t, []string{"h2-streams-max", "trailer-too-large"}, d.failed)

	d.shared.Limits = limits(func(l *Limits) { l.StreamsMax = 100 })
	d.request(9, false)
	d.request(11, false)
	d.send()
	require.Equal(t, "h2-streams-max", d.failed[len(d.failed)-1], "a higher bound was not announced")
	require.Len(t, d.begun, 4)
}
