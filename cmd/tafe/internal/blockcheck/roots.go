// The functions that run on a loop: handlers, middlewares and tasks by their types, callbacks by the function they are passed to. Handlers of routes
// with app.Blocking() start beside their loop.

package blockcheck

import (
	"go/ast"
	"go/types"
	"slices"

	"golang.org/x/tools/go/types/typeutil"
)

// isRoot reports whether functions of a type run on a loop: func(*app.Context) error, func(*loop.Task) and func(*loop.Task) error; of
// literals also those with further parameters or other results.
func isRoot(signature *types.Signature, literal bool) bool {
	params, results := signature.Params(), signature.Results()
	if params.Len() == 0 {
		return false
	}
	context, task := isPointerTo(params.At(0).Type(), "tafe/app", "Context"), isPointerTo(params.At(0).Type(), "tafe/loop", "Task")
	if !context && !task {
		return false
	}
	if literal {
		return true
	}
	fails := results.Len() == 1 && types.Identical(results.At(0).Type(), types.Universe.Lookup("error").Type())
	return params.Len() == 1 && (fails || task && results.Len() == 0)
}

func isPointerTo(t types.Type, path, name string) bool {
	pointer, ok := types.Unalias(t).(*types.Pointer)
	if !ok {
		return false
	}
	named, ok := types.Unalias(pointer.Elem()).(*types.Named)
	return ok && named.Obj().Name() == name && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == path
}

// findBlockingRoutes finds the handlers that are registered together with app.Blocking().
func (g *graph) findBlockingRoutes(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !slices.ContainsFunc(call.Args, g.isBlockingOption) {
			return true
		}
		for _, argument := range call.Args {
			switch argument := ast.Unparen(argument).(type) {
			case *ast.FuncLit:
				g.blocking[argument] = true
			case *ast.Ident:
				g.setBlocking(argument)
			case *ast.SelectorExpr:
				g.setBlocking(argument.Sel)
			}
		}
		return true
	})
}

func (g *graph) isBlockingOption(x ast.Expr) bool {
	call, ok := ast.Unparen(x).(*ast.CallExpr)
	if !ok {
		return false
	}
	callee := typeutil.StaticCallee(g.pass.TypesInfo, call)
	return callee != nil && callee.FullName() == "tafe/app.Blocking"
}

func (g *graph) setBlocking(id *ast.Ident) {
	switch object := g.pass.TypesInfo.Uses[id].(type) {
	case *types.Func:
		g.blocking[object.Origin()] = true
	case *types.Var:
		if lit := g.values[object]; lit != nil {
			g.blocking[lit] = true
		}
	}
}

// callsArgument reports whether a function calls the function that is its i-th argument, on the goroutine of the caller.
func (g *graph) callsArgument(callee *types.Func, i int) bool {
	if callee.Pkg() == nil {
		return false
	}
	name := callee.FullName()
	switch path := callee.Pkg().Path(); {
	case kernel(path):
		return synchronous[name]
	case slices.Contains(callers, path):
		return true
	case synchronous[name]:
		return true
	case callee.Pkg() == g.pass.Pkg:
		f := g.declared[callee]
		return f != nil && slices.Contains(f.calls, i)
	}
	return slices.Contains(g.imported(callee).Calls, i)
}
