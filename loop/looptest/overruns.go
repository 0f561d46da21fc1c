// NoOverruns: a test fails when its tasks hold a loop. Package watchdog judges that.

package looptest

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tafe/loop"
	"tafe/loop/watchdog"
)

// BaselineFile lists the known overruns, in the folder of the test's package. Run the tests
// with LOOPTEST_BASELINE=update to write it.
const (
	BaselineFile = "testdata/overruns.baseline"
	baselineEnv  = "LOOPTEST_BASELINE"
)

// NoOverruns fails t if a task holds one of the loops for longer than the budget, in real
// time, before t ends. The failure has the verdict, the place and the stack. Time that the
// machine or the collector took does not count. An overrun that BaselineFile lists counts
// only when it has become twice as long. A slice just beyond the budget may be missed.
// The budget is at least 2 ms.
//
// The loops are those of a test ([Loop.Loop]) or of a reactor.Engine.
func NoOverruns(t testing.TB, budget time.Duration, loops ...*loop.Loop) {
	t.Helper()
	known, err := readBaseline()
	if err != nil {
		t.Fatalf("looptest: %v", err)
	}
	w := watchdog.New(watchdog.Config{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Budget: max(budget, 2*time.Millisecond),
	})
	for _, l := range loops {
		w.Watch(l)
	}
	w.Start()
	t.Cleanup(func() {
		t.Helper()
		w.Stop()
		update := os.Getenv(baselineEnv) == "update"
		for _, o := range w.Recent() {
			news := known.News(&o)
			switch {
			case news == "":
				t.Logf("looptest: does not count: %s", o.Line())
			case update:
				known.Add(&o)
			default:
				t.Errorf("%s\n%s%s", news, (&watchdog.Tree{Children: o.Tree}).String(), o.Advice)
			}
		}
		if update {
			if err := writeBaseline(known); err != nil {
				t.Errorf("looptest: %v", err)
			}
		}
	})
}

func readBaseline() (watchdog.Baseline, error) {
	f, err := os.Open(BaselineFile)
	if errors.Is(err, fs.ErrNotExist) {
		return watchdog.Baseline{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return watchdog.ReadBaseline(f)
}

func writeBaseline(b watchdog.Baseline) error {
	if err := os.MkdirAll(filepath.Dir(BaselineFile), 0o755); err != nil {
		return err
	}
	f, err := os.Create(BaselineFile)
	if err != nil {
		return err
	}
	return errors.Join(b.Write(f), f.Close())
}
