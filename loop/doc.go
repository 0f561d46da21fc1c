// Package loop runs cooperative tasks on event loops. It has tasks and time; it
// knows no sockets (those are package reactor's) and no HTTP.
//
// A [Loop] owns its timers and its tasks ([Task]). A task is straight-line code on
// a pooled coroutine: it runs until it waits, and every wait ([Task.Sleep], a read
// of a connection, [Offload]…) is built on one primitive, [Task.Park], which gives
// the loop to the next task. A slice is one uninterrupted run of a task. A slice
// of user code that holds its loop for too long loses it: a [Steward] takes the
// loop and another goroutine adopts it, while the code runs on beside.
//
// # The parts, in reading order
//
//	loop.go      Loop: turns, the dispatcher, Post
//	task.go      Task: coroutines, Park, Waker, cancel
//	region.go    handoff: who may touch the loop, and how it is taken
//	loan.go      the same for released tasks that hold their OS thread
//	steward.go   Steward: the thread that takes loops
//	order.go     which ready task runs next
//	wait.go      Sleep, Yield, YieldIfDue
//	timer.go     the timer wheel
//	slice.go     the record of the running slice, for a watchdog
//	waiter.go    waiting as the calling goroutine can: parking or blocking
//	offload.go   Offload: blocking calls on a bounded pool
//	group.go     Group: child tasks, joined
//	semaphore.go flight.go queue.go  shared between tasks and goroutines
//	goruntime.go what the Go runtime is asked for the watchdog
//
// # The thread rule
//
// A Loop and all that belongs to it (its Timers and Tasks, and the connections of
// its reactor) may be touched only by the goroutine that owns the loop, and by the
// task that the loop is running, after [Task.Enter]. Everything else talks to a
// loop through [Loop.Post] and what is built on it ([Waker.Post]). Methods that any
// goroutine may call say so.
package loop
