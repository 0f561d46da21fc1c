package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tafe/bench/report"
	"tafe/bench/scenario"
)

// settings are the flags of a benchmark.
type settings struct {
	scenarios, peers, cases string
	quick                   bool // only the cases that a scenario names for the short run
	rounds                  int
	seconds, warmup         float64
	serverCore, loadCore    int
	quiet                   bool   // no progress bar
	dir                     string // where the report goes; empty: none
}

func (s *settings) register(flags *flag.FlagSet) {
	flags.IntVar(&s.rounds, "rounds", s.rounds, "number of rounds; in each the servers take turns")
	flags.Float64Var(&s.seconds, "seconds", s.seconds, "measured seconds of each round")
	flags.Float64Var(&s.warmup, "warmup", s.warmup, "seconds before them")
	flags.IntVar(&s.serverCore, "server-core", 0, "core for the servers")
	flags.IntVar(&s.loadCore, "load-core", 1, "core for the generator and the delay backend")
	flags.StringVar(&s.scenarios, "scenario", s.scenarios, "scenarios, separated by commas: "+strings.Join(names(), ", "))
	flags.StringVar(&s.peers, "peers", s.peers, "servers, separated by commas; empty: all servers of the scenario")
	flags.StringVar(&s.cases, "case", "", "only the cases whose name contains this")
	flags.StringVar(&s.dir, "dir", s.dir, "folder for results.json and index.html; empty: none")
}

func names() (all []string) {
	for _, s := range scenario.All {
		all = append(all, s.Name)
	}
	return all
}

// runChosen plays what the flags say and prints a table.
func runChosen(args []string) error {
	return playWith("run", args, settings{scenarios: "plaintext,pipelined", rounds: 5, seconds: 3, warmup: 0.5}, report.Table)
}

// runQuick is make bench: tafe beside net/http, at most five minutes.
func runQuick(args []string) error {
	return playWith("quick", args, settings{
		scenarios: "plaintext,pipelined,bodies,http2,seed,holders", peers: "tafe,nethttp", quick: true,
		rounds: 5, seconds: 0.8, warmup: 0.25, dir: filepath.Join("results", "tmp", "quick"),
	}, func(w io.Writer, r *report.Results) { report.Verdicts(w, r, "nethttp") })
}

// runAll is make bench-all: everything, some three quarters of an hour.
func runAll(args []string) error {
	return playWith("all", args, settings{
		scenarios: strings.Join(names(), ","), rounds: 5, seconds: 0.7, warmup: 0.2,
		dir: filepath.Join("results", time.Now().UTC().Format("2006-01-02")),
	}, report.Table)
}

func playWith(name string, args []string, set settings, show func(io.Writer, *report.Results)) error {
	flags := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	set.register(flags)
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	if set.rounds < 1 || set.seconds <= 0 || set.warmup < 0 {
		fmt.Fprintln(os.Stderr, "bench: --rounds must be at least 1, --seconds more than 0, --warmup not negative")
		return errUsage
	}
	s, err := newSession(set)
	if err != nil {
		return err
	}
	if err := s.play(); err != nil {
		return err
	}
	show(os.Stdout, s.results())
	if set.dir != "" {
		fmt.Printf("\nThe report: %s\n", filepath.Join(s.dir(), "index.html"))
	}
	if len(s.failures) > 0 {
		fmt.Fprintln(os.Stderr, "the first failure:", s.failures[0])
		return fmt.Errorf("%d of the rounds failed", len(s.failures))
	}
	return nil
}

// redraw writes index.html from a results.json.
func redraw(args []string) error {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: bench report FOLDER")
		return errUsage
	}
	r, err := report.Load(filepath.Join(args[0], "results.json"))
	if err != nil {
		return err
	}
	return r.Save(args[0])
}

// show prints the table of a results.json.
func show(args []string) error {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: bench show FOLDER")
		return errUsage
	}
	r, err := report.Load(filepath.Join(args[0], "results.json"))
	if err != nil {
		return err
	}
	report.Table(os.Stdout, r)
	return nil
}
