// The queue in front of the log: what it drops is counted, and lines stay whole.

package edge

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// gate is a writer that blocks until it is opened, and can be made to fail.
type gate struct {
	open chan struct{}
	err  error
	testrig.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	if g.err != nil {
		err := g.err
		g.err = nil
		return 0, err
	}
	return g.Buffer.Write(p)
}

func TestLogQueueDropsAndSaysSo(t *testing.T) {
	for _, c := range []struct {
		why  string
		err  error // of the first write
		want error
	}{
		{"the reader was too slow", nil, nil},
		{"the writer failed, and works again", syscall.ENOSPC, syscall.ENOSPC},
	} {
		t.Run(c.why, func(t *testing.T) {
			g := &gate{open: make(chan struct{}), err: c.err}
			q := newLogQueue(g, 64)
			type report struct {
				lost uint64
				err  error
			}
			reports := make(chan report, 1)
			q.drained = func(lost uint64, err error) {
				select {
				case reports <- report{lost, err}:
				default: // the first one has the error; later ones count the lines of this test that came too fast
				}
			}
			for range 1000 {
				n, err := io.WriteString(q, "0123456789abcde\n")
				require.NoError(t, err)
				require.Equal(t, 16, n)
			}
			require.GreaterOrEqual(t, q.dropped(), uint64(1000-2*64/16), "the bound holds for what waits and for what is written")
			close(g.open)
			if c.err != nil { // what is written next gets through
				for !strings.Contains(g.String(), "again") {
					_, _ = io.WriteString(q, "again\n")
					runtime.Gosched()
				}
			}
			first := <-reports
			require.Positive(t, first.lost)
			require.ErrorIs(t, first.err, c.want)
			q.close(time.Minute)
			for _, line := range strings.SplitAfter(g.String(), "\n") {
				require.Contains(t, []string{"0123456789abcde\n", "again\n", ""}, line, "lines are whole")
			}
		})
	}
}

// smallDisk is a writer with a capacity in bytes.
type smallDisk struct {
	room int
	bytes.Buffer
}

func (d *smallDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	_, _ = d.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space")
	}
	return n, nil
}

func TestTornLineStandsAlone(t *testing.T) {
	d := &smallDisk{room: 6}
	w := &wholeLines{w: d}
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		if line == "three\n" {
			d.room = 100
		}
		_, _ = io.WriteString(w, line)
	}
	require.Equal(t, "one\ntw\nthree\n", d.String())
}
