package load

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func get2(path string, status int, body int64) Request {
	return Request{Name: path, Status: status, BodyBytes: body,
		Fields: [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", path}, {"user-agent", "test"}}}
}

func post2(path string, body []byte, answer int64) Request {
	r := get2(path, 200, answer)
	r.Fields[0][1], r.Body = "POST", body
	return r
}

// serve2 starts a server of net/http that speaks HTTP/2 without TLS.
func serve2(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func plan2(addr netip.AddrPort, depth int, r Request) Plan {
	p := plan(addr, r)
	p.HTTP2, p.Depth = true, depth
	return p
}

func TestHTTP2(t *testing.T) {
	addr := serve2(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(make([]byte, 300_000))
		case "/echo":
			_, _ = io.Copy(w, r.Body)
		case "/trailers":
			w.Header().Set("Trailer", "Grpc-Status")
			hello(w, r)
			w.Header().Set("Grpc-Status", "0")
		case "/interim":
			w.WriteHeader(http.StatusEarlyHints)
			hello(w, r)
		case "/missing":
			http.NotFound(w, r)
		case "/odd":
			w.WriteHeader(http.StatusTeapot)
		default:
			hello(w, r)
		}
	})
	trailers := get2("/trailers", 200, 5)
	trailers.Trailers = true
	none := get2("/", 200, 5)
	none.Trailers = true
	for _, tc := range []struct {
		why     string
		depth   int
		request Request
		class   string
	}{
		{"one stream", 1, get2("/", 200, 5), ""},
		{"many streams, which end in any order", 100, get2("/", 200, 5), ""},
		{"bodies of many frames, and more than a window in all", 10, get2("/large", 200, 300_000), ""},
		{"request bodies, more than the server's window in all", 10, post2("/echo", make([]byte, 9000), 9000), ""},
		{"an interim answer before the real one", 1, get2("/interim", 200, 5), ""},
		{"trailers", 10, trailers, ""},
		{"no trailers", 10, none, ErrorTrailers},
		{"another status", 10, get2("/missing", 200, -1), ErrorStatus},
		{"a status that the static table has", 1, get2("/missing", 404, -1), ""},
		{"a status that it has not", 1, get2("/odd", 200, -1), ErrorStatus},
		{"another length", 1, get2("/", 200, 6), ErrorLength},
	} {
		t.Run(tc.why, func(t *testing.T) {
			res, err := Run(plan2(addr, tc.depth, tc.request))
			require.NoError(t, err)
			if tc.class == "" {
				require.Empty(t, res.Errors)
				require.GreaterOrEqual(t, res.Answered, int64(200))
				require.Equal(t, res.Answered, res.Classes[0].Latency.TotalCount())
				return
			}
			require.Zero(t, res.Answered)
			require.Positive(t, res.Errors[tc.class], "%v", res.Errors)
			require.Len(t, res.Errors, 1)
		})
	}
}

func TestHTTP2OpenLoop(t *testing.T) {
	p := plan2(serve2(t, hello), 10, get2("/", 200, 5))
	p.Conns, p.Rate, p.Window, p.EndedMax = 2, 2000, 100*time.Millisecond, 0
	res, err := Run(p)
	require.NoError(t, err)
	require.Empty(t, res.Errors)
	require.InDelta(t, 200, float64(res.Classes[0].Latency.TotalCount()), 80, "exponential gaps")
}

// More requests are due than streams are open: they wait, and all of them are answered and timed from when they were due.
func TestHTTP2OpenLoopBeyondTheStreams(t *testing.T) {
	addr := serve2(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Millisecond) // the load, not synchronisation
		hello(w, r)
	})
	p := plan2(addr, 2, get2("/", 200, 5))
	p.Conns, p.Rate, p.Even, p.Window, p.EndedMax = 1, 4000, true, 100*time.Millisecond, 0
	res, err := Run(p)
	require.NoError(t, err)
	require.Empty(t, res.Errors)
	require.InDelta(t, 400, float64(res.Classes[0].Latency.TotalCount()), 4)
}

