package loop

import (
	"bytes"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDescriptionIsNeverAMixture reads a description while others are written.
func TestDescriptionIsNeverAMixture(t *testing.T) {
	task := &Task{loop: &Loop{}}
	routes := []string{"/a", "/b"}
	labels := []*ConnLabel{{ID: 1, Remote: "/a"}, {ID: 2, Remote: "/b"}}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		texts := [][]byte{bytes.Repeat([]byte("a"), 60), bytes.Repeat([]byte("b"), 50)}
		for i := 0; ; i = 1 - i {
			select {
			case <-stop:
				return
			default:
				describeRacing(task, &routes[i], texts[i], labels[i])
				runtime.Gosched() // so that the reader mostly finds a stable one
			}
		}
	})
	read := 0
	for read < 20_000 {
		d := task.Observe().Description()
		if d.Route == "" {
			runtime.Gosched()
			continue
		}
		read++
		want := "a"
		if d.Route == "/b" {
			want = "b"
		}
		require.Empty(t, bytes.Trim([]byte(d.Path+d.RequestID+d.Traceparent), want), "%+v", d)
		require.Equal(t, d.Route, d.Remote)
	}
	close(stop)
	writer.Wait()
}

// describeRacing is Describe without the race detector, which does not know the version.
//
//go:norace
func describeRacing(t *Task, route *string, text []byte, conn *ConnLabel) {
	t.Describe(route, route, text, text, text, conn)
}

// TestStill: Still is true until the slice ends.
func TestStill(t *testing.T) {
	var s Slice
	s.begin(&Task{}, 7)
	since, _, ok := s.Load()
	require.True(t, ok)
	require.True(t, s.Still(since))
	s.betweenTasks(9)
	require.False(t, s.Still(since))
	outside, ok := s.BetweenTasks()
	require.True(t, ok)
	require.True(t, s.Still(-outside))
	s.begin(&Task{}, 9)
	require.False(t, s.Still(-outside))
	s.idle()
	require.False(t, s.Still(9))
}
