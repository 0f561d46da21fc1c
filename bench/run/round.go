package run

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"tafe/bench/load"
)

// Cores assigns the cores. The delay backend shares the generator's.
type Cores struct{ Server, Load int }

// Bench is the state that the rounds of one benchmark share.
type Bench struct {
	Root         string
	Cores        Cores
	Rounds       int // rounds of computation that make a millisecond, in Go
	PythonRounds int // and in Python
	Warmup       time.Duration
	Window       time.Duration
	Settle       time.Duration // after many connections were opened: the server may still be busy with them
}

// Case is one load that peers are measured under.
type Case struct {
	Scenario string
	Name     string
	Plan     load.Plan // without Addr, Warmup, Window and CPU, which the bench sets
	Role     Role
	TLS      load.TLSMode // with RoleTLS: what a connection does
	Hold     *Hold        // instead of Plan: weighs open connections
	Cast     *Cast        // instead of Plan: sends messages to open connections
	Without  []string     // peers that cannot take part in this case
	Extra    map[string][]string
}

// Lacks returns why this machine cannot play the case, or "".
func (c *Case) Lacks() string {
	conns := c.Plan.Conns
	switch {
	case c.Hold != nil:
		conns = c.Hold.Conns
	case c.Cast != nil:
		conns = c.Cast.Conns
	}
	if err := load.Room(conns + conns/2); err != nil { // servers keep a part of their descriptors for other uses
		return err.Error()
	}
	return ""
}

// Play runs one round of a case against a fresh process of a peer.
func (b *Bench) Play(c Case, p Peer, round int) (Sample, error) {
	set, cleanup, err := b.setting(c.Role, c.Plan.HTTP2 || c.Hold != nil && c.Hold.Streams > 0)
	if err != nil {
		return Sample{}, err
	}
	defer cleanup()
	set.Extra = c.Extra[p.Name]
	backend, err := b.startBackend(set)
	if err != nil {
		return Sample{}, err
	}
	if backend != nil {
		defer backend.Stop()
	}
	argv, env, err := p.Command(set)
	if err != nil {
		return Sample{}, err
	}
	server, err := Start(argv, env, b.Cores.Server, set.Listen)
	if err != nil {
		return Sample{}, err
	}
	defer server.Stop()
	var s Sample
	switch {
	case c.Hold != nil:
		s, err = c.Hold.weigh(server, set.Listen, b.Settle)
	case c.Cast != nil:
		s, err = c.Cast.play(server, set.Listen, b.Settle)
	default:
		s, err = b.measure(c, p.Settle, server, backend, set.Listen)
	}
	if err == nil && !server.Running() {
		err = errors.New("the server ended")
	}
	if err != nil {
		return Sample{}, fmt.Errorf("%s, %s, %s: %w (server said: %s)", c.Scenario, c.Name, p.Name, err, server.output)
	}
	s.Scenario, s.Case, s.Peer, s.Round = c.Scenario, c.Name, p.Name, round
	return s, nil
}

// measure reads the clocks of server and backend at the edges of the generator's window.
func (b *Bench) measure(c Case, settle time.Duration, server, backend *Server, addr netip.AddrPort) (Sample, error) {
	plan := c.Plan
	plan.Addr, plan.Warmup, plan.Window, plan.CPU = addr, b.Warmup+settle, b.Window, b.Cores.Load
	var start, end clocks
	plan.AtStart = func() { start = b.read(server, backend) }
	plan.AtEnd = func() { end = b.read(server, backend) }
	var res *load.Result
	var err error
	if c.Role == RoleTLS {
		res, err = load.RunTLS(plan, c.TLS)
	} else {
		res, err = load.Run(plan)
	}
	if err != nil {
		return Sample{}, err
	}
	if err := errors.Join(start.err, end.err); err != nil {
		return Sample{}, fmt.Errorf("read the server's CPU time: %w", err)
	}
	s := newSample(res, plan.Rate, end.server-start.server)
	ours := end.server - start.server + end.backend - start.backend + res.CPU
	s.OtherBusy = short(max(0, float64(end.cores-start.cores-ours)/float64(res.Window)))
	s.RSS, err = server.RSS()
	return s, err
}

// clocks are CPU times at one moment.
type clocks struct {
	server, backend time.Duration
	cores           time.Duration // all that ran on the two cores
	err             error
}

func (b *Bench) read(server, backend *Server) (c clocks) {
	c.server, c.err = server.CPU()
	if backend != nil {
		c.backend, _ = backend.CPU()
	}
	c.cores = busy(b.Cores.Server, b.Cores.Load)
	return c
}