func TestHTTP2OverTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	p := plan2(netip.MustParseAddrPort(s.Listener.Addr().String()), 10, get2("/", 200, 5))
	res, err := RunTLS(p, TLSKept)
	require.NoError(t, err)
	require.Empty(t, res.Errors)
	require.Positive(t, res.Answered)
	p.Requests[0].Status = 404
	res, err = RunTLS(p, TLSKept)
	require.NoError(t, err)
	require.Positive(t, res.Errors[ErrorStatus], "%v", res.Errors)
}

// raw2 serves each connection with what answer writes after the client's preface.
func raw2(t *testing.T, answer func(*http2.Framer)) netip.AddrPort {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
				framer := http2.NewFramer(c, c)
				answer(framer)
				for {
					if _, err := framer.ReadFrame(); err != nil {
						return
					}
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestHTTP2SettingsThatForbidThePlan(t *testing.T) {
	for _, s := range []http2.Setting{
		{ID: http2.SettingMaxConcurrentStreams, Val: 5}, {ID: http2.SettingHeaderTableSize, Val: 0}, {ID: http2.SettingInitialWindowSize, Val: 99},
	} {
		t.Run(s.ID.String(), func(t *testing.T) {
			_, err := Run(plan2(raw2(t, func(f *http2.Framer) { _ = f.WriteSettings(s) }), 10, post2("/", make([]byte, 100), 5)))
			require.ErrorIs(t, err, errSettings)
		})
	}
}

// block is the head of an answer as some server might encode it.
func block(status string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	_ = e.WriteField(hpack.HeaderField{Name: ":status", Value: status})
	_ = e.WriteField(hpack.HeaderField{Name: "server", Value: "x"})
	return b.Bytes()
}

// answers is a stream of frames that answers the requests 1, 3, 5, 7 and 9 with 5 bytes, in another order and in all ways of cutting.
func answers(t *testing.T) []byte {
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	require.NoError(t, f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 100}))
	require.NoError(t, f.WriteSettingsAck())
	require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: block("200"), EndHeaders: true}))
	require.NoError(t, f.WriteData(5, false, []byte("he")))
	require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("200"), EndHeaders: true, PadLength: 7,
		Priority: http2.PriorityParam{StreamDep: 3, Weight: 9}}))
	require.NoError(t, f.WritePing(false, [8]byte{1, 2, 3}))
	require.NoError(t, f.WriteData(5, true, []byte("llo")))
	require.NoError(t, f.WriteDataPadded(1, true, []byte("hello"), make([]byte, 20)))
	require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 9, BlockFragment: block("200")[:1]}))
	require.NoError(t, f.WriteContinuation(9, false, block("200")[1:3]))
	require.NoError(t, f.WriteContinuation(9, true, block("200")[3:]))
	require.NoError(t, f.WriteData(9, false, []byte("hello")))
	require.NoError(t, f.WriteData(9, true, nil))
	require.NoError(t, f.WriteRSTStream(3, http2.ErrCodeRefusedStream))
	require.NoError(t, f.WriteWindowUpdate(0, 10))
	require.NoError(t, f.WriteRawFrame(0xbe, 0, 0, []byte("unknown")))
	require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: block("200"), EndHeaders: true}))
	require.NoError(t, f.WriteData(7, false, []byte("hello")))
	require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: block("200"), EndHeaders: true, EndStream: true}))
	return b.Bytes()
}

func TestFramesWholeEqualBytewise(t *testing.T) {
	request := get2("/", 200, 5)
	e, err := encode(&request)
	require.NoError(t, err)
	all := answers(t)
	for _, size := range []int{1, 2, 3, 5, 9, 10, 64, len(all)} {
		h := &h2conn{request: e, streams: 5}
		h.reset()
		h.out = nil
		for range 5 {
			h.open(flight{})
		}
		sent := len(h.out)
		var got []string
		for rest := all; len(rest) > 0; {
			piece := rest[:min(size, len(rest))]
			rest = rest[len(piece):]
			for len(piece) > 0 {
				n, done, err := h.next(piece)
				require.NoError(t, err)
				piece = piece[n:]
				if done {
					got = append(got, fmt.Sprintf("%d: %d, %d bytes, trailers %t, %q", h.ended.id, h.ended.status, h.ended.bodyBytes, h.ended.trailers, h.ended.fault))
				}
			}
		}
		require.Equal(t, []string{`5: 200, 5 bytes, trailers false, ""`, `1: 200, 5 bytes, trailers false, ""`, `9: 200, 5 bytes, trailers false, ""`,
			`3: 0, 0 bytes, trailers false, "reset"`, `7: 200, 5 bytes, trailers true, ""`}, got, "pieces of %d bytes", size)
		require.Zero(t, h.flights.len())
		require.EqualValues(t, initialWindow+10, h.window)
		require.Equal(t, 9+17, len(h.out)-sent, "SETTINGS and PING were acknowledged")
	}
}

