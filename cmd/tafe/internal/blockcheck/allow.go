// //tafe:allow-blocking REASON allows what blocks on its line, on the next line if it has its own, or in the whole function whose doc comment has it. A comment
// without a reason, or that allows nothing, is a finding. looptest.NoBlocking reads the same comments.

package blockcheck

import (
	"go/ast"
	"go/token"
	"strings"

	"golang.org/x/tools/go/analysis"
)

const directive = "//tafe:allow-blocking"

// allowance is one comment.
type allowance struct {
	pos    token.Pos
	reason string
	used   bool
	alone  bool // on a line of its own: it is about the next one
}

type allowances struct {
	pass  *analysis.Pass
	all   []*allowance
	lines map[string]map[int]*allowance // by file and line
	spans []span
}

// span is a function whose doc comment has the directive.
type span struct {
	from, to token.Pos
	allow    *allowance
}

func newAllowances(pass *analysis.Pass) *allowances {
	a := &allowances{pass: pass, lines: map[string]map[int]*allowance{}}
	for _, file := range pass.Files {
		code := linesOfCode(pass.Fset, file)
		found := map[token.Pos]*allowance{}
		for _, group := range file.Comments {
			for _, comment := range group.List {
				rest, ok := strings.CutPrefix(comment.Text, directive)
				if !ok || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
					continue
				}
				allow := &allowance{pos: comment.Pos(), reason: strings.TrimSpace(rest)}
				allow.alone = !code[pass.Fset.Position(comment.Pos()).Line]
				found[comment.Pos()] = allow
				a.add(allow)
			}
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Doc == nil {
				continue
			}
			for _, comment := range f.Doc.List {
				if allow := found[comment.Pos()]; allow != nil {
					a.spans = append(a.spans, span{f.Pos(), f.End(), allow})
				}
			}
		}
	}
	return a
}

func (a *allowances) add(allow *allowance) {
	a.all = append(a.all, allow)
	p := a.pass.Fset.Position(allow.pos)
	if a.lines[p.Filename] == nil {
		a.lines[p.Filename] = map[int]*allowance{}
	}
	a.lines[p.Filename][p.Line] = allow
}

// linesOfCode returns the lines on which something other than a comment begins or ends.
func linesOfCode(fset *token.FileSet, file *ast.File) map[int]bool {
	lines := map[int]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n.(type) {
		case nil:
			return true
		case *ast.Comment, *ast.CommentGroup:
			return false
		}
		lines[fset.Position(n.Pos()).Line] = true
		lines[fset.Position(n.End()-1).Line] = true
		return true
	})
	return lines
}

// at returns the comment that allows an operation at pos, or nil.
func (a *allowances) at(pos token.Pos) *allowance {
	p := a.pass.Fset.Position(pos)
	lines := a.lines[p.Filename]
	if allow := lines[p.Line]; allow != nil {
		return allow
	}
	if allow := lines[p.Line-1]; allow != nil && allow.alone {
		return allow
	}
	for _, s := range a.spans {
		if s.from <= pos && pos < s.to {
			return s.allow
		}
	}
	return nil
}

// markUsed marks the comments that allow something.
func (g *graph) markUsed() {
	for _, f := range g.functions {
		for _, op := range f.ops {
			if op.allow != nil && !op.allow.used && g.effect(op) != nil {
				op.allow.used = true
			}
		}
	}
}

// report reports the comments that are wrong.
func (a *allowances) report(pass *analysis.Pass) {
	for _, allow := range a.all {
		switch {
		case strings.HasSuffix(pass.Fset.Position(allow.pos).Filename, "_test.go"): // for looptest.NoBlocking
		case allow.reason == "":
			pass.Reportf(allow.pos, "%s needs a reason: %s REASON", directive, directive)
		case !allow.used:
			pass.Reportf(allow.pos, "%s allows nothing: nothing blocks here", directive)
		}
	}
}
