package run

import (
	"strings"
	"sync"
)

// output keeps the last bytes that a server printed, for the message when something goes wrong. Safe for concurrent
// use.
type output struct {
	mu   sync.Mutex
	last []byte
}

// outputMax bounds the kept output in bytes.
const outputMax = 1500

// Write keeps the end of what was written; it never fails.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = append(o.last, b...)
	if n := len(o.last) - outputMax; n > 0 {
		o.last = append(o.last[:0], o.last[n:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.last))
}
