// Counters of a group and of its servers.

package proxy

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/app/client"
	"tafe/httpparse"
)

type groupCounts struct {
	retries, exhausted, noServer, tunnels, tunnelsOpen atomic.Int64
	waits, queueFull, waitedInVain, lookupsFailed      atomic.Int64
}

type serverCounts struct {
	requests, ejections, checkFailures atomic.Uint64
	byClass                            [6]atomic.Uint64
	failures                           [reasons]atomic.Uint64
	grpc                               [len(app.GRPCCodes)]atomic.Uint64
	headNanos                          atomic.Int64 // sum over all responses: from the start of the try to the response head
}

// reason is why a try has no response.
type reason uint8

const (
	reasonDial reason = iota
	reasonTimeout
	reasonLost
	reasonProtocol
	reasonBusy
	reasonTooLarge
	reasons
)

// reasonNames are the slugs for logs, metrics and error responses.
var reasonNames = [reasons]string{"upstream-connect", "upstream-timeout", "upstream-lost", "upstream-protocol", "upstream-busy", "upstream-too-large"}

func (r reason) String() string { return reasonNames[r] }

// isFailure reports whether r counts as a failure of the server.
func (r reason) isFailure() bool { return r != reasonBusy && r != reasonTooLarge }

// isUnsent reports whether nothing of the request was sent.
func (r reason) isUnsent() bool { return r == reasonDial || r == reasonBusy }

// reasonOf returns the reason for an error of the client. ok is false if the upstream did not cause it.
func reasonOf(e *client.Error) (r reason, ok bool) {
	switch e.Kind {
	case client.KindDial:
		return reasonDial, true
	case client.KindTimeout:
		switch e.Stage {
		case client.StagePool:
			return reasonBusy, true
		case client.StageDial, client.StageTLS:
			return reasonDial, true
		}
		return reasonTimeout, true
	case client.KindLost:
		return reasonLost, true
	case client.KindProtocol:
		if tooLarge(e) {
			return reasonTooLarge, true
		}
		return reasonProtocol, true
	case client.KindBusy:
		return reasonBusy, true
	}
	return 0, false
}

// tooLarge reports whether a response was valid HTTP but exceeded the limits of the group.
func tooLarge(e *client.Error) bool {
	var refusal *httpparse.Error
	if errors.Is(e, client.ErrInterim) {
		return true
	}
	if !errors.As(e, &refusal) {
		return false
	}
	switch refusal.Reason {
	case "head-too-large", "too-many-headers", "trailer-too-large":
		return true
	}
	return false
}

type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

// State is the availability of a server.
type State string

// The states of a server.
const (
	Up       State = "up"
	Ejected  State = "ejected"  // excluded for a time after failures
	Down     State = "down"     // excluded by its health check
	Drained  State = "drained"  // excluded by an operator
	Removing State = "removing" // its name no longer has its address; requests in flight go on
)

// ServerStats holds the counters of one server since its group was created, and its current state.
type ServerStats struct {
	Addr          string // that is connected to
	Name          string // ServerOptions.Addr, such as the host name that was looked up
	Backup        bool
	State         State
	Weight        int
	Active        int               // requests in flight
	Requests      uint64            // tries sent to it
	ByClass       [6]uint64         // responses by the first digit of the status
	Failures      map[string]uint64 // tries without a response, by reason
	GRPC          map[string]uint64 // complete responses of gRPC, by the name of their status
	HeadTime      time.Duration     // sum over all responses: from the start of the try to the response head
	Ejections     uint64
	CheckFailures uint64
}

// GroupStats holds the counters of a group since it was created.
type GroupStats struct {
	Name        string
	Servers     []ServerStats
	Retries     uint64 // tries beyond the first
	Exhausted   uint64 // retries denied by the budget
	NoServer    uint64 // requests for which no server was available
	Tunnels     uint64 // tunnels opened
	TunnelsOpen int
	Waiting     int    // requests that wait for a server
	Waits       uint64 // requests that have waited for a server
	QueueFull   uint64 // requests refused because QueueMax waited
	WaitedVain  uint64 // requests that got no server within WaitTimeout
	LookupsLost uint64 // failed lookups of host names
	Client      client.Stats
}

// Stats returns the counters. It may be called from any goroutine.
func (g *Group) Stats() GroupStats {
	n := &g.counts
	s := GroupStats{
		Name: g.options.Name, Retries: uint64(n.retries.Load()), Exhausted: uint64(n.exhausted.Load()),
		NoServer: uint64(n.noServer.Load()), Tunnels: uint64(n.tunnels.Load()), TunnelsOpen: int(n.tunnelsOpen.Load()),
		Waiting: int(g.queue.length.Load()), Waits: uint64(n.waits.Load()), QueueFull: uint64(n.queueFull.Load()),
		WaitedVain: uint64(n.waitedInVain.Load()), LookupsLost: uint64(n.lookupsFailed.Load()), Client: g.client.Stats(),
	}
	g.mu.Lock()
	g.forgetIdle()
	all := slices.Concat(g.roster.Load().servers, g.leaving)
	g.mu.Unlock()
	now := g.clock()
	for _, server := range all {
		s.Servers = append(s.Servers, server.stats(now))
	}
	return s
}

func (s *server) stats(now int64) ServerStats {
	n := &s.counts
	t := ServerStats{
		Addr: s.Addr, Name: s.name, Backup: s.Backup, State: Up, Weight: int(s.weight.Load()), Active: int(s.active.Load()),
		Requests: n.requests.Load(), Failures: map[string]uint64{}, HeadTime: time.Duration(n.headNanos.Load()),
		Ejections: n.ejections.Load(), CheckFailures: n.checkFailures.Load(),
	}
	switch {
	case s.has(isRemoved):
		t.State = Removing
	case s.has(isDrained):
		t.State = Drained
	case s.has(isDown):
		t.State = Down
	case s.ejected.Load() > now:
		t.State = Ejected
	}
	for i := range n.byClass {
		t.ByClass[i] = n.byClass[i].Load()
	}
	for code := range n.grpc {
		if count := n.grpc[code].Load(); count > 0 {
			if t.GRPC == nil {
				t.GRPC = map[string]uint64{}
			}
			t.GRPC[app.GRPCCodes[code]] = count
		}
	}
	for r := range n.failures {
		t.Failures[reason(r).String()] = n.failures[r].Load()
	}
	return t
}