func TestRequestsAreWhatAServerReads(t *testing.T) {
	request := post2("/echo", []byte("body"), 4)
	e, err := encode(&request)
	require.NoError(t, err)
	h := &h2conn{request: e, streams: 3}
	h.reset()
	for range 3 {
		h.open(flight{})
	}
	rest, found := bytes.CutPrefix(h.out, []byte(http2.ClientPreface))
	require.True(t, found)
	f := http2.NewFramer(nil, bytes.NewReader(rest))
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for range 2 { // SETTINGS, WINDOW_UPDATE
		_, err := f.ReadFrame()
		require.NoError(t, err)
	}
	var lengths []uint32
	for _, id := range []uint32{1, 3, 5} {
		frame, err := f.ReadFrame()
		require.NoError(t, err)
		head := frame.(*http2.MetaHeadersFrame)
		require.Equal(t, id, head.StreamID)
		require.False(t, head.StreamEnded())
		lengths = append(lengths, head.Length)
		var fields [][2]string
		for _, field := range head.Fields {
			fields = append(fields, [2]string{field.Name, field.Value})
		}
		require.Equal(t, request.Fields, fields)
		frame, err = f.ReadFrame()
		require.NoError(t, err)
		require.Equal(t, "body", string(frame.(*http2.DataFrame).Data()))
		require.Equal(t, id, frame.Header().StreamID)
		require.True(t, frame.(*http2.DataFrame).StreamEnded())
	}
	require.Less(t, lengths[1], lengths[0], "later requests refer to the table")
	require.Equal(t, lengths[1], lengths[2])
	_, err = f.ReadFrame()
	require.ErrorIs(t, err, io.EOF)
}

func TestStatusOf(t *testing.T) {
	for _, tc := range []struct {
		why   string
		block []byte
		want  int
	}{
		{"of the static table", block("200"), 200},
		{"its last", block("500"), 500},
		{"a literal in Huffman coding", block("418"), 418},
		{"a literal without it", []byte{0x48, 3, '4', '1', '8'}, 418},
		{"not indexed", []byte{0x08, 3, '2', '0', '1'}, 201},
		{"never indexed", []byte{0x18, 3, '2', '0', '1'}, 201},
		{"after a size of the table", append([]byte{0x20}, block("200")...), 200},
		{"after a long one", append([]byte{0x3f, 0xe1, 0x1f}, block("200")...), 200},
		{"of the dynamic table: not recognized", []byte{0xbe}, 0},
		{"another field", []byte{0x82}, 0},
		{"cut", []byte{0x48, 3, '2'}, 2},
		{"cut after the name", []byte{0x48}, 0},
		{"a size without an end", []byte{0x3f, 0xff}, 0},
		{"nothing", nil, 0},
	} {
		require.Equal(t, tc.want, statusOf(tc.block), tc.why)
	}
}

// A server that goes away has answered what it took: the connection is replaced, and no request is lost.
func TestGoAwayReplacesTheConnection(t *testing.T) {
	addr := raw2(t, func(f *http2.Framer) {
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if frame.Header().Type != http2.FrameHeaders {
				continue
			}
			id := frame.Header().StreamID
			if id == 5 {
				_ = f.WriteGoAway(id, http2.ErrCodeNo, nil)
			}
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block("200"), EndHeaders: true})
			_ = f.WriteData(id, true, []byte("hello"))
		}
	})
	res, err := Run(plan2(addr, 1, get2("/", 200, 5)))
	require.NoError(t, err)
	require.Empty(t, res.Errors)
	require.GreaterOrEqual(t, res.Answered, int64(200), "many connections of three requests")
}
