// Finds the lines that //tafe:allow-blocking comments allow to block, for NoBlocking. The analyzer of tafe vet reads the same comments.

package looptest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"

	"golang.org/x/exp/trace"
)

const allowDirective = "//tafe:allow-blocking "

// allowReader caches, by file name, the lines that may block. A file that cannot be read allows none.
type allowReader map[string]map[int]bool

// anyOf reports whether a frame of a task's code may block.
func (a allowReader) anyOf(stack []trace.StackFrame) bool {
	for _, f := range stack {
		if f.Func == taskRoot {
			return false
		}
		if standard(f) || framework(f.Func) {
			continue
		}
		lines, ok := a[f.File]
		if !ok {
			lines = allowedLines(f.File)
			a[f.File] = lines
		}
		if lines[int(f.Line)] {
			return true
		}
	}
	return false
}

func allowedLines(name string) map[int]bool {
	allowed := map[int]bool{}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return allowed
	}
	line := func(p token.Pos) int { return files.Position(p).Line }
	code := map[int]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case nil, *ast.CommentGroup:
			return false
		case *ast.FuncDecl:
			if allows(n.Doc) {
				for i := line(n.Pos()); i <= line(n.End()); i++ {
					allowed[i] = true
				}
			}
		}
		code[line(n.Pos())], code[line(n.End()-1)] = true, true
		return true
	})
	for _, group := range file.Comments {
		for _, comment := range group.List {
			switch at := line(comment.Pos()); {
			case !isAllowance(comment):
			case code[at]:
				allowed[at] = true
			default: // on a line of its own: about the next one
				allowed[at+1] = true
			}
		}
	}
	return allowed
}

func allows(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, comment := range doc.List {
		if isAllowance(comment) {
			return true
		}
	}
	return false
}

// isAllowance reports whether a comment is the directive with a reason.
func isAllowance(comment *ast.Comment) bool {
	reason, ok := strings.CutPrefix(comment.Text, allowDirective)
	return ok && strings.TrimSpace(reason) != ""
}
