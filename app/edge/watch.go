// The watch command: it shows a running server's loops in a terminal. The display is in internal/watch.

package edge

import (
	"context"
	"flag"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"tafe/app/edge/internal/watch"
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
	fs.BoolVar(&o.Once, "once", false, "show one frame and exit")
	color := fs.Bool("color", terminal(stdout) && os.Getenv("NO_COLOR") == "", "use colours")
	if err := ParseFlags(fs, args, stdout); err != nil {
		return o, err
	}
	o.Addr = strings.TrimSuffix(strings.TrimPrefix(o.Addr, "http://"), "/")
	if err := CheckAddress(o.Addr); err != nil {
		return o, Usagef("--admin: %v", err)
	}
	o.Color = *color
	return o, nil
}

// terminal reports whether w is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
