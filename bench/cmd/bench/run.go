package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"tafe/bench/peers/work"
	"tafe/bench/report"
	"tafe/bench/run"
	"tafe/bench/scenario"
)

// settings are the flags of a benchmark.
type settings struct {
	scenarios, peers, cases string
	rounds                  int
	seconds, warmup         float64
	serverCore, loadCore    int
	out                     string
}

func (s *settings) register(flags *flag.FlagSet) {
	flags.StringVar(&s.scenarios, "scenario", "plaintext,pipelined", "scenarios, separated by commas: "+strings.Join(names(), ", "))
	flags.StringVar(&s.peers, "peers", "", "servers, separated by commas; empty takes all of the scenario")
	flags.StringVar(&s.cases, "case", "", "only the cases whose name contains this")
	flags.IntVar(&s.rounds, "rounds", 5, "rounds; the servers take turns in each")
	flags.Float64Var(&s.seconds, "seconds", 3, "measured seconds of each round")
	flags.Float64Var(&s.warmup, "warmup", 0.5, "seconds before them")
	flags.IntVar(&s.serverCore, "server-core", 0, "core that servers are bound to")
	flags.IntVar(&s.loadCore, "load-core", 1, "core that the generator and the delay backend are bound to")
	flags.StringVar(&s.out, "out", "", "file for the raw samples, as JSON")
}

func names() (all []string) {
	for _, s := range scenario.All {
		all = append(all, s.Name)
	}
	return all
}

func runScenarios(args []string) error {
	var set settings
	flags := flag.NewFlagSet("bench run", flag.ContinueOnError)
	set.register(flags)
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	samples, err := measure(set)
	if err != nil {
		return err
	}
	report.Table(os.Stdout, samples)
	if set.out == "" {
		return nil
	}
	b, err := json.Marshal(samples)
	if err != nil {
		return err
	}
	return os.WriteFile(set.out, b, 0o644)
}

// measure plays all rounds of the chosen scenarios.
func measure(set settings) ([]run.Sample, error) {
	if runtime.NumCPU() < 2 {
		fmt.Fprintln(os.Stderr, "bench: only one core: server and generator share it, figures are of little worth")
		set.serverCore, set.loadCore = 0, 0
	}
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	rounds, err := plan(root, set)
	if err != nil {
		return nil, err
	}
	bench := run.Bench{
		Root: root, Cores: run.Cores{Server: set.serverCore, Load: set.loadCore}, Rounds: work.RoundsPerMilli(),
		Warmup: time.Duration(set.warmup * float64(time.Second)), Window: time.Duration(set.seconds * float64(time.Second)),
	}
	bar := progress{total: len(rounds)}
	var samples []run.Sample
	for _, r := range rounds {
		bar.show(fmt.Sprintf("%s, %s: %s, round %d", r.c.Scenario, r.c.Name, r.peer.Name, r.round+1))
		s, err := bench.Play(r.c, r.peer, r.round)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	bar.done()
	return samples, nil
}

// turn is one round of one case for one peer.
type turn struct {
	c     run.Case
	peer  run.Peer
	round int
}

// plan lists the turns: round by round, so that what drifts on the machine reaches all peers alike.
func plan(root string, set settings) ([]turn, error) {
	var turns []turn
	for name := range strings.SplitSeq(set.scenarios, ",") {
		s, ok := scenario.Find(name)
		if !ok {
			return nil, fmt.Errorf("no scenario %q; there are %s", name, strings.Join(names(), ", "))
		}
		chosen := s.Peers
		if set.peers != "" {
			chosen = strings.Split(set.peers, ",")
		}
		if err := build(root, chosen); err != nil {
			return nil, err
		}
		peers, err := available(root, s, chosen)
		if err != nil {
			return nil, err
		}
		for _, c := range s.Cases {
			if !strings.Contains(c.Name, set.cases) {
				continue
			}
			for round := range set.rounds {
				for _, p := range peers {
					turns = append(turns, turn{c: c, peer: p, round: round})
				}
			}
		}
	}
	return turns, nil
}

// available gives the peers that can take part, and says how to install the others.
func available(root string, s scenario.Scenario, chosen []string) ([]run.Peer, error) {
	var peers []run.Peer
	for _, name := range chosen {
		p, ok := run.Find(name)
		if !ok {
			return nil, fmt.Errorf("no peer %q", name)
		}
		if !slices.Contains(s.Peers, name) {
			fmt.Fprintf(os.Stderr, "%s takes no part in %s\n", name, s.Name)
			continue
		}
		if line := p.Missing(root); line != "" {
			fmt.Fprintf(os.Stderr, "%s is left out: not installed; %s\n", name, line)
			continue
		}
		peers = append(peers, p)
	}
	return peers, nil
}
