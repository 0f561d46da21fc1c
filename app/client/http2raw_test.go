package client

// HTTP/2 with servers that send exactly the given frames.

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"tafe/loop"
	"tafe/loop/reactor"
)

// frames is a raw server of HTTP/2 on one connection.
type frames struct {
	*http2.Framer
	t   testing.TB
	w   *wire
	out bytes.Buffer // encoded fields
	enc *hpack.Encoder
}

// serveFrames runs talk for each connection, after the preface and SETTINGS of both sides.
func serveFrames(t testing.TB, talk func(f *frames), settings ...http2.Setting) *peer {
	return serve(t, func(w *wire) {
		if f := acceptFrames(t, w); f != nil {
			_ = f.WriteSettings(settings...)
			talk(f)
		}
	})
}

// acceptFrames reads the preface of a client; nil without one.
func acceptFrames(t testing.TB, w *wire) *frames {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(w.r, preface); err != nil || string(preface) != http2.ClientPreface {
		return nil
	}
	f := &frames{Framer: http2.NewFramer(w.Conn, w.r), t: t, w: w}
	f.AllowIllegalWrites = true
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.enc = hpack.NewEncoder(&f.out)
	return f
}

// next returns the next frame of a type; nil at the end of the connection.
func (f *frames) next(kind http2.FrameType) http2.Frame {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return nil
		}
		if frame.Header().Type == kind {
			return frame
		}
	}
}

// request waits for the head of a request and returns its stream; 0 at the end of the connection.
func (f *frames) request() uint32 {
	if frame := f.next(http2.FrameHeaders); frame != nil {
		return frame.Header().StreamID
	}
	return 0
}

// requestBefore is request with a timeout, after which f can read no more.
func (f *frames) requestBefore(d time.Duration) uint32 {
	_ = f.w.SetReadDeadline(time.Now().Add(d))
	return f.request()
}

// pieces sends a field section in CONTINUATION frames.
func (f *frames) pieces(id uint32, fields ...string) {
	f.encode(fields)
	b := f.out.Bytes()
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b[:1]})
	for b = b[1:]; len(b) > 10_000; b = b[10_000:] {
		_ = f.WriteContinuation(id, false, b[:10_000])
	}
	_ = f.WriteContinuation(id, true, b)
}

func (f *frames) encode(fields []string) {
	f.out.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = f.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
}

func (f *frames) section(id uint32, end bool, fields ...string) {
	f.encode(fields)
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.out.Bytes(), EndStream: end, EndHeaders: true})
}

// hello answers stream id.
func (f *frames) hello(id uint32) {
	f.section(id, false, ":status", "200")
	_ = f.WriteData(id, true, []byte("hello"))
}

func (f *frames) drain() {
	for {
		if _, err := f.ReadFrame(); err != nil {
			return
		}
	}
}

// inTask runs code in a task, with a client of its own.
func inTask(t *testing.T, o Options, code func(c *Client, task *loop.Task)) *Client {
	t.Helper()
	o.Protocol = H2C
	c := newClient(t, o)
	start(t, loops(t, 1).Loops()[0], func(task *loop.Task) { code(c, task) }).wait(t)
	return c
}

