package run

import (
	"errors"
	"fmt"
	"slices"
)

// Compare measures small differences: all peers run at once, all but the current one idle, and turns are short, so that
// drift of the machine affects all equally. It returns each peer's CPU time per request in each turn, in microseconds.
// The peers are restarted with each call: the place of a process in memory makes a difference of one or two percent, which is averaged.
func (b *Bench) Compare(c Case, peers []Peer, turns int) ([][]float64, error) {
	if c.Hold != nil || c.Role.needsBackend() {
		return nil, fmt.Errorf("%s, %s: only for servers that answer by themselves", c.Scenario, c.Name)
	}
	servers := make([]*Server, len(peers))
	sets := make([]Setting, len(peers))
	for i, p := range peers {
		set, cleanup, err := b.setting(c.Role, c.Plan.HTTP2)
		if err != nil {
			return nil, err
		}
		defer cleanup()
		set.Extra = c.Extra[p.Name]
		argv, env, err := p.Command(set)
		if err != nil {
			return nil, err
		}
		if servers[i], err = Start(argv, env, b.Cores.Server, set.Listen); err != nil {
			return nil, err
		}
		defer servers[i].Stop()
		sets[i] = set
	}
	costs := make([][]float64, len(peers))
	order := make([]int, len(peers))
	for i := range order {
		order[i] = i
	}
	for turn := range turns + 1 {
		for _, i := range order {
			s, err := b.measure(c, peers[i].Settle, servers[i], nil, sets[i].Listen)
			if err == nil && len(s.Errors) > 0 {
				err = errors.New("wrong answers")
			}
			if err != nil {
				return nil, fmt.Errorf("%s, %s, %s: %w", c.Scenario, c.Name, peers[i].Name, err)
			}
			if turn > 0 { // the first warms up
				costs[i] = append(costs[i], s.CPUMicros)
			}
		}
		slices.Reverse(order)
	}
	return costs, nil
}
