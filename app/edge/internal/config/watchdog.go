// [watchdog]: its keys, and the watchdog.Config that they describe.

package config

import (
	"time"

	"tafe/loop/watchdog"
)

// Watchdog is the section of the same name.
type Watchdog struct {
	// Watch the loops, and log the code that holds one.
	Enabled bool `toml:"enabled" default:"true" reload:"restart"`
	// Longest time that a handler may hold its loop without a report, unless its route sets its own.
	Budget Duration `toml:"budget" default:"10ms" min:"100us" max:"1m" reload:"restart"`
	// File for one JSON line per overrun, in addition to the log; "off" writes none. SIGHUP reopens it.
	File Path `toml:"file" default:"off" reload:"restart"`
	// Lines per second written to the file. Lines beyond it are dropped.
	FileLinesPerSecondMax int `toml:"file_lines_per_second_max" default:"50" min:"1" max:"10000" reload:"restart"`
	// Reports per minute written to the log. Reports beyond it are counted and summarized.
	ReportsPerMinuteMax int `toml:"reports_per_minute_max" default:"30" min:"1" max:"10000" reload:"restart"`
	// Time in which the same stack is not reported again. It doubles with each report, up to quiet_max.
	QuietMin Duration `toml:"quiet_min" default:"10s" min:"1ms" max:"24h" reload:"restart"`
	// See quiet_min.
	QuietMax Duration `toml:"quiet_max" default:"10m" min:"1ms" max:"24h" reload:"restart"`
	// Overruns that the admin listener keeps.
	RecentMax int `toml:"recent_max" default:"1024" min:"1" max:"100000" reload:"restart"`
	// Slices that the flight recorder keeps per loop, 40 bytes each.
	RecorderSlices int `toml:"recorder_slices" default:"32768" min:"64" max:"10000000" reload:"restart"`
	// Directory for traces: for the first overrun of each new stack, a gzipped trace of the time before it, for Perfetto.
	// "off" keeps none.
	SnapshotDir Path `toml:"snapshot_dir" default:"off" reload:"restart"`
	// Total size of the traces. The oldest are deleted.
	SnapshotBytesMax Bytes `toml:"snapshot_bytes_max" default:"64MiB" min:"1MiB" max:"1TiB" reload:"restart"`
	// Report what ended the wait of code that waited for a lock or a channel: ended_by in the log, and in /overruns. The flight
	// recorder of the Go runtime runs while such code is reported, at most 5 s in 10 s, and costs a short request some 5% meanwhile.
	Wakers bool `toml:"wakers" default:"false" reload:"restart"`
	// /readyz answers 503 while a loop has been held for longer than this, so that load balancers send requests elsewhere.
	// "0s": never.
	UnreadyAfter Duration `toml:"unready_after" default:"0s" min:"0s" max:"24h" reload:"restart"`
	// When code has held a loop for longer than this, the process logs it, writes the stacks of all goroutines to stderr and
	// exits with status 3, so that its supervisor restarts it. "0s": never.
	AbortAfter Duration `toml:"abort_after" default:"0s" min:"0s" max:"24h" reload:"restart"`
}

// Watch returns the configuration of the watchdog, without log, file and the action on abort.
func (w *Watchdog) Watch() watchdog.Config {
	dir := string(w.SnapshotDir)
	if dir == "off" {
		dir = ""
	}
	return watchdog.Config{
		SinkLinesPerSecondMax: w.FileLinesPerSecondMax, ReportsPerMinuteMax: w.ReportsPerMinuteMax,
		QuietMin: time.Duration(w.QuietMin), QuietMax: time.Duration(w.QuietMax),
		RecentMax: w.RecentMax, RecorderSlices: w.RecorderSlices,
		SnapshotDir: dir, SnapshotBytesMax: int64(w.SnapshotBytesMax), Wakers: w.Wakers,
		Escalation: watchdog.Escalation{UnreadyAfter: time.Duration(w.UnreadyAfter), AbortAfter: time.Duration(w.AbortAfter)},
	}
}
