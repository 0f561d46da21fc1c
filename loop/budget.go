// Settings of a task: its budget, its handoff time, and whether it runs in the background.

package loop

import "time"

// SetBudget sets the time that each slice of the task may take, in place of
// Limits.SliceBudget; 0 restores that. Any goroutine.
func (t *Task) SetBudget(d time.Duration) { t.label.budget.Store(int64(d)) }

// Budget returns the time that one slice of the task may take. Any goroutine.
func (t *Task) Budget() time.Duration {
	if d := t.label.budget.Load(); d > 0 {
		return time.Duration(d)
	}
	return t.loop.limits.SliceBudget
}

// SetHandoff sets the time for which each slice of the task may hold the loop while
// others wait, in place of the loop's own. 0 restores that; a negative d means that the
// loop is never taken from the task. Any goroutine.
func (t *Task) SetHandoff(d time.Duration) { t.label.handoff.Store(int64(d)) }

// handoffTime returns for how many ns the task's slices may hold the loop while others
// wait; 0: without limit. Any goroutine.
func (t *Task) handoffTime() int64 {
	if d := t.label.handoff.Load(); d != 0 {
		return max(d, 0)
	}
	return t.loop.handoff.Load()
}

// SetBackground marks the task as one that no client waits for, such as one that reads
// a late answer. A watchdog does not count it among the victims of an overrun. Any
// goroutine.
func (t *Task) SetBackground() { t.label.background.Store(true) }
