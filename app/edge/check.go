// The check command: it reports everything that is wrong with a configuration file, without serving.

package edge

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"runtime"

	"tafe/app/edge/internal/config"
	"tafe/loop/reactor"
)

func (p *program) check(_ context.Context, args []string, stdout, stderr io.Writer) error {
	var file string
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	fs.StringVar(&file, "config", "", "`file` to check")
	fs.StringVar(&file, "c", "", "short for --config `file`")
	if err := ParseFlags(fs, args, stdout); err != nil {
		return err
	}
	if file == "" {
		return Usagef("a file is required: %s check -c FILE", p.name)
	}
	c, problems, warnings, err := config.Check(file, p.registry(checkEnv()))
	if err != nil {
		return err
	}
	// One per line in the format of compilers, which editors parse.
	for _, w := range warnings {
		w.Text = "warning: " + w.Text
		fmt.Fprintln(stderr, w.Error())
	}
	for _, problem := range problems {
		fmt.Fprintln(stderr, problem.Error())
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s has %s", file, count(len(problems), "problem"))
	}
	good := "good"
	if len(warnings) > 0 {
		good = "good, with " + count(len(warnings), "warning")
	}
	fmt.Fprintf(stdout, "%s is %s: %s\n", file, good, count(c.RouteCount(), "route"))
	return nil
}

// checkEnv returns the Env of parts that are made for a check.
func checkEnv() *Env {
	return &Env{Log: slog.New(slog.DiscardHandler), Loops: runtime.GOMAXPROCS(0), Admin: string(config.Default().Admin.Listen), Dialer: &reactor.Dialer{}}
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
