// This file owns what is counted of a group and its servers.

package proxy

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tafe/app/client"
	"tafe/httpparse"
)

type groupCounts struct {
	retries, exhausted, noServer, tunnels, tunnelsOpen atomic.Int64
}

type serverCounts struct {
	requests, ejections, checkFailures atomic.Uint64
	byClass                            [6]atomic.Uint64
	failures                           [reasons]atomic.Uint64
	headNanos                          atomic.Int64 // from the start of a try to the head of its answer, of all answered
}

// reason is why a try had no answer.
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

// reasonNames are the slugs of logs, counters and answers.
var reasonNames = [reasons]string{"upstream-connect", "upstream-timeout", "upstream-lost", "upstream-protocol", "upstream-busy", "upstream-too-large"}

func (r reason) String() string { return reasonNames[r] }

// reasonOf sorts an error of the client by whose fault it is; ok is false if it is not the upstream's.
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

// tooLarge tells whether an answer was HTTP, and larger than the group's limits.
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

func (s statusError) Error() string { return fmt.Sprintf("answered %d", int(s)) }

// State is what a server is.
type State string

// The states.
const (
	Up      State = "up"
	Ejected State = "ejected" // after failures, for a while
	Down    State = "down"    // by its health check
)

// ServerStats are of one server. Counters only grow.
type ServerStats struct {
	Addr          string
	Backup        bool
	State         State
	Active        int               // requests in flight
	Requests      uint64            // tries sent to it
	ByClass       [6]uint64         // answers by the status's first digit
	Failures      map[string]uint64 // tries without an answer, by reason
	HeadTime      time.Duration     // sum over all answers: from the start of the try to the answer's head
	Ejections     uint64
	CheckFailures uint64
}

// GroupStats are of a group. Counters only grow.
type GroupStats struct {
	Name        string
	Servers     []ServerStats
	Retries     uint64 // tries beyond the first
	Exhausted   uint64 // retries that the budget did not allow
	NoServer    uint64 // requests that found no server to ask
	Tunnels     uint64 // upgraded connections
	TunnelsOpen int
	Client      client.Stats
}

// Stats may be called by any goroutine.
func (g *Group) Stats() GroupStats {
	s := GroupStats{
		Name: g.options.Name, Retries: uint64(g.counts.retries.Load()), Exhausted: uint64(g.counts.exhausted.Load()),
		NoServer: uint64(g.counts.noServer.Load()), Tunnels: uint64(g.counts.tunnels.Load()),
		TunnelsOpen: int(g.counts.tunnelsOpen.Load()), Client: g.client.Stats(),
	}
	now := g.clock()
	for _, server := range g.servers {
		n := &server.counts
		t := ServerStats{
			Addr: server.Addr, Backup: server.Backup, State: Up, Active: int(server.active.Load()), Requests: n.requests.Load(),
			Failures: map[string]uint64{}, HeadTime: time.Duration(n.headNanos.Load()), Ejections: n.ejections.Load(),
			CheckFailures: n.checkFailures.Load(),
		}
		switch {
		case server.down.Load():
			t.State = Down
		case server.ejected.Load() > now:
			t.State = Ejected
		}
		for i := range n.byClass {
			t.ByClass[i] = n.byClass[i].Load()
		}
		for r := range n.failures {
			t.Failures[reason(r).String()] = n.failures[r].Load()
		}
		s.Servers = append(s.Servers, t)
	}
	return s
}
