// Many tasks, or goroutines, that call a client at the same time.

package clients

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// loopCount is how many loops the tasks are on.
const loopCount = 2

// startEngine starts the loops. handoff is that of reactor.Config.
func startEngine(t testing.TB, handoff time.Duration) *reactor.Engine {
	t.Helper()
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: loopCount, Handoff: handoff,
		Open: func(c *reactor.Conn) reactor.Handler { return reactor.NewNetConn(c).(reactor.Handler) }})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	})
	return e
}

// handoffs returns how often the loops were handed over so far.
func handoffs(e *reactor.Engine) (sum uint64) {
	for _, l := range e.Loops() {
		sum += l.Observe().Stats().Handoffs
	}
	return sum
}

// crowd is the tasks or goroutines.
type crowd struct {
	do       call
	rounds   int // calls of each member; 0: until stop
	members  []member
	stopping atomic.Bool
	running  sync.WaitGroup
	ended    chan struct{}
}

// member has the results of a task or goroutine.
type member struct {
	calls atomic.Int64
	err   error
	_     [40]byte // a cache line for each
}

// startCrowd starts the members, as tasks of the loops of e or, if e is nil, as goroutines.
func startCrowd(e *reactor.Engine, size, rounds int, do call) *crowd {
	c := &crowd{do: do, rounds: rounds, members: make([]member, size), ended: make(chan struct{})}
	c.running.Add(size)
	for i := range c.members {
		switch {
		case e == nil:
			go func() {
				defer c.running.Done()
				c.work(nil, i)
			}()
		default:
			l := e.Loops()[i%len(e.Loops())]
			if !l.Post(func() {
				if _, err := l.Start(&task{c, i}); err != nil {
					c.members[i].err = err
					c.running.Done()
				}
			}) {
				c.members[i].err = loop.ErrClosed
				c.running.Done()
			}
		}
	}
	go func() { c.running.Wait(); close(c.ended) }()
	return c
}

// task is a loop.Runner.
type task struct {
	crowd *crowd
	who   int
}

// Run implements loop.Runner. The calls are user code, as those of a handler.
func (r *task) Run(t *loop.Task) { t.Outside(func() { r.crowd.work(t, r.who) }) }

// Done implements loop.Runner.
func (r *task) Done(_ *loop.Task, err error) {
	if m := &r.crowd.members[r.who]; m.err == nil {
		m.err = err
	}
	r.crowd.running.Done()
}

func (c *crowd) work(t *loop.Task, who int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience) // as that of a request, it can end
	defer cancel()
	m := &c.members[who]
	for round := 0; (c.rounds == 0 || round < c.rounds) && !c.stopping.Load(); round++ {
		if err := c.do(t, ctx, who, fmt.Sprint(who, " in round ", round)); err != nil {
			m.err = err
			return
		}
		t.Leave(t.Enter()) // as a handler that answers: a task that ran beside its loop returns to it
		m.calls.Add(1)
	}
}

// calls returns how many calls have succeeded so far.
func (c *crowd) calls() (sum int64) {
	for i := range c.members {
		sum += c.members[i].calls.Load()
	}
	return sum
}

// stop makes the members return after their current call.
func (c *crowd) stop() { c.stopping.Store(true) }

// wait waits for the members and checks that none failed. While it waits it checks that the loops of e turn.
func (c *crowd) wait(t testing.TB, e *reactor.Engine) {
	t.Helper()
	for waiting := true; waiting; {
		select {
		case <-c.ended:
			waiting = false
		case <-time.After(20 * time.Millisecond):
		}
		if e != nil {
			requireTurning(t, e)
		}
	}
	for i := range c.members {
		require.NoError(t, c.members[i].err, "member %d, after %d calls", i, c.members[i].calls.Load())
	}
}

// requireTurning waits until each loop has run a function.
func requireTurning(t testing.TB, e *reactor.Engine) {
	t.Helper()
	for i, l := range e.Loops() {
		turned := make(chan struct{})
		require.True(t, l.PostUnbounded(func() { close(turned) }))
		select {
		case <-turned:
		case <-time.After(patience):
			require.Fail(t, "a loop stands still", "loop %d", i)
		}
	}
}
