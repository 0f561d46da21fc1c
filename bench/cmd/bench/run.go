package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"tafe/bench/report"
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
	s, err := newSession(set)
	if err != nil {
		return err
	}
	s.play()
	report.Table(os.Stdout, s.samples)
	if set.out != "" {
		b, err := json.Marshal(s.samples)
		if err != nil {
			return err
		}
		if err := os.WriteFile(set.out, b, 0o644); err != nil {
			return err
		}
	}
	if len(s.failures) > 0 {
		return fmt.Errorf("%d of the rounds failed; the first: %s", len(s.failures), s.failures[0])
	}
	return nil
}
