//go:build !cgo

// Without cgo, Sleep blocks the goroutine instead.

package csleep

import "time"

// Available reports whether the binary was built with cgo.
const Available = false

// Sleep blocks the calling goroutine.
func Sleep(d time.Duration) { time.Sleep(d) }
