// Package loop runs cooperative tasks on event loops. It knows bytes, time and
// tasks; it knows no HTTP.
//
// An [Engine] owns the sockets and runs one [Loop] per reactor on gnet. A Loop
// owns its connections ([Conn]), its timers and its tasks ([Task]). A task is
// straight-line code on a pooled coroutine: it runs until it waits, and every
// wait ([Task.Sleep], a read of a [Dialer]'s connection, [Offload]…) is built
// on one primitive, [Task.Park], which hands the loop to the next task.
//
// # The parts, in reading order
//
//	loop.go     Loop: the run queue, one dispatcher, Post
//	task.go     Task: coroutines, Park, Waker, cancel
//	wait.go     Sleep, Yield, YieldIfDue
//	conn.go     Conn: owned input, limits, timeouts, closing
//	output.go   what a Conn sends, and how its reader holds it back
//	timer.go    the timer wheel
//	slice.go    what is published about the running slice, for a watchdog
//	goruntime.go  what is published about its goroutine and thread
//	engine.go   the gnet adapter; nothing else implements its EventHandler
//	bell.go     how a reactor is woken
//	listener.go what an engine listens on
//	takeover_linux.go  how a new process takes over from an old one
//	preface.go  the PROXY protocol
//	tls.go      crypto/tls between a transport and its Conn
//	enroll.go   streams that enter and leave a reactor
//	bulk.go     the bulk lane: large bodies off the loop
//	waiter.go   waiting as the calling goroutine can: parking or blocking
//	netconn.go  a net.Conn whose Read and Write park the task
//	backlog.go  what becomes of one that nobody reads
//	beside.go   how other goroutines use one whose loop is held
//	dial.go     Dialer: outbound connections on the caller's loop
//	offload.go  Offload: what blocks, on a bounded pool
//	group.go    Group: child tasks, joined
//	semaphore.go flight.go queue.go  what tasks and goroutines share
//
// # The thread rule
//
// A Loop and all that belongs to it (its Conns, Timers and Tasks) may be
// touched only by the goroutine that runs the loop and by the task that the
// loop is running. Everything else talks to a loop through [Loop.Post] and
// what is built on it ([Waker.Post]). Methods that any goroutine may call say
// so.
package loop