// Responses that are not valid, and what the client makes of them.
func TestHTTP2Responses(t *testing.T) {
	long := strings.Repeat("x", 20<<10)
	for _, tt := range []struct {
		why    string
		answer func(f *frames, id uint32)
		kind   Kind // 0: a response
		stage  Stage
		want   string // body, or a part of the error
	}{
		{"a response", func(f *frames, id uint32) { f.hello(id) }, 0, 0, "hello"},
		{"padding and empty frames", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200")
			_ = f.WriteDataPadded(id, false, []byte("hel"), make([]byte, 9))
			_ = f.WriteData(id, false, nil)
			_ = f.WriteData(id, true, []byte("lo"))
		}, 0, 0, "hello"},
		{"an end that comes after the whole length", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200", "content-length", "5")
			_ = f.WriteData(id, false, []byte("hello"))
			_ = f.WritePing(false, [8]byte{1})
			for ping := f.next(http2.FramePing); ping != nil && !ping.(*http2.PingFrame).IsAck(); ping = f.next(http2.FramePing) {
			}
			f.section(id, true, "a", "b")
		}, 0, 0, "hello"},
		{"a field section in pieces", func(f *frames, id uint32) {
			f.pieces(id, ":status", "200", "a", long)
			_ = f.WriteData(id, true, []byte("hello"))
		}, 0, 0, "hello"},
		{"the stream is reset after a complete response", func(f *frames, id uint32) {
			f.hello(id)
			_ = f.WriteRSTStream(id, http2.ErrCodeNo)
		}, 0, 0, "hello"},
		{"unknown frames", func(f *frames, id uint32) {
			_ = f.WriteRawFrame(0x77, 0xff, id, []byte("abc"))
			f.hello(id)
		}, 0, 0, "hello"},
		{"no status", func(f *frames, id uint32) { f.section(id, true, "a", "b") }, KindProtocol, StageHead, "h2-malformed"},
		{"the status is not first", func(f *frames, id uint32) { f.section(id, true, "a", "b", ":status", "200") }, KindProtocol, StageHead, "h2-malformed"},
		{"two statuses", func(f *frames, id uint32) { f.section(id, true, ":status", "200", ":status", "200") }, KindProtocol, StageHead, "h2-malformed"},
		{"a status of two digits", func(f *frames, id uint32) { f.section(id, true, ":status", "20") }, KindProtocol, StageHead, "h2-malformed"},
		{"101 does not exist", func(f *frames, id uint32) { f.section(id, false, ":status", "101") }, KindProtocol, StageHead, "h2-malformed"},
		{"an interim response ends nothing", func(f *frames, id uint32) { f.section(id, true, ":status", "103") }, KindProtocol, StageHead, "h2-malformed"},
		{"a name in upper case", func(f *frames, id uint32) { f.section(id, true, ":status", "200", "A", "b") }, KindProtocol, StageHead, "h2-malformed"},
		{"a line break in a value", func(f *frames, id uint32) { f.section(id, true, ":status", "200", "a", "b\r\nc: d") }, KindProtocol, StageHead, "h2-malformed"},
		{"a field of the connection", func(f *frames, id uint32) { f.section(id, true, ":status", "200", "connection", "close") }, KindProtocol, StageHead, "h2-malformed"},
		{"a coding of HTTP/1", func(f *frames, id uint32) { f.section(id, true, ":status", "200", "transfer-encoding", "chunked") }, KindProtocol, StageHead, "h2-malformed"},
		{"two lengths", func(f *frames, id uint32) {
			f.section(id, true, ":status", "200", "content-length", "1", "content-length", "2")
		}, KindProtocol, StageHead, "h2-malformed"},
		{"a length without a body", func(f *frames, id uint32) { f.section(id, true, ":status", "200", "content-length", "5") }, KindProtocol, StageHead, "h2-malformed"},
		{"a body that is shorter than its length", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200", "content-length", "6")
			_ = f.WriteData(id, true, []byte("hello"))
		}, KindProtocol, StageBody, "h2-content-length"},
		{"a body that is longer than its length", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200", "content-length", "4")
			_ = f.WriteData(id, true, []byte("hello"))
		}, KindProtocol, StageBody, "h2-content-length"},
		{"a head that is too large", func(f *frames, id uint32) { f.pieces(id, ":status", "200", "a", long, "b", long, "c", long) }, KindProtocol, StageHead, "head-too-large"},
		{"trailers with a status", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200")
			f.section(id, true, ":status", "200")
		}, KindProtocol, StageBody, "h2-trailers"},
		{"trailers that end nothing", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200")
			f.section(id, false, "a", "b")
		}, KindProtocol, StageBody, "h2-trailers"},
		{"a body without a head", func(f *frames, id uint32) { _ = f.WriteData(id, true, []byte("hello")) }, KindProtocol, StageHead, "h2-malformed"},
		{"the server gives up", func(f *frames, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeInternal) }, KindLost, StageHead, "INTERNAL_ERROR"},
		{"the server gives up in the body", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200")
			_ = f.WriteData(id, false, []byte("hel"))
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
		}, KindLost, StageBody, "INTERNAL_ERROR"},
		{"the connection ends", func(f *frames, id uint32) { _ = f.w.Close() }, KindLost, StageHead, "connection lost"},
		{"the connection ends in the body", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200")
			_ = f.WriteData(id, false, []byte("hel"))
			_ = f.w.Close()
		}, KindLost, StageBody, "connection lost"},
		{"a push", func(f *frames, id uint32) {
			_ = f.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, EndHeaders: true})
		}, KindProtocol, StageHead, "h2-push"},
		{"more data than the window", func(f *frames, id uint32) {
			f.section(id, false, ":status", "200")
			for range 20 {
				_ = f.WriteData(id, false, make([]byte, 16<<10))
			}
		}, KindProtocol, StageBody, "h2-flow-control"},
		{"a frame that is too large", func(f *frames, id uint32) { _ = f.WriteRawFrame(http2.FrameData, 0, id, make([]byte, 16<<10+1)) }, KindProtocol, StageHead, "h2-frame-size"},
		{"fields that cannot be decoded", func(f *frames, id uint32) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x80}, EndHeaders: true})
		}, KindProtocol, StageHead, "h2-compression"},
		{"a response without a request", func(f *frames, id uint32) { f.hello(id + 2) }, KindProtocol, StageHead, "h2-stream-id"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			p := serveFrames(t, func(f *frames) {
				for id := f.request(); id != 0; id = f.request() {
					tt.answer(f, id)
				}
			})
			inTask(t, Options{}, func(c *Client, task *loop.Task) {
				var resp Response
				defer resp.Close()
				err := c.Do(task, nil, &Request{Method: "POST", URL: p.url("/"), Interim: nil}, &resp)
				var body []byte
				if err == nil && tt.stage == StageBody && strings.Contains(tt.want, "flow") {
					require.Equal(t, 200, resp.Status) // nothing is read, so that the window closes
					for err = nil; err == nil; {       // until the error follows what arrived before
						_, err = resp.Read(make([]byte, 1))
					}
				} else if err == nil {
					body, err = resp.ReadAll(100)
				}
				if tt.kind == 0 {
					require.NoError(t, err)
					require.Equal(t, tt.want, string(body))
					return
				}
				var f *Error
				require.ErrorAs(t, err, &f)
				require.Equal(t, tt.kind.String(), f.Kind.String(), "%v", err)
				if f.Stage != StageHead { // the connection may end before the head was seen
					require.Equal(t, tt.stage.String(), f.Stage.String(), "%v", err)
				}
				require.Contains(t, err.Error(), tt.want)
				require.False(t, f.Unprocessed)
			})
		})
	}
}

