// Package loop runs cooperative tasks on event loops. Package reactor adds sockets.
//
// A [Loop] has timers and tasks. A [Task] is straight-line code on a pooled coroutine.
// It runs until it waits. [Task.Sleep], a read of a connection and [Offload] wait by
// [Task.Park], which gives the loop to the next task. A slice is what a task runs from
// one resume to its next wait, or to the handoff. When a slice of user code holds its loop
// for too long, a [Steward] takes the loop and another goroutine adopts it (handoff). The
// code then runs on beside the loop until it next needs it.
//
// # For authors of tasks
//
// Tasks wait by Sleep, Yield, YieldIfDue, and by Prepare and Park with a [Waker]. A
// [Group] joins child tasks. [Semaphore], [Flight], [Queue], [Cond] and [Waiter] work
// between tasks of all loops and other goroutines. Offload calls blocking functions on
// a [Pool]. [Loop.Drive] is for the driver of a loop; [Loop.Observe] and [Task.Observe]
// are for watchdogs, metrics and tracers.
//
// # Goroutines
//
// A Loop and all that belongs to it (its Timers and Tasks, and the connections of its
// reactor) may be used only by the goroutine that owns the loop, and by the running
// task, between [Task.Enter] and [Task.Leave]. Other goroutines use [Loop.Post] and what
// is built on it ([Waker.Post]). Methods that any goroutine may call say so.
//
// # The files, in reading order
//
//	loop.go      Loop: errors, limits, the run queue (ring.go), the dispatcher, Post
//	task.go      Task: coroutines, Park, Waker
//	wait.go      Sleep, Yield, YieldIfDue, timeouts of waits
//	cancel.go    cancellation and deadlines; budget.go other settings of a task
//	timer.go     the timer wheel
//	order.go     which ready task runs next
//	region.go    handoff: its terms, in which code a loop may be taken, and how
//	loan.go      handoff of tasks that hold their OS thread
//	steward.go   Steward, which decides when
//	driver.go    Driver and LoopControl; shutdown.go the end of a loop
//	slice.go     the record of the running slice
//	observe.go   Observer, LoopView, TaskView; describe.go, histogram.go, goruntime.go
//	waiter.go    Waiter and Cond: parking or blocking
//	offload.go   group.go semaphore.go flight.go queue.go  built on these
package loop
