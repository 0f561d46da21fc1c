package middleware

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

var plainEntry = app.Entry{
	Time:   time.Date(2024, 2, 29, 23, 59, 58, 123456789, time.UTC),
	Timing: app.Timing{Total: 1234567, Queued: 200 * time.Microsecond, Slices: 34567, Backend: time.Millisecond},
	Remote: "192.0.2.1:4711", ClientIP: "192.0.2.1", Method: "GET", Target: "/users/7?x=1", Proto: "HTTP/1.1", Route: "/users/{id}", Status: 200, Bytes: 13,
	RequestID: "k3j9x2ab-00000000001", UserAgent: "curl/8.5.0", Referer: "https://a.example/",
}

func entry(change func(e *app.Entry)) app.Entry {
	e := plainEntry
	change(&e)
	return e
}

// entries is what a log has to cope with, each with its reason.
var entries = []struct {
	e   app.Entry
	why string
}{
	{plainEntry, "everything but a reason"},
	{entry(func(e *app.Entry) { e.Timing.Queued, e.Referer, e.UserAgent, e.RequestID = 0, "", "", "" }), "nothing that a client may leave out"},
	{entry(func(e *app.Entry) { e.Proto, e.Bytes, e.Status = "HTTP/1.0", 0, 304 }), "HTTP/1.0 without a body"},
	{entry(func(e *app.Entry) {
		*e = app.Entry{Time: e.Time, Remote: "[2001:db8::1]:99", ClientIP: "2001:db8::1", Status: 400, Reason: "bad-header-name"}
	}), "a refused head: no method, no target"},
	{entry(func(e *app.Entry) { e.Timing.Total, e.Status, e.Reason = 90*time.Second, 503, "handler-timeout" }), "a long one"},
	{entry(func(e *app.Entry) { e.Target = "/\"\\" }), "quotes and backslashes"},
	{entry(func(e *app.Entry) { e.UserAgent = "a\"} evil\r\n{\"status\":200\t\x1b[2J\x7f" }), "a forged line, and one for the terminal"},
	{entry(func(e *app.Entry) { e.UserAgent = "caf\u00e9 \xff \xc2\x85 \u2028" }), "UTF-8, none, a C1 control, a separator"},
	{entry(func(e *app.Entry) { e.Remote, e.ClientIP = "@", "" }), "a remote without a port"},
	{entry(func(e *app.Entry) { e.ClientIP = "203.0.113.9" }), "a client behind a proxy"},
}

// The golden files hold a line for each of entries. Delete one to have it written anew, and read it before committing.
func TestAccessLogFormat(t *testing.T) {
	for name, format := range map[string]AccessLogFormat{"json": AccessLogJSON, "combined": AccessLogCombined} {
		var got []byte
		for _, c := range entries {
			line := format.append()(nil, &c.e)
			require.NotContains(t, string(line), "\n", c.why)
			require.Equal(t, -1, bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }), "%s: %s", name, c.why)
			require.True(t, utf8.Valid(line), c.why)
			got = append(append(got, line...), '\n')
		}
		path := filepath.Join("testdata", "accesslog."+name)
		want, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			require.NoError(t, os.WriteFile(path, got, 0o644))
			t.Fatalf("%s was missing and is written: read it, then run again", path)
		}
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), name)
	}
}

// A JSON line has the values of the entry.
func TestAccessLogJSONReadsBack(t *testing.T) {
	for _, c := range entries {
		var line struct {
			Time                                                        time.Time
			Status                                                      int
			Bytes                                                       int64
			MS, Queue_MS, Slice_MS, Backend_MS                          float64
			Method, Target, Protocol, Route, Remote, Client, Request_ID string
			User_Agent, Referer, Reason                                 string
		}
		decoder := json.NewDecoder(bytes.NewReader(appendJSON(nil, &c.e)))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&line), c.why)
		require.WithinDuration(t, c.e.Time, line.Time, time.Microsecond, c.why)
		require.Equal(t, c.e.Status, line.Status, c.why)
		require.Equal(t, c.e.Bytes, line.Bytes, c.why)
		require.Equal(t, c.e.Timing.Total.Microseconds(), int64(line.MS*1000+0.5), c.why)
		require.Equal(t, c.e.Target, line.Target, c.why)
		require.Equal(t, c.e.Remote, line.Remote, c.why)
		require.Equal(t, c.e.Reason, line.Reason, c.why)
	}
}

func TestEntryEncoding(t *testing.T) {
	var encoded []byte
	for _, c := range entries {
		before := len(encoded)
		encoded = appendEntry(encoded, &c.e)
		require.LessOrEqual(t, len(encoded)-before, encodedBytes(&c.e), c.why)
	}
	for _, c := range entries {
		var e app.Entry
		encoded = decodeEntry(encoded, &e)
		require.True(t, c.e.Time.Equal(e.Time), c.why)
		e.Time = c.e.Time
		require.Equal(t, c.e, e, c.why)
	}
	require.Empty(t, encoded)
}

