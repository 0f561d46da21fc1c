// The warning at the start about parts of the Go runtime that this binary cannot read (see loop.RuntimeSupport).

package edge

import (
	"log/slog"
	"strings"
)

// warnDegraded logs one line with the parts (see loop.RuntimeSupport) and the consequences. Without parts it logs nothing.
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
			follows = append(follows, "the watchdog cannot read thread clocks and may blame code that did not get CPU")
		case "state":
			follows = append(follows, "the watchdog sees waits only in stacks, later and less exactly")
		}
	}
	log.Warn("the Go runtime's introspection is degraded", "degraded", strings.Join(parts, ","), "detail", strings.Join(follows, "; "))
}
