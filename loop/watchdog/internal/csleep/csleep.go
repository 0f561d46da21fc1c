// Package csleep sleeps in C: the block that only cgo can make, for the
// watchdog's tests. It does nothing else.
package csleep

// #include <unistd.h>
import "C"

import "time"

// Available tells whether the binary was built with cgo.
const Available = true

// Sleep blocks the calling thread in C.
func Sleep(d time.Duration) { C.usleep(C.useconds_t(d.Microseconds())) }