func TestAccessLogWritesEveryEntry(t *testing.T) {
	var file bytes.Buffer
	l := NewAccessLog(&file, AccessLogOptions{Log: quiet, FlushEvery: time.Hour}) // by half buffers, and the end
	var wg sync.WaitGroup
	const loops, each = 4, 5000
	for range loops {
		wg.Go(func() {
			for range each {
				l.Record(&plainEntry)
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "twice is no harm")
	want := string(appendJSON(nil, &plainEntry))
	lines := strings.Split(strings.TrimSuffix(file.String(), "\n"), "\n")
	require.Equal(t, loops*each, len(lines)+int(l.Dropped()))
	for _, line := range lines {
		require.Equal(t, want, line)
	}
	dropped := l.Dropped()
	l.Record(&plainEntry)
	require.Equal(t, dropped+1, l.Dropped(), "after Close nothing is taken, and that is counted")
}

// gate is a writer that does not write until it is opened.
type gate struct {
	bytes.Buffer
	opened  chan struct{}
	entered chan struct{}
	once    sync.Once
}

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(func() { close(g.entered) })
	<-g.opened
	return g.Buffer.Write(p)
}

func TestAccessLogNeverWaitsForItsWriter(t *testing.T) {
	var warnings bytes.Buffer
	g := &gate{opened: make(chan struct{}), entered: make(chan struct{})}
	l := NewAccessLog(g, AccessLogOptions{
		BufferBytes: 4096, FlushEvery: time.Hour, Log: slog.New(slog.NewTextHandler(&warnings, nil)),
	})
	recorded := 0
	for inside := false; !inside; recorded++ { // half a buffer wakes the log, whose writer then hangs
		l.Record(&plainEntry)
		select {
		case <-g.entered:
			inside = true
		default:
		}
	}
	for range 100 { // it would take 4 buffers
		l.Record(&plainEntry)
		recorded++
	}
	dropped := l.Dropped()
	require.Positive(t, dropped, "no room: dropped, without waiting")
	close(g.opened)
	require.NoError(t, l.Close())
	require.Equal(t, recorded, strings.Count(g.String(), "\n")+int(l.Dropped()), "written or counted, each of them")
	require.Contains(t, warnings.String(), "access log entries dropped")
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return len(p) / 2, errors.New("the disk is full")
	}
	return len(p), nil
}

func TestAccessLogTellsThatItsWriterFails(t *testing.T) {
	var log bytes.Buffer
	l := NewAccessLog(&failing{}, AccessLogOptions{FlushEvery: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 1000 { // several writes
		l.Record(&plainEntry)
	}
	require.ErrorContains(t, l.Close(), "the disk is full")
	require.EqualValues(t, 1000, l.Dropped())
	require.Equal(t, 1, strings.Count(log.String(), "cannot be written"), "once, not per line: %s", log.String())
}

type short struct{ io.Writer }

func (short) Write(p []byte) (int, error) { return len(p) - 1, nil }

func TestAccessLogTakesAShortWriteForAFailure(t *testing.T) {
	l := NewAccessLog(short{}, AccessLogOptions{Log: quiet})
	l.Record(&plainEntry)
	require.ErrorIs(t, l.Close(), io.ErrShortWrite)
}

func TestAccessLogOfAServer(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	l := NewAccessLog(&file, AccessLogOptions{Log: quiet})
	a := app.New(app.Options{Log: quiet, AccessLog: l.Record})
	a.Get("/users/{id}", func(c *app.Context) error { return c.String(200, "hello") })
	addr := serve(t, a)
	for _, c := range []struct{ request, want, why string }{
		{"GET /users/7?x=1\nUser-Agent: test\nReferer: here", `"status":200,"bytes":5`, "an answer"},
		{"GET /nowhere", `"status":404`, "no route"},
		{"GET /users/7\nBad Name: x", `"reason":"`, "a refused head"},
	} {
		ask(t, addr, c.request)
	}
	require.NoError(t, l.Close())
	lines := strings.Split(strings.TrimSpace(file.String()), "\n")
	require.Len(t, lines, 3)
	require.Contains(t, lines[0], `"target":"/users/7?x=1","protocol":"HTTP/1.1","route":"/users/{id}"`)
	require.Contains(t, lines[0], `"user_agent":"test","referer":"here"`)
	require.Contains(t, lines[1], `"status":404`)
	require.NotContains(t, lines[1], `"route"`)
	require.Contains(t, lines[2], `"status":400`)
	require.Contains(t, lines[2], `"reason":"`)
}

func FuzzAccessLogLine(f *testing.F) {
	f.Add("GET", "/", "agent", "referer", "1.2.3.4:5")
	f.Add("", "\x00\"\\\n", "\xff\u0085", "\u2028", "[::1]:1")
	f.Fuzz(func(t *testing.T, method, target, agent, referer, remote string) {
		in := app.Entry{Method: method, Target: target, UserAgent: agent, Referer: referer, Remote: remote, Status: 200}
		var e app.Entry
		rest := decodeEntry(append(appendEntry(nil, &in), "rest"...), &e)
		require.Equal(t, "rest", string(rest))
		require.Equal(t, target, e.Target)
		require.Equal(t, referer, e.Referer)
		line := appendJSON(nil, &e)
		require.True(t, json.Valid(line), "%q", line)
		for _, line := range [][]byte{line, appendCombined(nil, &e)} {
			require.Equal(t, -1, bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }), "%q", line)
		}
	})
}

func TestAccessLogCloseLeavesABlockedWriterBehind(t *testing.T) {
	r, w := io.Pipe() // not read
	l := NewAccessLog(w, AccessLogOptions{})
	l.Record(&plainEntry)
	require.ErrorContains(t, l.Close(), "blocked")
	require.NoError(t, r.Close())
	<-l.ended
}

// BenchmarkAccessLogRecord is what a request costs its loop. The writer is left out: it has its own goroutine.
func BenchmarkAccessLogRecord(b *testing.B) {
	l := &AccessLog{options: AccessLogOptions{BufferBytes: 4 << 20}, wake: make(chan struct{}, 1)}
	b.ReportAllocs()
	for b.Loop() {
		if l.Record(&plainEntry); len(l.pending) > 1<<20 {
			l.pending = l.pending[:0]
		}
	}
	require.Zero(b, l.dropped)
}

func BenchmarkAccessLogFormat(b *testing.B) {
	for name, format := range map[string]AccessLogFormat{"json": AccessLogJSON, "combined": AccessLogCombined} {
		b.Run(name, func(b *testing.B) {
			var line []byte
			b.ReportAllocs()
			for b.Loop() {
				line = format.append()(line[:0], &plainEntry)
			}
			b.SetBytes(int64(len(line)))
		})
	}
}

// Lines of an own format are written as they are, in pieces of whole lines, and without allocations.
func TestAccessLogLines(t *testing.T) {
	var file pieces
	l := NewAccessLog(&file, AccessLogOptions{Log: quiet, FlushEvery: time.Hour, Line: func(b []byte, e *app.Entry) []byte {
		return append(append(b, e.Method...), e.Target...)
	}})
	const lines = 20_000
	for range lines {
		l.Record(&plainEntry)
	}
	allocations := testing.AllocsPerRun(100, func() { l.Record(&plainEntry) })
	require.NoError(t, l.Close())
	require.Zero(t, l.Dropped())
	require.LessOrEqual(t, allocations, 0.1, "the buffer grows now and then")
	line := "GET/users/7?x=1\n"
	require.Equal(t, strings.Repeat(line, lines+101), strings.Join(file, ""))
	require.Greater(t, len(file), 3)
	for _, piece := range file {
		require.True(t, strings.HasSuffix(piece, "\n"))
	}
	l.Record(&plainEntry)
	require.EqualValues(t, 1, l.Dropped(), "after Close nothing is taken, and that is counted")
}

// pieces keeps what each Write got.
type pieces []string

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, string(b))
	return len(b), nil
}

// Of good responses a fraction is logged, of others all.
func TestAccessLogSample(t *testing.T) {
	failed := entry(func(e *app.Entry) { e.Status = 404 })
	for _, c := range []struct {
		sample    float64
		low, high int
		why       string
	}{
		{0, 10_000, 10_000, "unset: all"}, {1, 10_000, 10_000, "all"}, {0.1, 700, 1300, "a tenth"}, {0.0001, 0, 20, "hardly any"},
	} {
		var file bytes.Buffer
		l := NewAccessLog(&file, AccessLogOptions{Log: quiet, FlushEvery: time.Hour, BufferBytes: 64 << 20, Sample: c.sample})
		for range 10_000 {
			l.Record(&plainEntry)
			l.Record(&failed)
		}
		require.NoError(t, l.Close())
		require.Zero(t, l.Dropped(), "what is not sampled is not dropped")
		good := strings.Count(file.String(), `"status":200`)
		require.True(t, c.low <= good && good <= c.high, "%s: %d", c.why, good)
		require.Equal(t, 10_000, strings.Count(file.String(), `"status":404`), c.why)
	}
}
