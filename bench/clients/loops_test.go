// Tests that the clients work in tasks: no task is lost, and no loop stops.

package clients

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// noHandoff is Config.Handoff of loops that are never handed over: a task that blocks until another task of its loop, or the loop itself, has
// done something stops the loop for good.
const noHandoff time.Duration = -1

func TestClients(t *testing.T) {
	const tasks, rounds = 500, 3
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			addr := c.serve(t)
			conns := c.conns(tasks)
			if c.kind == pooled || c.kind == routed {
				t.Run("as it is", func(t *testing.T) { survive(t, c, onLoops, addr, conns, tasks, rounds, 0) })
			}
			t.Run("as recommended", func(t *testing.T) { survive(t, c, c.recommended(), addr, conns, tasks, rounds, 0) })
			if c.alone {
				t.Run("as recommended, without handoff", func(t *testing.T) { survive(t, c, c.recommended(), addr, conns, tasks, rounds, noHandoff) })
			}
		})
	}
}

// The recipe of the README, with many more tasks than connections, and the same without it.
func TestSmallPools(t *testing.T) {
	const tasks, conns, rounds = 200, 4, 10
	for _, c := range clients {
		if c.kind != pooled {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			addr := c.serve(t)
			t.Run("tasks wait in the pool", func(t *testing.T) { survive(t, c, onLoops, addr, conns, tasks, rounds, 0) })
			t.Run("tasks wait for their turn", func(t *testing.T) { survive(t, c, inTurns, addr, conns, tasks, rounds, 0) })
			if c.alone {
				t.Run("tasks wait for their turn, without handoff", func(t *testing.T) { survive(t, c, inTurns, addr, conns, tasks, rounds, noHandoff) })
			}
		})
	}
}

// survive lets all tasks make their calls, and fails if one fails or a loop stands still.
func survive(t *testing.T, c client, w way, addr string, conns, tasks, rounds int, handoff time.Duration) {
	e := startEngine(t, handoff)
	members := startCrowd(e, tasks, rounds, w.prepare(t, c, addr, e, conns, tasks))
	members.wait(t, e)
	require.EqualValues(t, tasks*rounds, members.calls())
}
