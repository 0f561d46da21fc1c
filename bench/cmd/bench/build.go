package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tafe/bench/run"
)

// findRoot walks up from the working directory to the bench folder: the one whose go.mod names this module.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module tafe/bench\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run this in the bench folder of the project")
		}
	}
}

// build compiles the programs that the named peers need. Programs that cannot be built are skipped; Peer.Missing reports them.
func build(root string, peers []string, cases []run.Case) error {
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		return err
	}
	if err := compile(root, "go", "build", "-o", "bin/peer", "./peers"); err != nil {
		return err
	}
	if slices.Contains(peers, "climit") {
		if _, err := exec.LookPath("cc"); err == nil {
			if err := compile(root, "cc", "-O2", "-o", "bin/climit", "peers/climit/climit.c"); err != nil {
				return err
			}
		}
	}
	ofTafe := func(name string) bool { return strings.HasPrefix(name, "tafe") }
	if !slices.ContainsFunc(peers, ofTafe) {
		return nil
	}
	ofPackages := func(name string) bool {
		p, _ := run.Find(name)
		return p.Program == "bin/peer-tafe"
	}
	if slices.ContainsFunc(peers, ofPackages) || slices.ContainsFunc(cases, func(c run.Case) bool { return c.Role == run.RoleWork || c.Role == run.RoleCast }) {
		if err := compile(root, "go", "build", "-o", "bin/peer-tafe", "./peers/tafe"); err != nil {
			return err
		}
	}
	return compile(filepath.Dir(root), "go", "build", "-o", "bench/bin/tafe", "./cmd/tafe")
}

func compile(dir string, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
