// Package loop runs cooperative tasks on event loops. It knows tasks and time;
// sockets are the business of package tafe/loop/reactor.
//
// A [Loop] has timers and tasks ([Task]). A task is straight-line code on a pooled
// coroutine: it runs until it waits, and every wait ([Task.Sleep], [Group.All],
// [Offload]…) is built on one primitive, [Task.Park], which hands the loop to the
// next task. A [Driver] turns the loop: a reactor that polls sockets, or
// package tafe/loop/looptest.
//
// # The parts, in reading order
//
//	loop.go      Loop: turns, the run queue, one dispatcher, Post
//	task.go      Task: coroutines, Park, Waker, cancel
//	region.go    Enter and Leave: whether a task runs user code or touches the loop
//	loan.go      the same for released tasks that hold their OS thread
//	wait.go      Sleep, Yield, YieldIfDue
//	timer.go     the timer wheel
//	slice.go     what is published about the running slice, for a watchdog
//	histogram.go distributions of slices and waits
//	waiter.go    Waiter and Cond: tasks park, other goroutines block
//	offload.go   Offload: blocking calls on a bounded pool of goroutines
//	group.go     Group: child tasks, joined
//	semaphore.go flight.go queue.go  what tasks and goroutines share
//	goid.go thread.go state.go  what is asked of the Go runtime
//
// # The thread rule
//
// A Loop and all that belongs to it (its Timers, Tasks and connections) may be
// touched only by the goroutine that runs the loop, inside a turn, and by the task
// that the loop is running, between [Task.Enter] and [Task.Leave]; the methods
// of this package call them. Other goroutines use [Loop.Post] and what is built
// on it ([Waker.Post]). Methods that any goroutine may call say so.
package loop
