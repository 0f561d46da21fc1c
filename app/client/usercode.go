// Calls of the caller's code: body readers and writers, trailers, the interim callback and the dial function. In a task
// this code runs as user code (between Leave and Enter), so the loop can be taken. If the client was called with the
// loop entered, it stays entered.

package client

import (
	"tafe/httpparse"
	"tafe/loop"
)

// reenter ends user code that began with t.Leave(entered). It is deferred, because user code may panic.
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

// callTrailers calls Request.Trailers.
func (x *call) callTrailers() []httpparse.Header {
	x.task.Leave(x.entered)
	defer reenter(x.task, x.entered)
	return x.trailerFields()
}

// callWrite calls write, a method of the writer given to WriteTo.
func (x *call) callWrite(write func([]byte) (int, error), p []byte) (int, error) {
	x.task.Leave(x.entered)
	defer reenter(x.task, x.entered)
	return write(p)
}

// callInterim calls Request.Interim.
func (x *call) callInterim(status int, fields []httpparse.Header) {
	x.task.Leave(x.entered)
	defer reenter(x.task, x.entered)
	x.onInterim(status, fields)
}
