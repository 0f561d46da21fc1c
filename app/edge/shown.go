// Process data for the admin listener: version, certificates, reloads.

package edge

import (
	"runtime/debug"
	"time"

	"tafe/app/edge/internal/config"
)

// shownVersion returns the module version of the binary.
func shownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// certificates returns the first expiry of certificates by listen address; nil without TLS.
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

// reloadCounts returns the number of reloads and of failed reloads. Any goroutine.
func (e *edge) reloadCounts() (all, failed uint64) { return e.reloads.Load(), e.reloadsFailed.Load() }
