// degraded.go logs at the start which parts of the Go runtime's introspection do not work with the Go release of the binary.

package main

import (
	"log/slog"
	"strings"
)

// warnDegraded logs one line that names the parts (see loop.RuntimeSupport) and what follows from it, none if there are no parts.
func warnDegraded(log *slog.Logger, parts []string) {
	if len(parts) == 0 {
		return
	}
	var follows []string
	for _, part := range parts {
		switch part {
		case "thread_lock":
			follows = append(follows, "a handler that waits while it holds its OS thread (runtime.LockOSThread) ends the process")
		case "thread":
			follows = append(follows, "the watchdog cannot read thread clocks and may blame code that was kept from running")
		case "state":
			follows = append(follows, "the watchdog sees waits in stacks alone, later and less exactly")
		}
	}
	log.Warn("the Go runtime's introspection is degraded", "degraded", strings.Join(parts, ","), "detail", strings.Join(follows, "; "))
}
