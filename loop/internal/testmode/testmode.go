// Package testmode lets a test run change how loops behave, at link time:
//
//	go test -ldflags "-X tafe/loop/internal/testmode.handoff=100us" ./...    hands loops over after 100 us in place of 2 ms
//	go test -ldflags "-X tafe/loop/internal/testmode.handoff=always" ./...   runs all user code beside its loop
//
// A program that is built without it is not affected.
package testmode

import "time"

// handoff is set by the linker only.
var handoff string

// Always tells whether all user code runs beside its loop.
func Always() bool { return handoff == "always" }

// Handoff returns the time after which loops are handed over, or standard where
// the run says nothing.
func Handoff(standard time.Duration) time.Duration {
	if d, err := time.ParseDuration(handoff); err == nil {
		return d
	}
	return standard
}
