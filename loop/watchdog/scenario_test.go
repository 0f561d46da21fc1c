package watchdog

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// seeds is how many times the scenarios are judged; the full matrix of
// docs/watchdog.md takes 20.
func seeds(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("WATCHDOG_SEEDS"))
	if err != nil {
		n = 2
	}
	if testing.Short() {
		n = min(n, 1)
	}
	t.Logf("%d seeds (WATCHDOG_SEEDS)", n)
	return n
}

func shuffled(n int, seed uint64) []int {
	return rand.New(rand.NewPCG(seed, 1)).Perm(n)
}

func TestGuiltyAreJudged(t *testing.T) { guiltyAreJudged(t, false) }

// TestGuiltyAreJudgedBesideTheirLoops is the same where others wait and loops are
// handed over.
func TestGuiltyAreJudgedBesideTheirLoops(t *testing.T) { guiltyAreJudged(t, true) }

func guiltyAreJudged(t *testing.T, handoff bool) {
	right, all, again := 0, 0, 4
	if os.Getenv("WATCHDOG_SEEDS") != "" {
		again = 0
	}
	matrix := map[string]map[Verdict]int{}
	for seed := range uint64(seeds(t)) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			got, innocents := judgeGuilty(t, seed, again, handoff)
			if loop.Runtime().Threads() {
				require.Empty(t, innocents, "an innocent route was blamed")
			}
			for _, sc := range guilty {
				want, ok := sc.expected()
				if !ok {
					continue
				}
				all++
				if got[sc.name] == want {
					right++
				} else {
					t.Logf("%s judged %q, is %q: %s", sc.name, got[sc.name], want, sc.why)
				}
				if matrix[sc.name] == nil {
					matrix[sc.name] = map[Verdict]int{}
				}
				matrix[sc.name][got[sc.name]]++
			}
		})
	}
	t.Logf("%d of %d right\n%s", right, all, matrixTable(matrix))
	require.GreaterOrEqual(t, right*100, all*95, "95%% must be right")
}

// matrixTable is the confusion matrix as Markdown.
func matrixTable(matrix map[string]map[Verdict]int) string {
	columns := append(slices.Clone(Verdicts), "")
	var b strings.Builder
	b.WriteString("| scenario | is |")
	for _, v := range columns {
		fmt.Fprintf(&b, " %s |", nameOr(v, "none"))
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, sc := range guilty {
		fmt.Fprintf(&b, "| %s | %s |", sc.name, sc.want)
		for _, v := range columns {
			if n := matrix[sc.name][v]; n > 0 {
				fmt.Fprintf(&b, " %d |", n)
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func nameOr(v Verdict, none string) string {
	if v == "" {
		return none
	}
	return string(v)
}
