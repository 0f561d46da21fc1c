// What the admin listener shows of the process: version, certificates, reloads.

package main

import (
	"runtime/debug"
	"time"

	"tafe/cmd/tafe/internal/config"
)

// shownVersion is the version of the binary, in short.
func shownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// certificates tells by the address of each listener with TLS when its first certificate expires; nil where there is none.
func (e *edge) certificates(stores []*config.Certificates) func() map[string]time.Time {
	if len(stores) == 0 {
		return nil
	}
	var addrs []string // of the stores, which are in the order of the listeners
	for _, l := range e.settings.Listeners {
		if l.TLS != nil {
			addrs = append(addrs, string(l.Listen))
		}
	}
	return func() map[string]time.Time {
		all := make(map[string]time.Time, len(stores))
		for i, s := range stores {
			all[addrs[i]] = s.Expires()
		}
		return all
	}
}

// reloadCounts counts reloads and those that failed. Any goroutine.
func (e *edge) reloadCounts() (all, failed uint64) { return e.reloads.Load(), e.reloadsFailed.Load() }
