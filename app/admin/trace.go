// /trace: the last seconds of the flight recorder, for Perfetto and chrome://tracing.

package admin

import (
	"net/http"
	"time"
)

const (
	traceSeconds    = 10
	traceSecondsMax = 3600
)

func (d *dashboard) trace(w http.ResponseWriter, r *http.Request) {
	seconds, err := queryInt(r, "seconds", traceSeconds, traceSecondsMax)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case d.config.Watchdog == nil:
		http.Error(w, "the watchdog is off, no trace is recorded", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="tafe-trace.json"`)
	if err := d.config.Watchdog.WriteTrace(w, time.Duration(seconds)*time.Second); err != nil {
		d.config.Log.Debug("trace not written completely", "error", err)
	}
}
