// escalate.go owns the end of a process whose loop is stuck for good, where watchdog.abort_after asks for it.

package main

import (
	"fmt"
	"os"
	"time"

	"tafe/loop/watchdog"
)

// abort ends the process. Nothing is drained: what is stuck would not end, and the supervisor is to start anew at once.
func (e *edge) abort(o watchdog.Overrun, stacks []byte) {
	e.log.Error("a loop is stuck: the process ends", "held", o.Held.String(), "abort_after", time.Duration(e.settings.Watchdog.AbortAfter),
		"overrun", o.ID, "loop", o.Loop, "verdict", string(o.Verdict), "route", o.Route, "path", o.Path, "request_id", o.RequestID, "at", o.Culprit.String())
	e.stderr.last(stacks)
	os.Exit(exitStuck)
}

// checkSnapshotDir finds out at the start, not at the first overrun, that nothing can be kept.
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
