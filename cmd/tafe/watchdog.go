// watchdog.go owns the commands for who wants to know what held the loops: watch for a running server, overruns for a saved log.
// What they show is made in internal/watch and internal/overruns.

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"tafe/cmd/tafe/internal/overruns"
	"tafe/cmd/tafe/internal/watch"
)

func runWatch(ctx context.Context, args []string, stdout, _ io.Writer) error {
	options, err := watchOptions(args, stdout)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return watch.Run(ctx, options, stdout)
}

func watchOptions(args []string, stdout io.Writer) (o watch.Options, err error) {
	width := 100
	if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil {
		width = columns
	}
	fs := flag.NewFlagSet("watch", flag.ContinueOnError)
	fs.StringVar(&o.Addr, "admin", "127.0.0.1:9180", "`address` of the server's admin listener")
	fs.IntVar(&o.Width, "width", width, "`columns` of the terminal")
	fs.BoolVar(&o.Once, "once", false, "show one frame and end")
	color := fs.Bool("color", terminal(stdout) && os.Getenv("NO_COLOR") == "", "use colours")
	if err := parseFlags(fs, args, stdout); err != nil {
		return o, err
	}
	o.Addr = strings.TrimSuffix(strings.TrimPrefix(o.Addr, "http://"), "/")
	if err := checkAddress(o.Addr); err != nil {
		return o, usagef("--admin: %v", err)
	}
	o.Color = *color
	return o, nil
}

// terminal tells whether somebody is looking.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// runOverruns takes its file before or behind the flags, as people type it.
func runOverruns(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("overruns FILE", flag.ContinueOnError)
	top := fs.Int("top", 20, "list at most so many `places`")
	folded := fs.String("folded", "", "write folded stacks for a flame graph instead, weighed by `held|ran|victims`")
	var file string
	if len(args) > 0 && (args[0] == "-" || args[0] != "" && args[0][0] != '-') {
		file, args = args[0], args[1:]
	} else if n := len(args); n > 0 && args[n-1] != "" && (args[n-1][0] != '-' || args[n-1] == "-") {
		file, args = args[n-1], args[:n-1]
	}
	if err := parseFlags(fs, args, stdout); err != nil {
		return err
	}
	switch {
	case file == "":
		return usagef("needs a file that the watchdog wrote, or - for standard input")
	case *folded != "" && overruns.Weights[*folded] == nil:
		return usagef("--folded %q is neither held, ran nor victims", *folded)
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
