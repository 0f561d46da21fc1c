// The pulse is tested with loops that turn when the test says so, and a clock that stands still.

package main

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// manualLoop keeps what was posted until turn.
type manualLoop struct {
	posted []func()
	ended  bool
}

func (l *manualLoop) Post(fn func()) bool {
	if !l.ended {
		l.posted = append(l.posted, fn)
	}
	return !l.ended
}

func (l *manualLoop) turn() {
	for _, fn := range l.posted {
		fn()
	}
	l.posted = nil
}

func TestPulse(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	lively, stuck := &manualLoop{}, &manualLoop{}
	p := newPulse([]poster{lively, stuck}, now)
	require.Empty(t, p.stuck(now), "all is well at the start")
	for range 10 {
		p.ask(clock)
		lively.turn()
		now = now.Add(time.Second)
	}
	require.Equal(t, []int{1}, p.stuck(now))
	require.Len(t, stuck.posted, 1, "a stuck loop is asked once, not once a second")
	stuck.turn()
	require.Empty(t, p.stuck(now), "it turned")

	stuck.ended = true
	for range 6 {
		p.ask(clock)
		lively.turn()
		now = now.Add(time.Second)
	}
	require.Equal(t, []int{1}, p.stuck(now), "a loop that has ended does not turn")
}

func TestHealthRoutes(t *testing.T) {
	draining := false
	l := &manualLoop{}
	for _, c := range []struct {
		target   string
		started  time.Time
		draining bool
		status   int
		want     string
		why      string
	}{
		{"/healthz", time.Now(), false, 200, "ok", "alive"},
		{"/healthz", time.Now(), true, 200, "ok", "alive while draining"},
		{"/healthz", time.Now().Add(-2 * turnMax), false, 503, "loops [0] have not turned for 5s", "stuck"},
		{"/readyz", time.Now(), false, 200, "ok", "ready"},
		{"/readyz", time.Now(), true, 503, "draining", "not any more"},
		{"/other", time.Now(), false, 404, "", "nothing else"},
	} {
		draining = c.draining
		w := httptest.NewRecorder()
		healthRoutes(newPulse([]poster{l}, c.started), func() bool { return draining }).ServeHTTP(w, httptest.NewRequest("GET", c.target, nil))
		require.Equal(t, c.status, w.Code, c.why)
		require.Contains(t, w.Body.String(), c.want, c.why)
	}
}
