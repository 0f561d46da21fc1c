// The functions of a package. An operation is something that a function does on its own goroutine: a call, or an operation on a channel.
// Only direct calls are followed; calls through interfaces and through variables that are assigned more than once are not.

package blockcheck

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/types/typeutil"
)

const channelAdvice = "use loop.Queue, or Task.Park with Waker.Post"

// function is a declared function or a function literal.
type function struct {
	name     string
	ops      []*operation
	params   []types.Object
	calls    []int // parameters that it calls
	literals int   // so far, for their names
	nested   bool  // a literal
	root     bool  // runs on a loop

	chain  []string // see summary
	advice string
}

// operation is a call, or something else that blocks.
type operation struct {
	pos     token.Pos
	blocks  string // what blocks; empty: a call of callee or literal
	advice  string
	callee  *types.Func
	literal *ast.FuncLit
	allow   *allowance // the comment that allows it

	// The function is an argument, and is called if its receiver calls that parameter.
	passedTo *types.Func // nil: called here
	index    int
}

type graph struct {
	pass      *analysis.Pass
	allows    *allowances
	functions []*function // in the order of the source
	declared  map[*types.Func]*function
	literals  map[*ast.FuncLit]*function
	values    map[types.Object]*ast.FuncLit // variables that are assigned one literal
	blocking  map[any]bool                  // handlers of blocking routes: *types.Func or *ast.FuncLit
	callbacks []*operation                  // functions that are passed to a loop
	facts     map[*types.Package]summaries  // of other packages, as far as they were asked for
}

func buildGraph(pass *analysis.Pass) *graph {
	g := &graph{pass: pass, allows: newAllowances(pass), declared: map[*types.Func]*function{}, literals: map[*ast.FuncLit]*function{},
		values: map[types.Object]*ast.FuncLit{}, blocking: map[any]bool{}, facts: map[*types.Package]summaries{}}
	var files []*ast.File
	for _, file := range pass.Files {
		// The handlers of tests stand for slow ones.
		if !strings.HasSuffix(pass.Fset.File(file.FileStart).Name(), "_test.go") {
			files = append(files, file)
		}
	}
	for _, file := range files {
		g.findValues(file)
		g.findBlockingRoutes(file)
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				g.declare(decl)
			case *ast.GenDecl: // literals in variables of the package
				(&scan{g: g, f: &function{name: pass.Pkg.Name()}}).node(decl)
			}
		}
	}
	for _, f := range g.functions {
		f.ops = slices.DeleteFunc(f.ops, func(o *operation) bool { return o.passedTo != nil && !g.callsArgument(o.passedTo, o.index) })
		for _, o := range f.ops {
			o.allow = g.allows.at(o.pos)
		}
	}
	for _, o := range g.callbacks {
		if f := g.local(o); f != nil {
			f.root = true
		}
	}
	return g
}

func (g *graph) declare(decl *ast.FuncDecl) {
	object, ok := g.pass.TypesInfo.Defs[decl.Name].(*types.Func)
	if !ok || decl.Body == nil {
		return
	}
	f := &function{name: shortName(object), root: isRoot(object.Signature(), false) && !g.blocking[object]}
	g.functions = append(g.functions, f)
	g.declared[object] = f
	for parameter := range object.Signature().Params().Variables() {
		f.params = append(f.params, parameter)
	}
	(&scan{g: g, f: f}).node(decl.Body)
}

// literal returns the function of a literal inside of f.
func (g *graph) literal(lit *ast.FuncLit, f *function) *function {
	if l := g.literals[lit]; l != nil {
		return l
	}
	f.literals++
	l := &function{name: f.name + "." + strconv.Itoa(f.literals), nested: true}
	if !f.nested {
		l.name = f.name + ".func" + strconv.Itoa(f.literals)
	}
	signature, ok := g.pass.TypesInfo.TypeOf(lit).(*types.Signature)
	l.root = ok && isRoot(signature, true) && !g.blocking[lit]
	g.literals[lit] = l
	g.functions = append(g.functions, l)
	(&scan{g: g, f: l}).node(lit.Body)
	return l
}

// findValues finds variables with one assignment, of a literal: f := func() { … }.
func (g *graph) findValues(file *ast.File) {
	assigned := map[types.Object]int{}
	assign := func(name, value ast.Expr) {
		id, ok := name.(*ast.Ident)
		object := g.pass.TypesInfo.ObjectOf(id)
		if !ok || object == nil {
			return
		}
		assigned[object]++
		if lit, ok := value.(*ast.FuncLit); ok && assigned[object] == 1 {
			g.values[object] = lit
		} else {
			delete(g.values, object)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, name := range n.Lhs {
				if len(n.Lhs) == len(n.Rhs) {
					assign(name, ast.Unparen(n.Rhs[i]))
				} else {
					assign(name, nil)
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) {
					assign(name, ast.Unparen(n.Values[i]))
				}
			}
		}
		return true
	})
}

