// A subcommand, and what it needs to read its arguments.

package edge

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// Command is one subcommand. Run gets the arguments behind its name, and returns an error of one line; for errors of Usagef the exit code
// is 2, for others 1.
type Command struct {
	Name    string
	Summary string
	Run     func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

func (c Command) addTo(p *program) { p.commands = append(p.commands, c) }

// usageError is the error of invalid arguments.
type usageError struct{ reason string }

func (e usageError) Error() string { return e.reason }

// Usagef returns the error of invalid arguments, for which the exit code is 2.
func Usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// ParseFlags parses args, which must be flags only. For -h it prints the flags to stdout and returns flag.ErrHelp. Every other error is a
// usageError of one line.
func ParseFlags(fs *flag.FlagSet, args []string, stdout io.Writer) error {
	rest, err := ParseArgs(fs, args, stdout)
	if err == nil && len(rest) > 0 {
		return Usagef("takes flags only, got %q", rest[0])
	}
	return err
}

// ParseArgs is ParseFlags for a command with arguments behind its flags, which it returns.
func ParseArgs(fs *flag.FlagSet, args []string, stdout io.Writer) ([]string, error) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, "Usage: %s %s [flags]\n\n", programName(), fs.Name())
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		return nil, err
	case err != nil && strings.HasSuffix(err.Error(), "parse error") && strings.HasPrefix(err.Error(), "invalid value "):
		return nil, Usagef("%s: %s; %s %s -h lists the flags", strings.TrimSuffix(err.Error(), ": parse error"), wanted(fs, err.Error()), programName(), fs.Name())
	case err != nil:
		return nil, Usagef("%v; %s %s -h lists the flags", err, programName(), fs.Name())
	}
	return fs.Args(), nil
}

// wanted returns the hint for an invalid value of a flag; text is the error of package flag.
func wanted(fs *flag.FlagSet, text string) (want string) {
	want = "want a whole number"
	fs.VisitAll(func(f *flag.Flag) {
		getter, ok := f.Value.(flag.Getter)
		if !ok || !strings.HasSuffix(text, " for flag -"+f.Name+": parse error") {
			return
		}
		if _, duration := getter.Get().(time.Duration); duration {
			want = "want a duration with its unit, such as 5ms or 30s"
		}
	})
	return want
}
