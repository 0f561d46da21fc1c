package loop

import "context"

// BriefDriver drives a loop that lives for one request, on a goroutine that another server gave it. What is kept per loop
// elsewhere would not be found again there.
type BriefDriver interface {
	Driver
	// Context is the request's.
	Context() context.Context
}

// Brief returns the context of the one request for which the loop lives; nil for loops that go on. Any goroutine.
func (l *Loop) Brief() context.Context {
	if d, ok := l.driver.(BriefDriver); ok {
		return d.Context()
	}
	return nil
}
