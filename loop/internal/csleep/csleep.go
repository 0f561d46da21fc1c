// Package csleep blocks a thread in C, for tests of calls by cgo.
package csleep

// #include <unistd.h>
import "C"

import "time"

// Available reports whether the binary was built with cgo.
const Available = true

// Sleep blocks the calling thread in C.
func Sleep(d time.Duration) { C.usleep(C.useconds_t(d.Microseconds())) }