// Which requests are sent again, and where.
func TestHTTP2Retries(t *testing.T) {
	for _, tt := range []struct {
		why    string
		req    Request
		refuse func(f *frames, id uint32)
		tries  int // requests that the servers received; the last one is answered
		fails  bool
		conns  int
	}{
		{"a refused stream", Request{Method: "POST", Body: []byte("a")},
			func(f *frames, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, 2, false, 1},
		{"a stream behind the last one of GOAWAY", Request{Method: "POST", Body: []byte("a")},
			func(f *frames, id uint32) { _ = f.WriteGoAway(id-1, http2.ErrCodeNo, nil); f.drain() }, 2, false, 2},
		{"a stream up to the last one of GOAWAY is not sent again", Request{Method: "POST", Body: []byte("a")},
			func(f *frames, id uint32) { _ = f.WriteGoAway(id, http2.ErrCodeNo, nil); f.hello(id); f.drain() }, 1, false, 1},
		{"nor is one whose connection ends", Request{Method: "POST", Body: []byte("a")},
			func(f *frames, id uint32) { _ = f.w.Close() }, 1, true, 1},
		{"one that was reset for another reason", Request{Method: "POST", Body: []byte("a")},
			func(f *frames, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeCancel) }, 1, true, 1},
		{"or whose body was read", Request{Method: "POST", Stream: strings.NewReader("a"), StreamLength: 1},
			func(f *frames, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, 1, true, 1},
		{"retries of an idempotent request", Request{Method: "PUT", Body: []byte("a"), Retries: 1},
			func(f *frames, id uint32) { _ = f.w.Close() }, 2, false, 2},
	} {
		t.Run(tt.why, func(t *testing.T) {
			var got atomic.Int32
			p := serveFrames(t, func(f *frames) {
				for id := f.request(); id != 0; id = f.request() {
					if got.Add(1) == 1 {
						tt.refuse(f, id)
						continue
					}
					f.hello(id)
				}
			})
			c := inTask(t, Options{}, func(c *Client, task *loop.Task) {
				var resp Response
				defer resp.Close()
				tt.req.URL = p.url("/")
				err := c.Do(task, nil, &tt.req, &resp)
				if tt.fails {
					require.Error(t, err)
					var f *Error
					require.ErrorAs(t, err, &f)
					return
				}
				require.NoError(t, err)
				body, err := resp.ReadAll(100)
				require.NoError(t, err)
				require.Equal(t, "hello", string(body))
			})
			require.EqualValues(t, tt.tries, got.Load())
			require.EqualValues(t, tt.conns, c.Stats().Dials)
		})
	}
}

// A request on a connection that the server has closed meanwhile is sent again.
func TestHTTP2StaleConnection(t *testing.T) {
	p := serveFrames(t, func(f *frames) {
		f.hello(f.request())
		f.request() // the second request of the first connection is not answered
	})
	c := inTask(t, Options{}, func(c *Client, task *loop.Task) {
		for range 2 {
			_, body, err := c.Get(task, nil, p.url("/"), 100)
			require.NoError(t, err)
			require.Equal(t, "hello", string(body))
		}
	})
	require.EqualValues(t, 1, c.Stats().Stale)
	require.EqualValues(t, 2, p.conns.Load())
}

// The client opens no more streams than the server allows, and opens another connection instead.
func TestHTTP2ServersBound(t *testing.T) {
	p := serveFrames(t, func(f *frames) {
		id := f.request()
		f.hello(id) // now the client knows the bound
		for {
			one, two := f.request(), f.request()
			if one == 0 || two == 0 {
				return
			}
			f.hello(two)
			f.hello(one)
		}
	}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2})
	e := loops(t, 1)
	c := newClient(t, Options{Protocol: H2C, ConnsPerHostMax: 1})
	l := e.Loops()[0]
	get := func(task *loop.Task) {
		_, body, err := c.Get(task, nil, p.url("/"), 100)
		assert.NoError(t, err)
		assert.Equal(t, "hello", string(body))
	}
	start(t, l, get).wait(t)
	var jobs []*job
	for range 10 {
		jobs = append(jobs, start(t, l, get))
	}
	for _, j := range jobs {
		j.wait(t)
	}
	require.EqualValues(t, 1, p.conns.Load())
}

