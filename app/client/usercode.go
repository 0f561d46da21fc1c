package client

// This file calls the caller's code: its body reader and writer, its interim
// callback, its dial function. In a task that code may be slow, and must not hold
// the loop for ever: it runs as user code (Task.Leave), from which the loop can be
// taken. If the caller of the client's method was inside already, it keeps the loop.

import "tafe/loop"

// enterAgain ends user code, which began with t.Leave(entered). It is deferred,
// since the caller's code may panic.
func reenter(t *loop.Task, entered loop.Crossing) {
	if entered {
		t.Enter()
	}
}

// readStream reads from Request.Stream.
func (x *call) readStream(p []byte) (int, error) {
	x.task.Leave(x.entered)
	defer reenter(x.task, x.entered)
	return x.stream.Read(p)
}

// callWrite writes p by a method of the writer that WriteTo was given.
func (x *call) callWrite(write func([]byte) (int, error), p []byte) (int, error) {
	x.task.Leave(x.entered)
	defer reenter(x.task, x.entered)
	return write(p)
}

// tellInterim calls Request.Interim with the head that was read last.
func (x *call) callInterim() {
	x.task.Leave(x.entered)
	defer reenter(x.task, x.entered)
	x.onInterim(x.head.Status, x.head.Headers)
}
