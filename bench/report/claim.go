package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// claims says in a sentence for each figure how tafe compares with each server, in all cases of a scenario. They follow from the verdicts alone.
func claims(peers []string, rows []verdictRow) (sentences []string) {
	var names []string
	for _, row := range rows {
		if !slices.Contains(names, row.Measure) {
			names = append(names, row.Measure)
		}
	}
	for _, name := range names {
		var ahead, level, behind, mixed []string
		for i, peer := range peers {
			t := tally{count: map[Word]int{}, low: math.Inf(1)}
			for _, row := range rows {
				if row.Measure == name && i < len(row.Cells) {
					t.add(row.Cells[i])
				}
			}
			switch {
			case t.all == 0:
			case t.count[Ahead] == t.all:
				ahead = append(ahead, fmt.Sprintf("%s (%s)", peer, times(t.low, t.high)))
			case t.count[Level] == t.all:
				level = append(level, peer)
			case t.count[Behind] == t.all:
				behind = append(behind, fmt.Sprintf("%s (%s)", peer, times(1/t.high, 1/t.low)))
			default:
				mixed = append(mixed, fmt.Sprintf("%s: %s (its figure is %s)", peer, t, times(t.low, t.high)))
			}
		}
		var parts []string
		for _, part := range []struct {
			words string
			peers []string
		}{{"ahead of ", ahead}, {"level with ", level}, {"behind ", behind}, {"", mixed}} {
			if len(part.peers) > 0 {
				parts = append(parts, part.words+strings.Join(part.peers, ", "))
			}
		}
		if len(parts) == 0 {
			parts = []string{"too few rounds for a verdict"}
		}
		sentences = append(sentences, upper(name)+": "+strings.Join(parts, "; "))
	}
	return sentences
}

// tally counts the verdicts on one server.
type tally struct {
	count     map[Word]int
	all       int
	low, high float64 // least and greatest ratio
}

func (t *tally) add(v Verdict) {
	if v.Word == "" || v.Word == Unknown {
		return
	}
	t.count[v.Word]++
	t.all++
	t.low, t.high = min(t.low, v.Ratio), max(t.high, v.Ratio)
}

func (t tally) String() string {
	var parts []string
	for _, w := range []Word{Ahead, Level, Behind} {
		if t.count[w] > 0 {
			parts = append(parts, fmt.Sprintf("%s in %d", w, t.count[w]))
		}
	}
	return fmt.Sprintf("%s of %d cases", strings.Join(parts, ", "), t.all)
}

// times writes a range of ratios.
func times(low, high float64) string {
	if trim(low) == trim(high) {
		return trim(low) + " times"
	}
	return trim(low) + " to " + trim(high) + " times"
}
