package report

import (
	"fmt"
	"math"
	"slices"

	"tafe/bench/load"
	"tafe/bench/run"
)

// Word is what a comparison of two servers has found.
type Word string

// The words. The figures are costs: the server with the lower one is ahead.
const (
	Ahead   Word = "ahead"
	Level   Word = "level" // the difference is within the noise
	Behind  Word = "behind"
	Unknown Word = "-" // too few rounds to tell
)

// Verdict compares the figure of another server with that of tafe. Ratio is how many times tafe's the other's is, Low to High its
// confidence interval, unless the Word is Unknown.
type Verdict struct {
	Word             Word
	Ratio, Low, High float64
}

func (v Verdict) String() string {
	if v.Word == Unknown {
		return fmt.Sprintf("%s %sx", v.Word, trim(v.Ratio))
	}
	return fmt.Sprintf("%s %sx (%s-%s)", v.Word, trim(v.Ratio), trim(v.Low), trim(v.High))
}

// Times is the ratio for a table.
func (v Verdict) Times() string {
	return string(v.Word) + " " + trim(v.Ratio)
}

// Interval is its confidence interval for a table.
func (v Verdict) Interval() string {
	if v.Word == Unknown {
		return "too few rounds"
	}
	return trim(v.Low) + " to " + trim(v.High)
}

// roundsMin is the number of rounds from which on there are verdicts: of fewer, no interval reaches the confidence.
const roundsMin = 5

// confidence of the intervals, at least. With five rounds it is 94%, and the interval reaches from the least ratio of a round to the greatest: a server is
// ahead if it is ahead in all five.
const confidence = 0.9

// Judge compares the rounds of two servers. The servers of a round ran one after the other, so each round gives one ratio, which drift of the machine does not change. The interval is that of Wilcoxon's
// signed ranks over the logarithms of the ratios (Hodges and Lehmann): it assumes no distribution, and of ten rounds one may be an outlier.
func Judge(mine, other Group, figure func(run.Sample) float64) Verdict {
	var logs []float64
	for _, a := range mine.Samples {
		for _, b := range other.Samples {
			if a.Round == b.Round && figure(a) > 0 && figure(b) > 0 {
				logs = append(logs, math.Log(figure(b)/figure(a)))
			}
		}
	}
	var averages []float64
	for i := range logs {
		for j := range i + 1 {
			averages = append(averages, (logs[i]+logs[j])/2)
		}
	}
	slices.Sort(averages)
	v := Verdict{Word: Unknown, Ratio: math.Exp(SpreadOf(averages).Median)}
	if len(logs) < roundsMin {
		return v
	}
	cut := outside(len(logs))
	v.Word, v.Low, v.High = Level, math.Exp(averages[cut]), math.Exp(averages[len(averages)-1-cut])
	switch {
	case v.Low > 1:
		v.Word = Ahead
	case v.High < 1:
		v.Word = Behind
	}
	return v
}

// outside is the number of averages that the interval leaves out at each end, for n rounds.
func outside(n int) int {
	// ways[s] is the number of the 2^n equally likely sets of ranks 1 to n whose sum is s.
	ways := make([]float64, n*(n+1)/2+1)
	ways[0] = 1
	for rank := 1; rank <= n; rank++ {
		for s := len(ways) - 1; s >= rank; s-- {
			ways[s] += ways[s-rank]
		}
	}
	below, cut := 0.0, 0
	for s := range ways {
		below += ways[s] / math.Pow(2, float64(n))
		if 2*below > 1-confidence {
			break
		}
		cut = s
	}
	return cut
}

// measure is one figure of a case, a cost.
type measure struct {
	name, unit string
	of         func(run.Sample) float64
}

// measures are the figures by which the servers of a case are compared, the first one before others: CPU time in a closed loop, the 99th
// percentile on a schedule, memory of open connections.
func measures(g Group) []measure {
	cpu := measure{"CPU per request", "µs", func(s run.Sample) float64 { return s.CPUMicros }}
	switch {
	case g.Weighed():
		return []measure{{"memory for each", "KB", func(s run.Sample) float64 { return s.PerConn / 1024 }}}
	case g.Cast():
		cpu.name = "CPU per message and client"
		return []measure{cpu, {"time until the last client has it", "ms", Class(1, func(c run.Class) float64 { return c.P50 / 1000 })}}
	case g.Samples[0].Rate == 0:
		return []measure{cpu}
	}
	var all []measure
	for i, class := range g.Samples[0].Classes {
		m := measure{"99th percentile", "ms", Class(i, func(c run.Class) float64 { return c.P99 / 1000 })}
		if len(g.Samples[0].Classes) > 1 {
			m.name += " of " + class.Name
		}
		all = append(all, m)
	}
	return append(all, cpu)
}

// Cast reports that the case sends messages to many clients.
func (g Group) Cast() bool {
	return len(g.Samples) > 0 && len(g.Samples[0].Classes) > 1 && g.Samples[0].Classes[1].Name == load.LastClient
}

// ours is the server that the others are compared with.
const ours = "tafe"

// own returns tafe's group of a case, or nil.
func own(groups []Group) *Group {
	for i := range groups {
		if groups[i].Peer == ours {
			return &groups[i]
		}
	}
	return nil
}
