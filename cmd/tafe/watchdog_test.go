package main

import (
	"context"
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

func TestOverrunsCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	record := `{"id":1,"final":true,"blamed":true,"verdict":"sleep","key":"k","held_ms":20,"route":"/a","culprit":{"func":"main.f","file":"f.go","line":3},` +
		`"stack":[{"func":"main.f","file":"f.go","line":3}],"victims":{"count":1,"total_ms":5}}`
	require.NoError(t, os.WriteFile(file, []byte(record+"\n"), 0o600))
	for _, c := range []struct {
		args []string
		code int
		want string
		why  string
	}{
		{[]string{file}, exitOK, "main.f (f.go:3)", "the table"},
		{[]string{file, "--top", "5"}, exitOK, "main.f (f.go:3)", "flags behind the file"},
		{[]string{"--folded", "victims", file}, exitOK, "main.f;[sleep] 5000", "flags before it"},
		{[]string{}, exitUsage, "a log file of the watchdog is required", "no file"},
		{[]string{file, "--folded", "x"}, exitUsage, "neither held, ran nor victims", "no such weight"},
		{[]string{file + ".not"}, exitFailure, "no such file", "not there"},
		{[]string{"watchdog_test.go"}, exitFailure, "no record of the watchdog", "another kind of file"},
	} {
		var stdout, stderr strings.Builder
		require.Equal(t, c.code, run(context.Background(), append([]string{"overruns"}, c.args...), &stdout, &stderr), c.why)
		require.Contains(t, stdout.String()+stderr.String(), c.want, c.why)
	}
}

func TestWatchCommand(t *testing.T) {
	var stdout, stderr strings.Builder
	require.Equal(t, exitFailure, run(context.Background(), []string{"watch", "--once", "--admin", "127.0.0.1:1"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "refused")
	require.Equal(t, exitUsage, run(context.Background(), []string{"watch", "--width", "wide"}, &stdout, &stderr))
}

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
	var stdout, stderr strings.Builder
	require.Equal(t, exitOK, run(context.Background(), []string{"overruns", file}, &stdout, &stderr), stderr.String())
	require.Contains(t, stdout.String(), "main.holdSleep")
}
