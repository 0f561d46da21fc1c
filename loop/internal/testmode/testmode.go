// Package testmode lets a test run change how loops behave, at link time:
//
//	go test -ldflags "-X tafe/loop/internal/testmode.handoff=100us" ./...    # handoff after 100 us in place of 2 ms
//	go test -ldflags "-X tafe/loop/internal/testmode.handoff=always" ./...   # all user code runs beside its loop
//
// Without the flag nothing changes.
package testmode

import "time"

// handoff is set by the linker only.
var handoff string

// Always reports whether all user code runs beside its loop.
func Always() bool { return handoff == "always" }

// Handoff returns the handoff time that the flag sets, or standard without one.
func Handoff(standard time.Duration) time.Duration {
	if d, err := time.ParseDuration(handoff); err == nil {
		return d
	}
	return standard
}
