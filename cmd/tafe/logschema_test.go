package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every log call has a message and keys from the table in docs/operations.md. A key that is missing there, or is not used,
// fails.
func TestLogSchema(t *testing.T) {
	guide, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(guide), "\n### Keys\n")
	require.True(t, found, "docs/operations.md has no section Keys")
	section, _, _ = strings.Cut(section, "\n#")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(section, -1) {
		documented[m[1]] = true
	}
	used := map[string]string{}
	files := token.NewFileSet()
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bench" || d.Name() == "example" || d.Name() == ".git" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				logCall(t, files, n, used)
			case *ast.CompositeLit: // attrs := []any{"key", value, …}
				if array, ok := n.Type.(*ast.ArrayType); ok && named(array.Elt, "any") {
					pairs(files, n.Elts, used)
				}
			}
			return true
		})
		return nil
	}))
	require.Greater(t, len(used), 30, "the log calls are found")
	for key, where := range used {
		require.Regexp(t, `^[a-z][a-z0-9_]*$`, key, where)
		assert.Contains(t, documented, key, "%s: docs/operations.md does not know the key %q", where, key)
	}
	for _, key := range slices.Sorted(maps.Keys(documented)) {
		require.Contains(t, used, key, "docs/operations.md has the key %q, which nothing logs", key)
	}
}

var levels = map[string]int{"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "Log": 2} // the argument that is the message

// logCall collects the keys of a call of a *slog.Logger, and of lists named attrs.
func logCall(t *testing.T, files *token.FileSet, call *ast.CallExpr, used map[string]string) {
	where := files.Position(call.Pos()).String()
	if named(call.Fun, "append") && len(call.Args) > 0 && named(call.Args[0], "attrs") {
		pairs(files, call.Args[1:], used)
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	if named(method.X, "slog") { // slog.String("key", value)
		if len(call.Args) != 2 {
			return
		}
		if key, ok := literal(call.Args[0]); ok {
			used[key] = where
		}
		return
	}
	at, ok := levels[method.Sel.Name]
	if !ok || len(call.Args) <= at || !logger(method.X) {
		return
	}
	if message, ok := literal(call.Args[at]); ok {
		require.NotRegexp(t, `\.$|\n`, message, where)
	}
	pairs(files, call.Args[at+1:], used)
}

// pairs collects the keys of a list of keys and values.
func pairs(files *token.FileSet, list []ast.Expr, used map[string]string) {
	for i := 0; i+1 < len(list); i += 2 {
		if key, ok := literal(list[i]); ok {
			used[key] = files.Position(list[i].Pos()).String()
		}
	}
}

func named(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}

// logger reports whether an expression is a logger by its name.
func logger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return strings.EqualFold(x.Name, "log")
	case *ast.SelectorExpr:
		return strings.EqualFold(x.Sel.Name, "log")
	case *ast.CallExpr:
		f, ok := x.Fun.(*ast.SelectorExpr)
		return ok && (f.Sel.Name == "Log" || f.Sel.Name == "With")
	}
	return false
}

func literal(x ast.Expr) (string, bool) {
	l, ok := x.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}
