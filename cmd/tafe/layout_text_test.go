// The text of the source: doc comments, the place of file headers, names of packages. layout_test.go has the imports and the folders.

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// personified is the form in which file headers once gave files and packages a will.
var personified = regexp.MustCompile(`\bIt owns\b|\b[Ff]ile owns\b|\.go owns\b|refuses? to know|knows? nothing of|[Ii]t knows no\b`)

// listsFiles is a line of a package comment that begins with the names of files, and fileNames are the names.
var (
	listsFiles = regexp.MustCompile(`(?m)^\t[a-z0-9_]+\.go .*$`)
	fileNames  = regexp.MustCompile(`\b[a-z0-9_]+\.go\b`)
)

func TestExportedIdentifiersAreDocumented(t *testing.T) {
	onceIsEnough(t)
	for _, f := range sourceFiles(t) {
		if f.test || strings.Contains(f.name, "internal/") || f.syntax.Name.Name == "main" {
			continue
		}
		for _, name := range undocumented(f.syntax) {
			t.Errorf("%s: %s has no doc comment", f.name, name)
		}
	}
}

func TestFileHeadersStandBeforePackage(t *testing.T) {
	onceIsEnough(t)
	documented := map[string]string{} // package folder: the file with its doc comment
	for _, f := range sourceFiles(t) {
		if at := misplacedHeader(f.syntax); at != "" && !f.test {
			t.Errorf("%s: a comment stands between package and the first declaration (%q): the header stands before package, with an empty line after it", f.name, at)
		}
		if f.syntax.Doc == nil {
			continue
		}
		folder := filepath.Dir(f.name) + " " + f.syntax.Name.Name
		if first, ok := documented[folder]; ok {
			t.Errorf("%s: the comment is package documentation, which %s has: put an empty line before package", f.name, first)
		}
		documented[folder] = f.name
	}
}

// A package comment that lists files lists all of them.
func TestPackageCommentsListEveryFile(t *testing.T) {
	onceIsEnough(t)
	type commented struct{ name, comment string }
	packages := map[string]commented{} // by folder
	files := sourceFiles(t)
	for _, f := range files {
		if f.syntax.Doc != nil && !f.test && listsFiles.MatchString(f.syntax.Doc.Text()) {
			packages[filepath.Dir(f.name)] = commented{f.name, f.syntax.Doc.Text()}
		}
	}
	require.NotEmpty(t, packages)
	for _, f := range files {
		p, ok := packages[filepath.Dir(f.name)]
		if base := filepath.Base(f.name); ok && !f.test && base != "doc.go" && !slices.Contains(fileNames.FindAllString(p.comment, -1), base) {
			t.Errorf("%s: the list of files in the package comment lacks %s", p.name, base)
		}
	}
}

// TestListedFilesExist is the converse.
func TestListedFilesExist(t *testing.T) {
	onceIsEnough(t)
	root := moduleRoot(t)
	for _, f := range sourceFiles(t) {
		if f.syntax.Doc == nil || f.test {
			continue
		}
		for _, line := range listsFiles.FindAllString(f.syntax.Doc.Text(), -1) {
			for _, name := range fileNames.FindAllString(line, -1) {
				if _, err := os.Stat(filepath.Join(root, filepath.Dir(f.name), name)); err != nil {
					t.Errorf("%s: the package comment lists %s, which does not exist", f.name, name)
				}
			}
		}
	}
}

