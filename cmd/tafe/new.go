// The new command: it writes the project of an author, which builds against the source that this binary was built from. Its files are in
// project.

package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"

	"tafe/app/edge"
)

//go:embed project
var projectFiles embed.FS

// project is what the files of a new project are made from.
type project struct {
	Name     string // of the directory, the binary and the configuration file
	Module   string
	Source   string // directory of the module tafe, absolute
	Go       string // version of the language
	Requires []*modfile.Require
}

// Replace returns the source as go.mod quotes it.
func (p *project) Replace() string { return modfile.AutoQuote(p.Source) }

// names are the files of a project by their templates.
func (p *project) names() map[string]string {
	return map[string]string{
		"go.mod.tmpl": "go.mod", "main.go.tmpl": "main.go", "main_test.go.tmpl": "main_test.go", "config.toml.tmpl": p.Name + ".toml",
		"Makefile.tmpl": "Makefile", "Dockerfile.tmpl": "Dockerfile", "gitignore.tmpl": ".gitignore",
	}
}

func runNew(_ context.Context, args []string, stdout, _ io.Writer) error {
	var dir, source, module string
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		dir, args = args[0], args[1:]
	}
	fs := flag.NewFlagSet("new DIR", flag.ContinueOnError)
	fs.StringVar(&source, "source", "", "`directory` of the source of tafe (default: that of this binary)")
	fs.StringVar(&module, "module", "", "`path` of the new module (default: the name of the directory)")
	if err := edge.ParseFlags(fs, args, stdout); err != nil {
		return err
	}
	if dir == "" {
		return edge.Usagef("a directory is required: tafe new DIR")
	}
	p, err := newProject(dir, source, module)
	if err != nil {
		return err
	}
	if err := p.write(dir); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s is ready:\n\n    cd %s\n    make test\n    make run\n\nIt is built with the tafe of %s. To change that: go mod edit -replace tafe=DIR\n", dir, dir, p.Source)
	return nil
}

// projectName is the form of names that are a package, a file and a command at once.
var projectName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// newProject finds the source, and reads from it what the project requires.
func newProject(dir, source, module string) (*project, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := &project{Name: filepath.Base(absolute), Module: module}
	if !projectName.MatchString(p.Name) {
		return nil, edge.Usagef("%q cannot be the name of a program: want letters, digits, _ and -, with a letter first", p.Name)
	}
	if p.Module == "" {
		p.Module = p.Name
	}
	if p.Module == "tafe" || strings.HasPrefix(p.Module, "tafe/") {
		return nil, edge.Usagef("--module %s: the name is that of the server", p.Module)
	}
	if p.Source, err = sourceOf(source); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(p.Source, "go.mod"))
	if err != nil {
		return nil, err
	}
	mod, err := modfile.ParseLax("go.mod", text, nil)
	if err != nil || mod.Module == nil || mod.Module.Mod.Path != "tafe" || mod.Go == nil {
		return nil, fmt.Errorf("%s is not the source of tafe: its go.mod has another module", p.Source)
	}
	p.Go, p.Requires = mod.Go.Version, mod.Require
	return p, nil
}

// sourceOf returns the directory that source names, or else the one that the compiler has recorded for this file.
func sourceOf(source string) (string, error) {
	if source != "" {
		return filepath.Abs(source)
	}
	_, file, _, ok := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	if !ok || !filepath.IsAbs(root) { // built with -trimpath
		return "", edge.Usagef("this binary does not tell its source: name it with --source DIR")
	}
	if _, err := os.Stat(root); err != nil {
		return "", edge.Usagef("the source of this binary was %s, and is not there: name it with --source DIR", root)
	}
	return root, nil
}

// write writes the project into dir, which must be new or empty.
func (p *project) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	present, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(present) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	templates, err := template.ParseFS(projectFiles, "project/*.tmpl")
	if err != nil {
		return err
	}
	for from, to := range p.names() {
		var text strings.Builder
		if err := templates.ExecuteTemplate(&text, from, p); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, to), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	// The same sums: the versions are those of the source.
	sums, err := os.ReadFile(filepath.Join(p.Source, "go.sum"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644)
}
