// /healthz reports whether every loop turns, /readyz whether the server accepts new requests.

package admin

import (
	"fmt"
	"net/http"
	"time"
)

const (
	// turnMax is the time without a turn after which a loop counts as stuck.
	turnMax = 5 * time.Second
	// readyMax is the time for which all loops may be held before the server is not ready.
	readyMax = time.Second
)

// stuck returns the ids of loops that have not turned for turnMax.
func (d *dashboard) stuck() []int { return d.config.Server.Engine().Stuck(turnMax) }

func (d *dashboard) healthz(w http.ResponseWriter, _ *http.Request) {
	if stuck := d.stuck(); len(stuck) > 0 {
		http.Error(w, fmt.Sprintf("loops %v have not turned for %v", stuck, turnMax), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (d *dashboard) readyz(w http.ResponseWriter, _ *http.Request) {
	engine := d.config.Server.Engine()
	switch dog := d.config.Watchdog; {
	case d.config.Server.Draining():
		http.Error(w, "draining", http.StatusServiceUnavailable)
	case dog != nil && !dog.Ready():
		http.Error(w, "a loop is held", http.StatusServiceUnavailable)
	case len(d.stuck()) > 0:
		http.Error(w, fmt.Sprintf("loops %v have not turned for %v", d.stuck(), turnMax), http.StatusServiceUnavailable)
	case len(engine.Stuck(readyMax)) == len(engine.Loops()):
		http.Error(w, fmt.Sprintf("all loops are held for %v", readyMax), http.StatusServiceUnavailable)
	case ended(engine.Done()):
		http.Error(w, "the server has ended", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
