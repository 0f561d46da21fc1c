package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"

	"tafe/bench/report"
	"tafe/bench/run"
)

// compare measures by how many percent a server costs more than the first, more exactly than rounds do. With the defaults this is the cost of the
// watchdog; the first server is listed twice, which shows the error of the method.
func compare(args []string) error {
	set := settings{scenarios: "watchdog", peers: "tafe-unwatched,tafe,tafe-unwatched", rounds: 40, seconds: 0.16, warmup: 0.04}
	flags := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	set.register(flags)
	turns := flags.Int("turns", 5, "turns of each server between two starts; --rounds is the number of starts")
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	if set.rounds < 1 || *turns < 1 || set.seconds <= 0 {
		fmt.Fprintln(os.Stderr, "bench: --rounds and --turns must be at least 1, --seconds more than 0")
		return errUsage
	}
	set.dir = ""
	s, err := newSession(set)
	if err != nil {
		return err
	}
	if err := run.Confine(s.bench.Cores.Load); err != nil {
		return err
	}
	s.bar.total = 0
	for _, sc := range s.scenarios {
		s.bar.total += len(sc.Cases) * set.rounds
	}
	for _, sc := range s.scenarios {
		peers := s.peers[sc.Name]
		if len(peers) < 2 {
			return fmt.Errorf("%s: no server to compare with", sc.Name)
		}
		for _, c := range sc.Cases {
			costs := make([][][]float64, len(peers)) // by peer and start
			for start := range set.rounds {
				s.bar.show(fmt.Sprintf("%s, %s: start %d", sc.Name, c.Name, start+1))
				each, err := s.bench.Compare(c, peers, *turns)
				if err != nil {
					return err
				}
				for i := range peers {
					costs[i] = append(costs[i], each[i])
				}
			}
			fmt.Printf("\n%s: %s\n", sc.Name, c.Name)
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(t, "server\tCPU us/req\tdifference from the first\tstandard error\t")
			for i, p := range peers {
				d := report.DifferenceOf(costs[0], costs[i])
				fmt.Fprintf(t, "%s\t%.2f\t%+.2f%%\t%.2f%%\t\n", p.Name, report.SpreadOf(slices.Concat(costs[i]...)).Median, 100*d.Share, 100*d.Error)
			}
			_ = t.Flush()
		}
	}
	s.bar.done()
	return nil
}
