package watchdog

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBaseline(t *testing.T) {
	known := overrunAt(1, 7, 23*time.Millisecond)
	b := Baseline{}
	require.Contains(t, b.News(&known), "new overrun")
	b.Add(&known)
	var text strings.Builder
	require.NoError(t, b.Write(&text))
	require.Contains(t, text.String(), "30ms sleep main.handler\n")
	b, err := ReadBaseline(strings.NewReader(text.String()))
	require.NoError(t, err)
	for _, c := range []struct {
		o    Overrun
		news string
		why  string
	}{
		{overrunAt(2, 9, 25*time.Millisecond), "", "another line of the same function"},
		{overrunAt(2, 7, 59*time.Millisecond), "", "not twice as long"},
		{overrunAt(2, 7, 61*time.Millisecond), "worse than the known 30ms", "more than twice as long"},
		{func() Overrun { o := overrunAt(2, 7, time.Second); o.Blamed = false; return o }(), "", "innocent"},
		{func() Overrun { o := overrunAt(2, 7, time.Millisecond); o.Verdict = Spin; return o }(), "new overrun", "for another reason"},
	} {
		if news := b.News(&c.o); c.news == "" {
			require.Empty(t, news, c.why)
		} else {
			require.Contains(t, news, c.news, c.why)
		}
	}
	for _, bad := range []string{"x", "10 main.f", "main.f 10ms"} {
		_, err := ReadBaseline(strings.NewReader(bad))
		require.ErrorContains(t, err, "line 1", bad)
	}
}
