package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"tafe/bench/peers/work"
	"tafe/bench/report"
	"tafe/bench/run"
	"tafe/bench/scenario"
)

// session is one run of the program: its scenarios and results.
type session struct {
	bench     run.Bench
	set       settings
	scenarios []scenario.Scenario
	peers     map[string][]run.Peer // by scenario
	bar       progress
	samples   []run.Sample
	failures  []string
	absent    []string // what is left out: peers, with the line that installs them, and cases, with the limit that forbids them
}

// newSession builds the programs and finds the available peers.
func newSession(set settings) (*session, error) {
	if runtime.NumCPU() < 2 {
		fmt.Fprintln(os.Stderr, "bench: only one core: server and generator share it, and the figures mean little")
		set.serverCore, set.loadCore = 0, 0
	}
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	s := &session{set: set, bar: progress{quiet: set.quiet}, peers: map[string][]run.Peer{}, bench: run.Bench{
		Root: root, Cores: run.Cores{Server: set.serverCore, Load: set.loadCore},
		Rounds: work.RoundsPerMilli(), PythonRounds: run.PythonRounds(root), Warmup: seconds(set.warmup), Window: seconds(set.seconds), Settle: time.Second,
	}}
	var chosen []scenario.Scenario
	var peers []string
	var cases []run.Case
	for name := range strings.SplitSeq(set.scenarios, ",") {
		sc, ok := scenario.Find(name)
		if !ok {
			return nil, fmt.Errorf("no scenario %q; there are %s", name, strings.Join(names(), ", "))
		}
		sc.Cases = slices.DeleteFunc(slices.Clone(sc.Cases), func(c run.Case) bool {
			return !strings.Contains(c.Name, set.cases) || set.quick && len(sc.Quick) > 0 && !slices.Contains(sc.Quick, c.Name)
		})
		chosen = append(chosen, sc)
		cases = append(cases, sc.Cases...)
		peers = append(peers, s.chosenPeers(sc)...)
	}
	if err := build(root, peers, cases); err != nil {
		return nil, err
	}
	for _, sc := range chosen {
		if err := s.take(sc); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// chosenPeers are the names of the servers that the flags choose for a scenario.
func (s *session) chosenPeers(sc scenario.Scenario) []string {
	if s.set.peers != "" {
		return strings.Split(s.set.peers, ",")
	}
	return sc.Peers
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// take adds a scenario with the chosen peers that are installed, and records how to install the others.
func (s *session) take(sc scenario.Scenario) error {
	for _, name := range s.chosenPeers(sc) {
		p, ok := run.Find(name)
		if !ok {
			return fmt.Errorf("no peer %q", name)
		}
		if !slices.Contains(sc.Peers, name) {
			fmt.Fprintf(os.Stderr, "%s takes no part in %s\n", name, sc.Name)
			continue
		}
		if line := p.Missing(s.bench.Root); line != "" {
			s.leaveOut(fmt.Sprintf("%s: not installed; %s", name, line))
			continue
		}
		s.peers[sc.Name] = append(s.peers[sc.Name], p)
	}
	sc.Cases = slices.DeleteFunc(sc.Cases, func(c run.Case) bool {
		why := c.Lacks()
		if why != "" {
			s.leaveOut(fmt.Sprintf("%s, %s: %s", sc.Name, c.Name, why))
		}
		return why != ""
	})
	s.scenarios = append(s.scenarios, sc)
	for _, c := range sc.Cases {
		for _, p := range s.peers[sc.Name] {
			if !slices.Contains(c.Without, p.Name) {
				s.bar.total += s.set.rounds * (1 + len(sc.OfCapacity))
			}
		}
	}
	return nil
}

// leaveOut records and prints what is not measured, and why.
func (s *session) leaveOut(note string) {
	if !slices.Contains(s.absent, note) {
		s.absent = append(s.absent, note)
		fmt.Fprintln(os.Stderr, note)
	}
}

// play runs everything, and saves the report after each scenario. Failed rounds of a peer are recorded, and the
// others continue.
func (s *session) play() error {
	if err := run.Confine(s.bench.Cores.Load); err != nil {
		return err
	}
	for _, sc := range s.scenarios {
		for _, c := range sc.Cases {
			s.playCase(sc, c)
		}
		if s.set.dir != "" {
			if err := s.results().Save(s.dir()); err != nil {
				return err
			}
		}
	}
	s.bar.done()
	return nil
}

// playCase plays a case as it is, and then at the scenario's shares of what each peer answered.
func (s *session) playCase(sc scenario.Scenario, c run.Case) {
	capacity := s.rounds(sc, c, nil)
	for _, share := range sc.OfCapacity {
		part := c
		part.Name = fmt.Sprintf("%s, at %.0f%% of capacity", c.Name, 100*share)
		rate := map[string]float64{}
		for peer, most := range capacity {
			rate[peer] = most * share
		}
		s.rounds(sc, part, rate)
	}
}

func (s *session) dir() string {
	if filepath.IsAbs(s.set.dir) {
		return s.set.dir
	}
	return filepath.Join(s.bench.Root, s.set.dir)
}

// results returns the results so far.
func (s *session) results() *report.Results {
	r := &report.Results{
		Machine: run.Describe(), Absent: s.absent, Failures: s.failures, Samples: s.samples,
		Setup: report.Setup{Rounds: s.set.rounds, WindowSeconds: s.set.seconds, WarmupSeconds: s.set.warmup,
			ServerCore: s.set.serverCore, LoadCore: s.set.loadCore},
	}
	for _, sc := range s.scenarios {
		r.Sections = append(r.Sections, report.Section{Name: sc.Name, Number: sc.Number, Title: sc.Title, Question: sc.Question,
			Method: sc.Method(), Command: fmt.Sprintf("go run ./cmd/bench run --scenario %s --rounds %d --seconds %g --warmup %g", sc.Name, s.set.rounds,
				s.set.seconds, s.set.warmup)})
		for _, p := range s.peers[sc.Name] {
			if !slices.ContainsFunc(r.Peers, func(i report.PeerInfo) bool { return i.Name == p.Name }) {
				r.Peers = append(r.Peers, report.PeerInfo{Name: p.Name, About: p.About, Version: p.VersionOf(s.bench.Root)})
			}
		}
	}
	return r
}

// rounds plays one case, the peers in turn in each round, so that drift of the machine affects all equally. It
// gives the median rate of each. With rates the loop is open.
func (s *session) rounds(sc scenario.Scenario, c run.Case, rate map[string]float64) map[string]float64 {
	var samples []run.Sample
	for round := range s.set.rounds {
		peers := slices.Clone(s.peers[sc.Name])
		if round%2 == 1 {
			slices.Reverse(peers) // none is always the first
		}
		for _, p := range peers {
			if slices.Contains(c.Without, p.Name) {
				continue
			}
			s.bar.show(fmt.Sprintf("%s, %s: %s, round %d", sc.Name, c.Name, p.Name, round+1))
			if rate != nil {
				if c.Plan.Rate = rate[p.Name]; c.Plan.Rate == 0 {
					continue // its capacity is not known: it failed
				}
			}
			sample, err := s.bench.Play(c, p, round)
			if err != nil {
				s.failures = append(s.failures, err.Error())
				continue
			}
			samples = append(samples, sample)
		}
	}
	slices.SortStableFunc(samples, func(a, b run.Sample) int { return place(s.peers[sc.Name], a.Peer) - place(s.peers[sc.Name], b.Peer) })
	s.samples = append(s.samples, samples...)
	median := map[string]float64{}
	for _, g := range report.Groups(samples) {
		median[g.Peer] = g.Of(func(s run.Sample) float64 { return s.PerSecond }).Median
	}
	return median
}

// place is where a peer stands in the order of the report.
func place(peers []run.Peer, name string) int {
	return slices.IndexFunc(peers, func(p run.Peer) bool { return p.Name == name })
}
