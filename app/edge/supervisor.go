// Messages to systemd (sd_notify): ready, reloading, stopping, and, for WatchdogSec, that all loops turn. Without NOTIFY_SOCKET none is sent.

package edge

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"tafe/app"
)

// notify sends a state to the supervisor. A failure is logged only.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("sd_notify failed", "error", err)
	}
}

// notifyReloading sends the message that Type=notify-reload waits for. The time distinguishes this reload from an earlier one.
func notifyReloading(log *slog.Logger) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return
	}
	notify(log, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
}

// keepAlive sends a keep-alive twice per watchdog interval of the supervisor if every loop has turned. While a loop is held it
// sends none, so that the supervisor restarts the process after WatchdogSec. It returns when the server ends or the next
// process has taken over.
func keepAlive(log *slog.Logger, server *app.Server, handed <-chan struct{}) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	ticker := time.NewTicker(every / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-server.Done():
			return
		case <-handed:
			return
		}
		if len(server.Engine().Stuck(every/4)) == 0 {
			notify(log, daemon.SdNotifyWatchdog)
		}
	}
}