// On a later connection, a client expects the bound that the server has set on an earlier one, until its SETTINGS arrive: no stream is
// refused, and calls that wait open as many connections as they need.
func TestHTTP2ExpectsServersBound(t *testing.T) {
	const bound, conns = 3, 3
	p := serve(t, func(w *wire) {
		f := acceptFrames(t, w)
		if f == nil {
			return
		}
		set := func() { _ = f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: bound}) }
		if w.id == 1 {
			set()
			f.hello(f.request())
			return
		}
		var open []uint32
		for range bound {
			open = append(open, f.request())
		}
		set()
		assert.Zero(t, f.requestBefore(50*time.Millisecond), "a stream beyond the bound")
		for _, id := range open {
			f.hello(id)
		}
		f.drain()
	})
	e := loops(t, 1)
	c := newClient(t, Options{Protocol: H2C, ConnsPerHostMax: 2 * conns})
	get := func(task *loop.Task) {
		_, body, err := c.Get(task, nil, p.url("/"), 100)
		assert.NoError(t, err)
		assert.Equal(t, "hello", string(body))
	}
	l := e.Loops()[0]
	start(t, l, get).wait(t)
	eventually(t, "the first connection has ended", func() bool { return c.Stats().Open == 0 })
	var jobs []*job
	for range conns * bound {
		jobs = append(jobs, start(t, l, get))
	}
	for _, j := range jobs {
		j.wait(t)
	}
	require.EqualValues(t, 1+conns, c.Stats().Dials)
}

// A call to which a stream was promised before the server allowed fewer waits for another one, and that is no attempt.
func TestHTTP2ServerAllowsFewer(t *testing.T) {
	p := serve(t, func(w *wire) {
		f := acceptFrames(t, w)
		if f == nil {
			return
		}
		var out bytes.Buffer
		for _, n := range []uint32{2, 1} { // in one segment: no task runs between the two
			_ = http2.NewFramer(&out, nil).WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: n})
		}
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		f.hello(f.request()) // now the client knows it
		id := f.request()
		for range 2 * unprocessedMax {
			_, _ = w.Write(out.Bytes())
			_ = f.WritePing(false, [8]byte{})
			assert.NotNil(t, f.next(http2.FramePing))
		}
		f.hello(id)
		f.hello(f.request())
		f.drain()
	})
	e := loops(t, 1)
	c := newClient(t, Options{Protocol: H2C, ConnsPerHostMax: 1})
	get := func(task *loop.Task) {
		var resp Response
		defer resp.Close()
		if assert.NoError(t, c.Do(task, nil, &Request{Method: "POST", URL: p.url("/")}, &resp)) { // which a stale connection does not repeat
			body, err := resp.ReadAll(100)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(body))
		}
	}
	start(t, e.Loops()[0], get).wait(t)
	var jobs []*job
	for range 2 {
		jobs = append(jobs, start(t, e.Loops()[0], get))
	}
	for _, j := range jobs {
		j.wait(t)
	}
	require.EqualValues(t, 1, c.Stats().Dials)
}

