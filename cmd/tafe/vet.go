// The vet command: go vet with the analyzer of internal/blockcheck. The go command runs this binary once per package, as its vettool.

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/analysis/unitchecker"

	"tafe/app/edge"
	"tafe/cmd/tafe/internal/blockcheck"
)

// isVettool reports whether the go command runs this process as a vettool: for its version, its flags, or one package.
func isVettool(args []string) bool {
	if len(args) == 0 {
		return false
	}
	for _, flag := range args {
		if !strings.HasPrefix(flag, "-") && flag != args[len(args)-1] {
			return false
		}
	}
	last := args[len(args)-1]
	return last == "-V=full" || last == "-flags" || filepath.Base(last) == "vet.cfg"
}

func runVettool() { unitchecker.Main(blockcheck.Analyzer) }

func runVet(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var file, tags string
	var update bool
	fs := flag.NewFlagSet("vet [flags] PACKAGES", flag.ContinueOnError)
	fs.StringVar(&file, "baseline", "", "`file` of findings that are accepted")
	fs.BoolVar(&update, "update", false, "write the baseline")
	fs.StringVar(&tags, "tags", "", "build `tags`, separated by commas")
	packages, err := edge.ParseArgs(fs, args, stdout)
	switch {
	case err != nil:
		return err
	case len(packages) == 0:
		return edge.Usagef("packages are required: tafe vet ./...")
	case update && file == "":
		return edge.Usagef("-update needs -baseline FILE")
	}
	found, err := vetPackages(ctx, packages, tags, stderr)
	if err != nil {
		return err
	}
	if update {
		return writeVetBaseline(file, found, stdout)
	}
	if file != "" {
		if found, err = beyondBaseline(file, found, stderr); err != nil {
			return err
		}
	}
	dir, _ := os.Getwd()
	for _, f := range found {
		name := f.File
		if relative, err := filepath.Rel(dir, name); err == nil && filepath.IsLocal(relative) {
			name = relative
		}
		fmt.Fprintf(stdout, "%s:%s: %s\n", name, f.Position, f.Message)
	}
	if len(found) > 0 {
		return fmt.Errorf("findings: %d", len(found))
	}
	return nil
}

// vetPackages runs go vet. Errors of the compiler go to stderr.
func vetPackages(ctx context.Context, packages []string, tags string, stderr io.Writer) ([]blockcheck.Finding, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{"vet", "-vettool=" + self, "-json", "-tags=" + tags, "--"}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	var out, failures bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failures
	if err := cmd.Run(); err != nil {
		_, _ = stderr.Write(failures.Bytes())
		return nil, fmt.Errorf("go vet: %w", err)
	}
	return blockcheck.Read(io.MultiReader(&out, &failures))
}

func writeVetBaseline(file string, found []blockcheck.Finding, stdout io.Writer) error {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(blockcheck.WriteBaseline(f, dir, found), f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s has %d findings\n", file, len(found))
	return nil
}

// beyondBaseline returns the findings that the baseline does not have.
func beyondBaseline(file string, found []blockcheck.Finding, stderr io.Writer) ([]blockcheck.Finding, error) {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	known, err := blockcheck.ReadBaseline(f, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	found, stale := known.News(found)
	if stale > 0 {
		fmt.Fprintf(stderr, "%s has %d findings that were not found; -update removes them\n", file, stale)
	}
	return found, nil
}
