package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/bench/run"
	"tafe/bench/scenario"
)

// Every peer that is installed answers every case of every scenario rightly: status and length of each answer are
// checked by the generator. The windows are too short for figures.
func TestEveryPeerAnswersEveryCase(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts every peer")
	}
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			s, err := newSession(settings{scenarios: name, rounds: 1, seconds: 0.05, warmup: 0.02, loadCore: 1, quick: true, quiet: true})
			require.NoError(t, err)
			for _, line := range s.absent {
				t.Log("left out:", line)
			}
			for i, sc := range s.scenarios {
				s.scenarios[i].OfCapacity = sc.OfCapacity[:min(1, len(sc.OfCapacity))]
				for j := range sc.Cases {
					few(&sc.Cases[j])
				}
			}
			s.bench.Settle = 10 * time.Millisecond
			require.NoError(t, s.play())
			require.Empty(t, s.failures)
			require.NotEmpty(t, s.samples)
			for _, sample := range s.samples {
				require.Empty(t, sample.Errors, "%s, %s: %s", sample.Scenario, sample.Case, sample.Peer)
			}
			var page strings.Builder
			require.NoError(t, s.results().HTML(&page))
			require.Contains(t, page.String(), "<svg")
			require.Equal(t, name == "seed", strings.Contains(page.String(), "limit: FIFO"), "the simulated curves stand beside the seed experiment")
		})
	}
}

// few makes a case of thousands of connections one of some: the test is of the peers' answers.
func few(c *run.Case) {
	if c.Hold != nil {
		hold := *c.Hold
		hold.Conns = min(hold.Conns, 100)
		c.Hold = &hold
	}
	if c.Cast != nil {
		cast := *c.Cast
		cast.Conns = 200
		c.Cast = &cast
	}
}

// Every scenario says how it is measured and how to repeat it.
func TestEveryScenarioHasAMethod(t *testing.T) {
	for _, sc := range scenario.All {
		require.Greater(t, len(sc.Method()), 50, sc.Name)
		for _, share := range sc.OfCapacity {
			require.Contains(t, sc.Method(), strconv.Itoa(int(100*share)), sc.Name)
		}
	}
}

func TestCommandLine(t *testing.T) {
	stderr := os.Stderr
	os.Stderr, _ = os.Open(os.DevNull)
	defer func() { os.Stderr = stderr }()
	for _, tc := range []struct {
		why  string
		run  func([]string) error
		args []string
		want string
	}{
		{"an unknown flag", runChosen, []string{"--nonsense"}, "usage"},
		{"no rounds", runChosen, []string{"--rounds", "0"}, "usage"},
		{"an unknown scenario", runChosen, []string{"--scenario", "nonsense"}, "no scenario"},
		{"an unknown peer", runChosen, []string{"--scenario", "connect", "--peers", "nonsense"}, "no peer"},
		{"no folder", redraw, nil, "usage"},
		{"a folder without results", redraw, []string{t.TempDir()}, "no such file"},
	} {
		t.Run(tc.why, func(t *testing.T) { require.ErrorContains(t, tc.run(tc.args), tc.want) })
	}
}
