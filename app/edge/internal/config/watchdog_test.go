package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/watchdog"
)

func TestWatch(t *testing.T) {
	w := Default().Watchdog
	plain := w.Watch()
	require.Empty(t, plain.SnapshotDir, "off is no directory")
	require.Equal(t, watchdog.Escalation{}, plain.Escalation, "it only reports")
	w.SnapshotDir, w.SnapshotBytesMax = "/x", 5
	w.UnreadyAfter, w.AbortAfter = Duration(time.Second), Duration(time.Minute)
	set := w.Watch()
	require.Equal(t, "/x", set.SnapshotDir)
	require.EqualValues(t, 5, set.SnapshotBytesMax)
	require.Equal(t, watchdog.Escalation{UnreadyAfter: time.Second, AbortAfter: time.Minute}, set.Escalation)
	require.Equal(t, 1024, set.RecentMax)
	require.Equal(t, 30, set.ReportsPerMinuteMax)
}
