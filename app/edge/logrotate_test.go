package edge

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rotated returns the contents of all files of a log, from the oldest to the current one.
func rotated(t *testing.T, path string) (all []string) {
	t.Helper()
	names, err := filepath.Glob(path + ".*")
	require.NoError(t, err)
	slices.SortFunc(names, func(a, b string) int {
		if n := strings.Compare(a[:len(path)+16], b[:len(path)+16]); n != 0 {
			return n
		}
		if n := len(a) - len(b); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	for _, name := range append(names, path) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		all = append(all, string(text))
	}
	return all
}

func TestRotation(t *testing.T) {
	const line = "0123456789\n"
	for _, c := range []struct {
		r     rotation
		step  time.Duration // between two writes
		lines int
		want  []int // lines of each file
		why   string
	}{
		{rotation{}, time.Hour, 5, []int{5}, "never"},
		{rotation{bytesMax: 25}, 0, 5, []int{2, 2, 1}, "by size, several within a second"},
		{rotation{bytesMax: 5}, time.Second, 3, []int{1, 1, 1}, "a line that is larger than a file"},
		{rotation{every: time.Hour}, 20 * time.Minute, 7, []int{3, 3, 1}, "by age"},
		{rotation{bytesMax: 25, every: time.Hour}, 40 * time.Minute, 5, []int{2, 2, 1}, "by what comes first"},
		{rotation{bytesMax: 25, keep: 1}, 0, 9, []int{2, 1}, "the oldest are deleted"},
		{rotation{bytesMax: 5, keep: 2}, 0, 15, []int{1, 1, 1}, "those of one second by their number"},
	} {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		path := filepath.Join(t.TempDir(), "access.log")
		require.NoError(t, os.WriteFile(path+".backup", nil, 0o600), "a file of another program")
		c.r.now, c.r.log = func() time.Time { return now }, slog.New(slog.DiscardHandler)
		l, err := openLogFile(path, c.r)
		require.NoError(t, err)
		for range c.lines {
			_, err := l.Write([]byte(line))
			require.NoError(t, err)
			now = now.Add(c.step)
		}
		require.NoError(t, l.Close())
		require.NoError(t, os.Remove(path+".backup"), c.why)
		got := rotated(t, path)
		require.Len(t, got, len(c.want), "%s: %q", c.why, got)
		for i, n := range c.want {
			require.Equal(t, strings.Repeat(line, n), got[i], c.why)
		}
	}
}

// The size and age of a file that is there already count.
func TestRotationOfAnOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	require.NoError(t, os.WriteFile(path, []byte("old\n"), 0o600))
	now := time.Now().Add(2 * time.Hour)
	l, err := openLogFile(path, rotation{every: time.Hour, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer l.Close()
	if info, err := os.Open(path); err == nil && birth(info, time.Time{}).IsZero() {
		require.NoError(t, info.Close())
		t.Skip("the file system keeps no time of birth")
	}
	_, err = l.Write([]byte("new\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"old\n", "new\n"}, rotated(t, path))
}

// A file that another process has moved is left alone, and a failed move is logged and tried again later.
func TestRotationBesideOthers(t *testing.T) {
	var log bytes.Buffer
	now := time.Now()
	directory := filepath.Join(t.TempDir(), "logs")
	require.NoError(t, os.Mkdir(directory, 0o700))
	path := filepath.Join(directory, "access.log")
	l, err := openLogFile(path, rotation{bytesMax: 5, now: func() time.Time { return now }, log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	write := func(text string) {
		_, err := l.Write([]byte(text))
		require.NoError(t, err)
	}
	write("one\n")
	require.NoError(t, os.Rename(path, path+".moved"))
	write("two\n")
	require.NoError(t, os.Remove(path+".moved"))
	require.Equal(t, []string{"two\n"}, rotated(t, path))

	require.NoError(t, os.Rename(directory, directory+".gone"))
	write("three\n")
	write("four\n")
	require.Equal(t, 1, strings.Count(log.String(), "log not rotated"), "not for every line: %s", &log)
	require.NoError(t, os.Rename(directory+".gone", directory))
	now = now.Add(rotateRetry)
	write("five\n")
	require.Equal(t, []string{"two\nthree\nfour\n", "five\n"}, rotated(t, path))
	require.NoError(t, l.Close())
}

// SIGHUP and rotation at the same time lose no line.
func TestRotationAndReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, err := openLogFile(path, rotation{bytesMax: 100, now: time.Now, log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			_ = l.reopen()
		}
	}()
	var want strings.Builder
	for i := range 500 {
		text := fmt.Sprintf("line %d\n", i)
		want.WriteString(text)
		_, err := l.Write([]byte(text))
		require.NoError(t, err)
	}
	<-done
	require.NoError(t, l.Close())
	require.Equal(t, want.String(), strings.Join(rotated(t, path), ""))
}
