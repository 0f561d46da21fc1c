package looptest_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

const blockingTime = 50 * time.Millisecond // of what another goroutine ends

// judgeBlocking runs code as a task of a test with NoBlocking, and returns the failures.
func judgeBlocking(t *testing.T, run func()) []string {
	r := &reporter{TB: t}
	looptest.NoBlocking(r)
	run()
	r.end()
	return r.errors
}

func sleepsBriefly(*loop.Task) { time.Sleep(time.Nanosecond) }

// sleepsWithLeave is allowed as a whole.
//
//tafe:allow-blocking a trial
func sleepsWithLeave(*loop.Task) {
	time.Sleep(time.Nanosecond)
	time.Sleep(time.Nanosecond)
}

func TestNoBlocking(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("no task holds its loop in this run")
	}
	t.Chdir(t.TempDir())
	pool := loop.NewPool(1, 1)
	defer pool.Close()
	for _, c := range []struct {
		why  string
		code func(*loop.Task)
		want string // empty: does not block
	}{
		{"a wait through the task", func(t *loop.Task) { _ = t.Sleep(time.Second) }, ""},
		{"computing", func(*loop.Task) { _ = strings.Repeat("x", 1<<20) }, ""},
		{"a free lock", func(*loop.Task) {
			var mu sync.Mutex
			mu.Lock()
			defer mu.Unlock()
		}, ""},
		{"blocking code of Offload", func(t *loop.Task) {
			_, _ = loop.Offload(t, pool, func() (int, error) { time.Sleep(time.Nanosecond); return 0, nil })
		}, ""},
		{"a sleep of a nanosecond", sleepsBriefly, "sleep tafe/loop/looptest_test.sleepsBriefly"},
		{"a channel", func(*loop.Task) {
			done := make(chan struct{})
			time.AfterFunc(blockingTime, func() { close(done) })
			<-done
		}, "chan receive tafe/loop/looptest_test.TestNoBlocking.func"},
		{"a lock that another goroutine holds", func(*loop.Task) {
			var mu sync.Mutex
			mu.Lock()
			time.AfterFunc(blockingTime, mu.Unlock)
			mu.Lock()
			defer mu.Unlock()
		}, "sync tafe/loop/looptest_test.TestNoBlocking.func"},
		{"a file", func(*loop.Task) { _, _ = os.ReadFile("/proc/self/stat") }, "system call tafe/loop/looptest_test.TestNoBlocking.func"},
		{"an allowed line", func(*loop.Task) {
			time.Sleep(time.Nanosecond) //tafe:allow-blocking a trial
		}, ""},
		{"a line below a comment", func(*loop.Task) {
			//tafe:allow-blocking a trial
			time.Sleep(time.Nanosecond)
		}, ""},
		{"a comment without a reason", func(*loop.Task) {
			time.Sleep(time.Nanosecond) //tafe:allow-blocking
		}, "sleep tafe/loop/looptest_test.TestNoBlocking.func"},
		{"an allowed function", sleepsWithLeave, ""},
	} {
		l := looptest.New(t, looptest.Options{})
		found := judgeBlocking(t, func() { l.Run(c.code) })
		l.Close()
		if c.want == "" {
			require.Empty(t, found, c.why)
			continue
		}
		require.NotEmpty(t, found, c.why)
		require.Contains(t, found[0], "the goroutine of a task blocked: "+c.want, c.why)
		require.Contains(t, found[0], "blocking_test.go:", "%s: the stack", c.why)
	}
}

func TestNoBlockingKnowsItsBaseline(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("no task holds its loop in this run")
	}
	t.Chdir(t.TempDir())
	l := looptest.New(t, looptest.Options{})
	run := func() { l.Run(sleepsBriefly) }
	t.Setenv("LOOPTEST_BASELINE", "update")
	require.Empty(t, judgeBlocking(t, run))
	t.Setenv("LOOPTEST_BASELINE", "")
	text, err := os.ReadFile(looptest.BlockingFile)
	require.NoError(t, err)
	require.Contains(t, string(text), "\nsleep tafe/loop/looptest_test.sleepsBriefly\n")
	require.Empty(t, judgeBlocking(t, run), "it is known")
	require.NotEmpty(t, judgeBlocking(t, func() { l.Run(func(*loop.Task) { time.Sleep(time.Nanosecond) }) }), "another place is not")
}

// besideTask moves beside its loop by itself, blocks there, and then blocks on the loop.
type besideTask struct{ done chan struct{} }

func (b besideTask) Run(t *loop.Task) {
	t.Beside()
	sleepsBeside()
	t.Enter()
	t.Outside(sleepsOnLoop)
}

func (b besideTask) Done(*loop.Task, error) { close(b.done) }

func sleepsBeside() { time.Sleep(time.Nanosecond) }
func sleepsOnLoop() { time.Sleep(time.Nanosecond) }

func TestNoBlockingBesideALoop(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("no task holds its loop in this run")
	}
	t.Chdir(t.TempDir())
	engine, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Stop(context.Background())) }()
	l := engine.Loops()[0]
	found := judgeBlocking(t, func() {
		b := besideTask{make(chan struct{})}
		require.True(t, l.Post(func() { _, _ = l.Start(b) }))
		<-b.done
	})
	require.Len(t, found, 1, "what blocks beside the loop does not count")
	require.Contains(t, found[0], "sleepsOnLoop")
}