// Servers that take no request, whatever they say: the client gives up soon, without any deadline.
func TestHTTP2ServerTakesNothing(t *testing.T) {
	for _, tt := range []struct {
		why   string
		talk  func(f *frames)
		early bool // before the preface, and before the client sends it
		want  string
	}{
		{"it refuses each stream", func(f *frames) {
			for id := f.request(); id != 0; id = f.request() {
				_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			}
		}, false, "the peer has not processed the request"},
		{"it leaves before the first stream", func(f *frames) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil); f.drain() }, true, "the peer has not processed the request"},
		{"it leaves at the first stream", func(f *frames) { f.request(); _ = f.WriteGoAway(0, http2.ErrCodeNo, nil); f.drain() }, false, "the peer has not processed the request"},
		{"it ends the connection at once", func(f *frames) {}, true, "connection lost"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			p := serve(t, func(w *wire) {
				if tt.early {
					f := &frames{Framer: http2.NewFramer(w.Conn, w.r), t: t, w: w}
					_ = f.WriteSettings()
					tt.talk(f)
				} else if f := acceptFrames(t, w); f != nil {
					_ = f.WriteSettings()
					tt.talk(f)
				}
			})
			e := loops(t, 1)
			o := Options{Protocol: H2C}
			if tt.early {
				var d reactor.Dialer
				d.Bind(e)
				o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := d.DialContext(ctx, network, addr)
					time.Sleep(2 * time.Millisecond)
					return c, err
				}
			}
			c := newClient(t, o)
			start(t, e.Loops()[0], func(task *loop.Task) {
				_, _, err := c.Get(task, nil, p.url("/"), 100)
				require.ErrorContains(t, err, tt.want)
			}).wait(t)
			require.LessOrEqual(t, c.Stats().Dials, uint64(1+2*unprocessedMax))
		})
	}
}

// A server that answers nothing is probed after a timeout, and its connection ends.
func TestHTTP2SilentServer(t *testing.T) {
	ended := make(chan bool, 1)
	p := serveFrames(t, func(f *frames) {
		if f.w.id > 1 {
			f.hello(f.request())
			f.drain()
			return
		}
		f.hello(f.request())
		assert.NotNil(t, f.next(http2.FramePing))
		f.drain() // without an answer
		ended <- true
	})
	inTask(t, Options{DialTimeout: 20 * time.Millisecond}, func(c *Client, task *loop.Task) {
		_, _, err := c.Get(task, nil, p.url("/"), 100)
		require.NoError(t, err)
		require.NoError(t, task.Sleep(time.Millisecond)) // the clock of the loop has moved since the last frame
		var resp Response
		err = c.Do(task, nil, &Request{Method: "POST", URL: p.url("/"), Timeout: 20 * time.Millisecond}, &resp)
		requireTimeout(t, err, StageHead)
		for len(ended) == 0 {
			require.NoError(t, task.Sleep(time.Millisecond))
		}
		_, body, err := c.Get(task, nil, p.url("/"), 100)
		require.NoError(t, err)
		require.Equal(t, "hello", string(body))
	})
}

// Connections of Options.Dial that do not belong to the loop are refused.
func TestHTTP2ForeignConn(t *testing.T) {
	p := serveFrames(t, func(f *frames) { f.drain() })
	dial := func(o *Options) { var d net.Dialer; o.Dial = d.DialContext }
	o := Options{}
	dial(&o)
	inTask(t, o, func(c *Client, task *loop.Task) {
		_, _, err := c.Get(task, nil, p.url("/"), 100)
		requireKind(t, err, KindDial, StageDial)
		require.ErrorIs(t, err, ErrForeignConn)
	})
}

// All that wait for a connection learn that it cannot be opened, and only one of them tries.
func TestHTTP2DialFailsForAll(t *testing.T) {
	e := loops(t, 1)
	c := newClient(t, Options{Protocol: H2C})
	var jobs []*job
	for range 20 {
		jobs = append(jobs, start(t, e.Loops()[0], func(task *loop.Task) {
			_, _, err := c.Get(task, nil, "http://127.0.0.1:1/", 100)
			requireKind(t, err, KindDial, StageDial)
		}))
	}
	for _, j := range jobs {
		j.wait(t)
	}
	require.Less(t, c.Stats().Dials, uint64(20))
}

