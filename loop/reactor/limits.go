// This file divides the process's file descriptors between accepted connections,
// outbound connections and the rest.

package reactor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileLimits raises the limit of open files to its maximum and returns how many
// accepted and outbound connections may be open at once, each at least 1. connMax
// and dialMax are the configured values; 0 or less means as many as the limit
// allows. A warning is returned for each configured value that exceeds that.
func fileLimits(connMax, dialMax int) (conns, dials int, warnings []string) {
	return divideFiles(raiseFileLimit(), connMax, dialMax)
}

// fdReserve returns how many of limit descriptors ConnMax leaves by default. Half
// of them are for outbound connections, half for files, logs and epoll instances.
func fdReserve(limit int) int { return min(max(64, min(limit/4, 8192)), limit/2) }

// divideFiles is fileLimits for a given limit.
func divideFiles(limit, connMax, dialMax int) (conns, dials int, warnings []string) {
	reserve := fdReserve(limit)
	forDials := reserve / 2
	sockets := limit - (reserve - forDials) // of accepted and outbound connections together
	dials = dialMax
	if dials <= 0 {
		dials = max(1, forDials)
	}
	conns = connMax
	if conns <= 0 { // a dialMax above the default leaves fewer connections, at least half
		conns = sockets - min(max(dials, forDials), sockets/2)
	}
	conns = max(1, min(conns, limit-reserve))
	dials = max(1, min(dials, sockets-conns))
	if conns < connMax {
		warnings = append(warnings, limitWarning("conn_max", connMax, conns, limit))
	}
	if dials < dialMax {
		warnings = append(warnings, limitWarning("dial_max", dialMax, dials, limit))
	}
	return conns, dials, warnings
}

func limitWarning(key string, wanted, got, limit int) string {
	return fmt.Sprintf("%s = %d is more than the limit of %d open files leaves; using %d (raise it with ulimit -n or LimitNOFILE=)",
		key, wanted, limit, got)
}

// fileLimitMax replaces limits that are practically infinite.
const fileLimitMax = 1 << 20

// raiseFileLimit sets the soft limit of open files to the hard limit, and returns
// the limit in force.
func raiseFileLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 1024
	}
	if r.Cur < r.Max {
		raised := unix.Rlimit{Cur: r.Max, Max: r.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			r = raised
		}
	}
	return int(min(r.Cur, fileLimitMax))
}
