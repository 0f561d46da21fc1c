// The overruns command: it ranks a saved log of the watchdog. The ranking is in internal/overruns.

package edge

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"tafe/app/edge/internal/overruns"
)

// runOverruns accepts the file before or after the flags.
func runOverruns(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("overruns FILE", flag.ContinueOnError)
	top := fs.Int("top", 20, "list at most this `number` of places")
	folded := fs.String("folded", "", "write folded stacks for a flame graph, weighted by `held|ran|victims`")
	var file string
	if len(args) > 0 && (args[0] == "-" || args[0] != "" && args[0][0] != '-') {
		file, args = args[0], args[1:]
	} else if n := len(args); n > 0 && args[n-1] != "" && (args[n-1][0] != '-' || args[n-1] == "-") {
		file, args = args[n-1], args[:n-1]
	}
	if err := ParseFlags(fs, args, stdout); err != nil {
		return err
	}
	switch {
	case file == "":
		return Usagef("a log file of the watchdog is required, or - for standard input")
	case *folded != "" && overruns.Weights[*folded] == nil:
		return Usagef("--folded %q is neither held, ran nor victims", *folded)
	}
	log, err := readOverruns(file)
	if err != nil {
		return err
	}
	if *folded != "" {
		return log.Folded(stdout, overruns.Weights[*folded])
	}
	return log.Table(stdout, max(*top, 1))
}

func readOverruns(file string) (*overruns.Log, error) {
	if file == "-" {
		return overruns.Read(os.Stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	log, err := overruns.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return log, nil
}
