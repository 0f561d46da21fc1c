package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/admin"
	"tafe/loop/watchdog"
)

func frame() admin.Frame {
	f := admin.Frame{At: time.Unix(1000, 0), Uptime: 65, Status: "stuck", Budget: watchdog.Millis(10 * time.Millisecond), Watchdog: true, Rate: 1234,
		P99: watchdog.Millis(20 * time.Millisecond), Conns: 7}
	f.Loops = []admin.LoopRow{
		{LoopState: admin.LoopState{Loop: 0, State: "overrun", Route: "/hog", Method: "GET", For: watchdog.Millis(3 * time.Second)}, Columns: strings.Repeat("0x", 60)},
		{LoopState: admin.LoopState{Loop: 1, State: "waiting", Handoffs: 12, Released: 3}, Columns: strings.Repeat("1", 120)},
	}
	c := admin.Culprit{StackTotals: watchdog.StackTotals{Key: "k", Verdict: watchdog.Sleep, Route: "/hog"}, Place: "main.hog (hog.go:41)", Live: true, LiveFor: watchdog.Millis(3 * time.Second)}
	c.Overruns, c.Cost = 4, watchdog.Millis(4100*time.Millisecond)
	f.Culprits = []admin.Culprit{c}
	f.Overruns = []admin.OverrunRow{{ID: 1, Started: time.Unix(940, 0), Verdict: watchdog.GC, Final: true, Method: "GET", Path: "/json"}}
	return f
}

func TestDraw(t *testing.T) {
	f := frame()
	text := Draw(&f, Options{Addr: "host:9180", Width: 100})
	for _, want := range []string{"tafe host:9180  stuck  up 1m5s  budget 10ms", "1234 req/s", "p99 20ms", "overrun GET /hog for 3s",
		"4.1s", "12 handoffs, 3 released", "NOW for 3s main.hog (hog.go:41)", "1m0s", "gc"} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "\x1b", "no colours unless asked for")
	for _, line := range strings.Split(text, "\n") {
		require.LessOrEqual(t, len([]rune(line)), 100, line)
	}
	require.Contains(t, Draw(&f, Options{Color: true}), red)
	for _, line := range legend {
		require.Contains(t, text, line+"\n")
		require.LessOrEqual(t, len(line), widthLeast, "it is whole on every terminal")
	}
	f.Overruns = nil
	for i, age := range []time.Duration{30, 10, 20} { // an overrun that is going on may be older than one that has ended
		f.Overruns = append(f.Overruns, admin.OverrunRow{ID: uint64(i), Started: f.At.Add(-age * time.Second), Path: fmt.Sprintf("/age%d", age)})
	}
	require.Regexp(t, `(?s)/age10\n.*/age20\n.*/age30\n`, Draw(&f, Options{Width: 200}), "newest first")
	empty := admin.Frame{}
	require.Contains(t, Draw(&empty, Options{}), "No code has run for longer than its budget.")
}

func TestRun(t *testing.T) {
	served := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/events", r.URL.Path)
		served++
		line, err := json.Marshal(frame())
		require.NoError(t, err)
		fmt.Fprintf(w, ": hello\n\ndata: %s\n\ndata: %s\n\n", line, line)
	}))
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	var out strings.Builder
	require.NoError(t, Run(t.Context(), Options{Addr: addr, Once: true}, &out))
	require.Equal(t, 1, strings.Count(out.String(), "req/s"), "once")

	out.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	stopper := writer(func(p []byte) (int, error) {
		if strings.Contains(string(p), "not answering") {
			cancel()
		}
		return out.Write(p)
	})
	require.NoError(t, Run(ctx, Options{Addr: addr}, stopper))
	require.Equal(t, 2, strings.Count(out.String(), "req/s"), "each frame, until the stream ended")

	server.Close()
	require.Error(t, Run(t.Context(), Options{Addr: addr, Once: true}, &out), "no server")
	require.Equal(t, 2, served)
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
