package watchdog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

//go:noinline
func spin(d time.Duration) (n uint64) {
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
	}
	return n
}

func TestNamesWhoHeldTheLoop(t *testing.T) {
	s := newStage(t, 1, Config{}, map[string]func(*loop.Task){
		"spin":  func(*loop.Task) { spin(60 * time.Millisecond) },
		"sleep": func(*loop.Task) { time.Sleep(60 * time.Millisecond) },
		"fast":  func(*loop.Task) {},
	})
	for range 10 {
		s.call("fast", "f")
	}
	s.call("spin", "a")
	s.call("sleep", "b")
	found := map[string]Verdict{}
	for _, o := range s.settled() {
		if o.Blamed {
			found[o.Route+" "+o.RequestID] = o.Verdict
			require.NotEmpty(t, o.Stack)
		}
	}
	require.Equal(t, map[string]Verdict{"spin a": Spin, "sleep b": Sleep}, found)
}
