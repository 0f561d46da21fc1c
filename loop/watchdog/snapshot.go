// Snapshots: the first overrun of each stack leaves a trace on disk, within a limit of bytes. Files
// are written by a goroutine of their own, one at a time.

package watchdog

import (
	"cmp"
	"compress/gzip"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	snapshotWindow = 30 * time.Second
	snapshotPrefix = "overrun-"
)

// keepSnapshot starts writing a trace of the time before an overrun. It does nothing if one is
// being written already.
func (w *Watchdog) keepSnapshot(id uint64) {
	if w.config.SnapshotDir == "" || !w.snapshotting.CompareAndSwap(false, true) {
		return
	}
	w.background.Go(func() {
		defer w.snapshotting.Store(false)
		if err := w.writeSnapshot(id); err != nil {
			w.reporter.log.write(slog.LevelWarn, "cannot write overrun snapshot", slog.Uint64("overrun", id), slog.String("error", err.Error()))
		}
	})
}

func (w *Watchdog) writeSnapshot(id uint64) error {
	name := filepath.Join(w.config.SnapshotDir, snapshotPrefix+strconv.FormatUint(id, 10)+"-"+time.Now().UTC().Format("20060102T150405")+".json.gz")
	f, err := os.CreateTemp(w.config.SnapshotDir, ".snapshot-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	z := gzip.NewWriter(f)
	err = w.WriteTrace(z, snapshotWindow)
	err = cmp.Or(err, z.Close(), f.Close())
	if err != nil {
		return err
	}
	if err = w.makeRoom(f.Name()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// makeRoom removes the oldest snapshots until the new one fits within SnapshotBytesMax.
func (w *Watchdog) makeRoom(fresh string) error {
	info, err := os.Stat(fresh)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(w.config.SnapshotDir)
	if err != nil {
		return err
	}
	var kept []os.FileInfo
	total := info.Size()
	for _, e := range entries {
		if i, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), snapshotPrefix) {
			kept = append(kept, i)
			total += i.Size()
		}
	}
	slices.SortFunc(kept, func(a, b os.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, old := range kept {
		if total <= w.config.SnapshotBytesMax {
			break
		}
		if err := os.Remove(filepath.Join(w.config.SnapshotDir, old.Name())); err != nil {
			return err
		}
		total -= old.Size()
	}
	return nil
}
