// check.go owns the check command: what serve would say of a configuration file, all of it, without serving.

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"tafe/cmd/tafe/internal/config"
)

func check(_ context.Context, args []string, stdout, stderr io.Writer) error {
	var file string
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	fs.StringVar(&file, "config", "", "`file` to check")
	fs.StringVar(&file, "c", "", "short for --config `file`")
	if err := parseFlags(fs, args, stdout); err != nil {
		return err
	}
	if file == "" {
		return usagef("check what? Name a file: tafe check -c FILE")
	}
	c, err := config.Load(file)
	if err == nil {
		var resources *config.Resources
		if _, resources, err = c.App(c.Options(), nil, nil); err == nil {
			resources.Close()
			_, _, err = c.AppListeners()
		}
	}
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		// One a line, as compilers do: editors and people find them so.
		for _, p := range problems {
			fmt.Fprintln(stderr, p.Error())
		}
		return fmt.Errorf("%s has %s", file, count(len(problems), "problem"))
	case err != nil:
		return err
	}
	fmt.Fprintf(stdout, "%s is good: %s\n", file, count(len(c.Routes), "route"))
	return nil
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