// scan collects the operations of one function.
type scan struct {
	g *graph
	f *function
}

func (s *scan) add(o *operation) { s.f.ops = append(s.f.ops, o) }

func (s *scan) block(pos token.Pos, what, advice string) {
	s.add(&operation{pos: pos, blocks: what, advice: advice})
}

// node walks the statements and expressions below n that run on the goroutine of the function.
func (s *scan) node(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			s.g.literal(n, s.f) // called elsewhere, or not at all
			return false
		case *ast.GoStmt:
			for _, argument := range n.Call.Args {
				s.node(argument)
			}
			if lit, ok := ast.Unparen(n.Call.Fun).(*ast.FuncLit); ok {
				s.g.literal(lit, s.f)
			}
			return false
		case *ast.SelectStmt:
			s.selection(n)
			return false
		case *ast.SendStmt:
			s.block(n.Arrow, "channel send", channelAdvice)
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				s.block(n.OpPos, "channel receive", channelAdvice)
			}
		case *ast.RangeStmt:
			if _, ok := types.Unalias(s.g.pass.TypesInfo.TypeOf(n.X)).Underlying().(*types.Chan); ok {
				s.block(n.For, "channel receive", channelAdvice)
			}
		case *ast.CallExpr:
			s.call(n)
		}
		return true
	})
}

// selection is a select statement: it waits unless it has a default case.
func (s *scan) selection(n *ast.SelectStmt) {
	waits := true
	for _, clause := range n.Body.List {
		waits = waits && clause.(*ast.CommClause).Comm != nil
	}
	if waits {
		s.block(n.Select, "select", channelAdvice)
	}
	for _, clause := range n.Body.List {
		clause := clause.(*ast.CommClause)
		switch comm := clause.Comm.(type) {
		case *ast.SendStmt:
			s.node(comm.Value)
		case *ast.ExprStmt:
			s.received(comm.X)
		case *ast.AssignStmt:
			s.received(comm.Rhs[0])
		}
		for _, statement := range clause.Body {
			s.node(statement)
		}
	}
}

// received walks the operand of <- in a select statement.
func (s *scan) received(x ast.Expr) {
	if receive, ok := ast.Unparen(x).(*ast.UnaryExpr); ok {
		s.node(receive.X)
	}
}

// call is a call on the goroutine of the function.
func (s *scan) call(n *ast.CallExpr) {
	if target := s.target(n.Fun); target != nil {
		target.pos = n.Pos()
		s.add(target)
	}
	callee := typeutil.StaticCallee(s.g.pass.TypesInfo, n)
	if callee == nil {
		s.parameter(n.Fun)
		return
	}
	callee = callee.Origin()
	for i, argument := range n.Args {
		if _, ok := types.Unalias(s.g.pass.TypesInfo.TypeOf(argument)).Underlying().(*types.Signature); !ok {
			continue
		}
		target := s.target(argument)
		switch {
		case target == nil:
		case callbacks[callee.FullName()]:
			s.g.callbacks = append(s.g.callbacks, target)
		default:
			target.pos, target.passedTo, target.index = argument.Pos(), callee, i
			s.add(target)
		}
	}
}

// target returns the call of a function that an expression names, or nil.
func (s *scan) target(x ast.Expr) *operation {
	x = ast.Unparen(x)
	switch index := x.(type) { // of a generic function
	case *ast.IndexExpr:
		x = index.X
	case *ast.IndexListExpr:
		x = index.X
	}
	var id *ast.Ident
	switch x := x.(type) {
	case *ast.FuncLit:
		s.g.literal(x, s.f)
		return &operation{literal: x}
	case *ast.Ident:
		id = x
	case *ast.SelectorExpr:
		id = x.Sel
	default:
		return nil
	}
	switch object := s.g.pass.TypesInfo.Uses[id].(type) {
	case *types.Func:
		object = object.Origin()
		if e, ok := tableEntry(object); ok {
			return &operation{blocks: e.name, advice: e.advice}
		}
		return &operation{callee: object}
	case *types.Var:
		if lit := s.g.values[object]; lit != nil {
			return &operation{literal: lit}
		}
	}
	return nil
}

// parameter notes that the function calls one of its parameters.
func (s *scan) parameter(x ast.Expr) {
	id, ok := ast.Unparen(x).(*ast.Ident)
	if !ok {
		return
	}
	at := slices.Index(s.f.params, s.g.pass.TypesInfo.Uses[id])
	if at >= 0 && !slices.Contains(s.f.calls, at) {
		s.f.calls = append(s.f.calls, at)
	}
}