func TestTextDoesNotPersonify(t *testing.T) {
	onceIsEnough(t)
	root := moduleRoot(t)
	for _, name := range trackedFiles(t) {
		if !slices.Contains([]string{".go", ".md", ".toml", ".yml", ".yaml", ".html"}, filepath.Ext(name)) ||
			strings.HasSuffix(name, "layout_text_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		require.NoError(t, err)
		if found := personified.Find(text); found != nil {
			t.Errorf("%s: %q: say what it does", name, found)
		}
	}
}

func TestPackageNamesAreUnique(t *testing.T) {
	onceIsEnough(t)
	seen := map[string]string{}
	for _, p := range listPackages(t) {
		if p.Name == "main" {
			continue
		}
		if first, ok := seen[p.Name]; ok {
			t.Errorf("%s and %s have the same name", first, p.ImportPath)
		}
		seen[p.Name] = p.ImportPath
	}
}

func TestUndocumented(t *testing.T) {
	for _, c := range []struct {
		source string
		want   []string
		why    string
	}{
		{"func F() {}", []string{"F"}, "a function"},
		{"// F does.\nfunc F() {}", nil, "with a comment"},
		{"func f() {}", nil, "that others cannot call"},
		{"func (T) M() {}", []string{"T.M"}, "a method"},
		{"func (t) M() {}", nil, "of a type that others cannot name"},
		{"func (T) Error() string { return \"\" }", nil, "unless the standard library documents it"},
		{"type T int", []string{"T"}, "a type"},
		{"// In all.\nconst (\n\tA = 1\n\tB = 2\n)", nil, "a comment for a group"},
		{"const (\n\tA = 1 // of it\n\tB = 2\n)", []string{"B"}, "or for each line"},
		{"var V, w int", []string{"V"}, "a variable"},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n\n"+c.source, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		require.Equal(t, c.want, undocumented(file), "%s: %s", c.why, c.source)
	}
}

func TestMisplacedHeader(t *testing.T) {
	for _, c := range []struct {
		source, want, why string
	}{
		{"// Head.\n\npackage p\n\nimport \"io\"\n", "", "before package"},
		{"package p\n\n// Head.\n\nimport \"io\"\n", "Head.", "after it"},
		{"package p\n\n// Head.\nimport \"io\"\n", "Head.", "or as the import's comment"},
		{"package p\n\n// F does.\nfunc F() {}\n", "", "a doc comment without imports"},
		{"package p\n\n// Head.\n\n// F does.\nfunc F() {}\n", "Head.", "and a header before it"},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", c.source, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		require.Equal(t, c.want, misplacedHeader(file), c.why)
	}
}

// undocumented lists the exported names of a file without a comment. Fields, the methods of interfaces, Error and String are left out.
func undocumented(file *ast.File) (names []string) {
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Doc != nil || !decl.Name.IsExported() || standardMethod(decl) {
				continue
			}
			if decl.Recv == nil {
				names = append(names, decl.Name.Name)
			} else if receiver := decl.Recv.List[0].Type; receiverExported(receiver) {
				names = append(names, receiverName(receiver)+"."+decl.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				if name, doc := specName(spec); name != "" && !doc && decl.Doc == nil {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// standardMethod reports whether decl implements error or fmt.Stringer, whose doc comments say it.
func standardMethod(decl *ast.FuncDecl) bool {
	return decl.Recv != nil && (decl.Name.Name == "Error" || decl.Name.Name == "String")
}

// specName returns the first exported name of a spec, or "", and whether the spec has a comment.
func specName(spec ast.Spec) (name string, doc bool) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			return spec.Name.Name, spec.Doc != nil || spec.Comment != nil
		}
	case *ast.ValueSpec:
		for _, ident := range spec.Names {
			if ident.IsExported() {
				return ident.Name, spec.Doc != nil || spec.Comment != nil
			}
		}
	}
	return "", false
}

func receiverName(receiver ast.Expr) (name string) {
	ast.Inspect(receiver, func(n ast.Node) bool {
		if ident, ok := n.(*ast.Ident); ok && name == "" {
			name = ident.Name
		}
		return name == ""
	})
	return name
}

// misplacedHeader returns the first words of a comment between the package clause and the first declaration, or "".
func misplacedHeader(file *ast.File) string {
	if len(file.Decls) == 0 {
		return ""
	}
	first := file.Decls[0]
	var doc *ast.CommentGroup
	until := first.Pos()
	switch decl := first.(type) {
	case *ast.FuncDecl:
		doc = decl.Doc
	case *ast.GenDecl:
		if decl.Tok != token.IMPORT || decl.Specs[0].(*ast.ImportSpec).Path.Value == `"C"` { // the comment of "C" is C
			doc = decl.Doc
		}
	}
	for _, group := range file.Comments {
		if group != doc && group.Pos() > file.Name.End() && group.End() < until {
			text, _, _ := strings.Cut(strings.TrimSpace(group.Text()), "\n")
			if text != "" { // a directive has none
				return text
			}
		}
	}
	return ""
}

type sourceFile struct {
	name   string // from the root
	test   bool
	syntax *ast.File
}

// sourceFiles parses the tracked Go files of the server's module.
func sourceFiles(t *testing.T) (files []sourceFile) {
	t.Helper()
	root := moduleRoot(t)
	for _, name := range trackedFiles(t) {
		if filepath.Ext(name) != ".go" || strings.HasPrefix(name, "bench/") || strings.Contains(name, "testdata/") {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		require.NoError(t, err)
		files = append(files, sourceFile{name, strings.HasSuffix(name, "_test.go"), syntax})
	}
	return files
}