// The end of a body that the caller provides.
func TestHTTP2BodyErrors(t *testing.T) {
	reset := make(chan http2.ErrCode, 1)
	p := serveFrames(t, func(f *frames) {
		for {
			frame := f.next(http2.FrameRSTStream)
			if frame == nil {
				return
			}
			reset <- frame.(*http2.RSTStreamFrame).ErrCode
		}
	})
	broken := errors.New("broken")
	for _, tt := range []struct {
		why    string
		stream func(l *loop.Loop) io.Reader
		want   error
	}{
		{"a reader that is too short", func(*loop.Loop) io.Reader { return strings.NewReader("abc") }, ErrBodyShort},
		{"a reader that fails", func(*loop.Loop) io.Reader { return readFunc(func([]byte) (int, error) { return 0, broken }) }, broken},
		{"a source that is too short", func(l *loop.Loop) io.Reader { return &pipeSource{l: l, have: []byte("abc"), end: io.EOF} }, ErrBodyShort},
		{"a source that fails", func(l *loop.Loop) io.Reader { return &pipeSource{l: l, end: broken} }, broken},
	} {
		inTask(t, Options{}, func(c *Client, task *loop.Task) {
			var resp Response
			err := c.Do(task, nil, &Request{Method: "POST", URL: p.url("/"), Stream: tt.stream(task.Loop()), StreamLength: 5}, &resp)
			requireKind(t, err, KindRequest, StageWrite)
			require.ErrorIs(t, err, tt.want, tt.why)
		})
		require.Equal(t, http2.ErrCodeCancel, <-reset, tt.why)
	}
}

// FuzzHTTP2Frames gives the client arbitrary bytes of a server, after its SETTINGS. Nothing may panic, hang, or be left behind.
func FuzzHTTP2Frames(f *testing.F) {
	add := func(write func(f *frames)) {
		var b bytes.Buffer
		r := &frames{Framer: http2.NewFramer(&b, nil)}
		r.AllowIllegalWrites = true
		r.enc = hpack.NewEncoder(&r.out)
		write(r)
		f.Add(b.Bytes())
	}
	add(func(f *frames) { f.hello(1) })
	add(func(f *frames) { f.section(1, false, ":status", "103", "link", "x"); f.hello(1) })
	add(func(f *frames) {
		f.section(1, false, ":status", "200", "content-length", "5")
		_ = f.WriteData(1, false, []byte("hello"))
		f.section(1, true, "grpc-status", "0")
	})
	add(func(f *frames) { _ = f.WriteRSTStream(1, http2.ErrCodeRefusedStream); f.hello(3) })
	add(func(f *frames) { _ = f.WriteGoAway(0, http2.ErrCodeNo, []byte("bye")) })
	add(func(f *frames) {
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		_ = f.WriteWindowUpdate(1, 9)
	})
	add(func(f *frames) { _ = f.WritePing(false, [8]byte{1}); _ = f.WriteSettingsAck(); f.hello(1) })
	add(func(f *frames) { f.section(1, true, ":status", "304", "content-length", "7") })
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := serveFrames(t, func(f *frames) {
			if f.request() != 0 {
				_, _ = f.w.Write(raw)
			}
		})
		inTask(t, Options{}, func(c *Client, task *loop.Task) {
			var resp Response
			req := Request{Method: "POST", URL: p.url("/"), Body: []byte("abc"), Timeout: 2 * time.Second}
			if err := c.Do(task, nil, &req, &resp); err != nil {
				var f *Error
				require.ErrorAs(t, err, &f)
				require.NotEqual(t, KindTimeout, f.Kind, "%v", err)
				return
			}
			defer resp.Close()
			_, err := resp.ReadAll(1 << 20)
			var f *Error
			if err != nil {
				require.ErrorAs(t, err, &f)
				require.NotEqual(t, KindTimeout, f.Kind, "%v", err)
				return
			}
			require.GreaterOrEqual(t, resp.Status, 200)
			for _, h := range append(resp.Headers, resp.Trailers()...) {
				require.NotContains(t, string(h.Name), ":")
				require.NotContains(t, string(h.Value), "\n")
			}
		})
	})
}
