// Package csleep sleeps in C, a block that only cgo can make. It is for
// tests.
package csleep

// #include <unistd.h>
import "C"

import "time"

// Available tells whether the binary was built with cgo.
const Available = true

// Sleep blocks the calling thread in C.
func Sleep(d time.Duration) { C.usleep(C.useconds_t(d.Microseconds())) }
