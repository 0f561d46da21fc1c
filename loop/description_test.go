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
		parent := Task{}
		parent.Describe(&routes[1], &routes[1], texts[1], texts[1], texts[1], labels[1])
		for i := 0; ; i = (i + 1) % 4 {
			select {
			case <-stop:
				return
			default:
				switch i {
				case 0, 1:
					describeRacing(task, &routes[i], texts[i], labels[i])
				case 2:
					inheritRacing(task, &parent)
				case 3:
					clearRacing(task)
				}
				runtime.Gosched() // so that the reader mostly finds a stable one
			}
		}
	})
	read := 0
	for read < 20_000 {
		d := task.Observe().Description()
		if d.Route == "" {
			require.Equal(t, Description{}, d, "none was recorded")
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

//go:norace
func inheritRacing(t, parent *Task) { t.label.inherit(&parent.label) }

//go:norace
func clearRacing(t *Task) { t.label.clear() }

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
