// The watchdog of a server: its construction, and the end of the process when a loop is stuck (watchdog.abort_after).

package edge

import (
	"fmt"
	"io"
	"os"
	"time"

	"tafe/loop"
	"tafe/loop/watchdog"
)

// newWatchdog makes the watchdog unless it is off, and returns the constructor of loop observers.
func (e *edge) newWatchdog(stdout io.Writer) (observe func(*loop.Loop) loop.Observer, err error) {
	c := &e.settings.Watchdog
	if !c.Enabled {
		return nil, nil
	}
	sink, err := e.openLog(c.File, stdout, rotation{})
	if err != nil {
		return nil, fmt.Errorf("watchdog.file: %w", err)
	}
	watch := c.Watch()
	e.steward = loop.NewSteward()
	watch.Log, watch.Sink, watch.Steward = e.log, sink, e.steward
	watch.Escalation.Abort = e.abort
	if err := checkSnapshotDir(watch.SnapshotDir); err != nil {
		return nil, err
	}
	e.watchdog = watchdog.New(watch)
	return e.watchdog.Observe, nil
}

// abort ends the process without a drain: a stuck loop would not drain, and the supervisor restarts the process.
func (e *edge) abort(o watchdog.Overrun, stacks []byte) {
	e.log.Error("a loop is stuck: the process exits", "held", o.Held.String(), "abort_after", time.Duration(e.settings.Watchdog.AbortAfter),
		"overrun", o.ID, "loop", o.Loop, "verdict", string(o.Verdict), "route", o.Route, "path", o.Path, "request_id", o.RequestID, "at", o.Culprit.String())
	e.stderr.last(stacks)
	os.Exit(exitStuck)
}

// checkSnapshotDir reports at the start that the directory is not writable, rather than at the first overrun.
func checkSnapshotDir(dir string) error {
	if dir == "" {
		return nil
	}
	f, err := os.CreateTemp(dir, ".snapshot-*")
	if err != nil {
		return fmt.Errorf("watchdog.snapshot_dir: %w", err)
	}
	_ = f.Close()
	return os.Remove(f.Name())
}
