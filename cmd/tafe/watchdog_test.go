package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/watchdog"
)

// A held loop, seen on the admin listener while it is held and afterwards. The test takes some seconds, because /healthz fails
// after five; TAFE_LONG=1 holds the loop for a minute.
func TestHeldLoopIsReportedWhileItLasts(t *testing.T) {
	if testing.Short() {
		t.Skip("it holds a loop for 6 s")
	}
	held := 6 * time.Second
	if os.Getenv("TAFE_LONG") != "" {
		held = time.Minute
	}
	e := startServe(t, "--loops", "1", "--handoff", "off")
	answered := make(chan string, 1)
	go func() {
		_, body := get(t, e.addr, fmt.Sprintf("/hog?how=channel&ms=%d", held.Milliseconds()))
		answered <- body
	}()
	var first watchdog.Overrun
	await(t, "a first report", func() bool {
		all := overrunsOf(t, e)
		if len(all) == 0 {
			return false
		}
		first = all[0]
		return true
	})
	require.False(t, first.Final)
	require.Equal(t, "/hog", first.Route)
	require.Equal(t, watchdog.Channel, first.Verdict)
	require.Equal(t, "main.holdChannel", first.Culprit.Func)
	await(t, "/healthz to fail, the admin listener answering throughout", func() bool {
		for _, page := range []string{"/", "/metrics", "/loops", "/trace?seconds=5"} {
			status, _ := get(t, e.admin, page)
			require.Equal(t, 200, status, page)
		}
		status, body := get(t, e.admin, "/healthz")
		return status == 503 && strings.Contains(body, "have not turned")
	})
	require.Contains(t, <-answered, "held the loop")
	await(t, "the final record", func() bool {
		all := overrunsOf(t, e)
		return len(all) > 0 && all[0].ID == first.ID && all[0].Final && time.Duration(all[0].Held) >= held
	})
	await(t, "/healthz to be well again", func() bool { status, _ := get(t, e.admin, "/healthz"); return status == 200 })
	for _, line := range []string{"a loop is held", "a loop is still held", "a loop was held"} {
		require.Contains(t, e.stderr.String(), line)
	}
}

// overrunsOf returns /overruns, newest first.
func overrunsOf(t *testing.T, e *edgeProcess) (all []watchdog.Overrun) {
	t.Helper()
	status, body := get(t, e.admin, "/overruns")
	require.Equal(t, 200, status)
	require.NoError(t, json.Unmarshal([]byte(body), &all), body)
	return all
}

// The overruns command reads the file of --overrun-log.
func TestOverrunLogIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "overruns.jsonl")
	e := startServe(t, "--loops", "1", "--overrun-log", file)
	await(t, "an overrun that the machine let the watchdog see", func() bool {
		_, _ = get(t, e.addr, "/hog?how=sleep&ms=40")
		for _, o := range overrunsOf(t, e) {
			if o.Final && o.Blamed {
				return true
			}
		}
		return false
	})
	e.signal(os.Interrupt)
	code, _ := e.wait()
	require.Zero(t, code)
	ranked := start(t, "overruns", file)
	code, table := ranked.wait()
	require.Equal(t, exitOK, code, ranked.stderr)
	require.Contains(t, table, "main.holdSleep")
}
