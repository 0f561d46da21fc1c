// Package blockcheck finds calls that block in code that runs on a loop. It is an analyzer of golang.org/x/tools/go/analysis: tafe vet and
// go vet -vettool run it.
//
//	blockcheck.go  Analyzer: from the code that runs on a loop to the calls that block, with the chain between them
//	graph.go       the functions of a package: what each calls, directly, on its own goroutine
//	roots.go       handlers, middlewares, tasks and callbacks of a loop; handlers of blocking routes
//	table.go       the calls of other packages that block, with what replaces them
//	allow.go       //tafe:allow-blocking REASON
//	finding.go     the findings of several packages in one output, and the baseline
package blockcheck

import (
	"fmt"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Analyzer reports calls that block the loop of a handler.
var Analyzer = &analysis.Analyzer{
	Name:      "blocking",
	Doc:       "report calls that block, in handlers and tasks that run on a loop of tafe",
	Run:       run,
	FactTypes: []analysis.Fact{new(summaries)},
}

// summary is what a caller of a function has to know.
type summary struct {
	Name   string   // types.Func.FullName
	Chain  []string // the functions from here to the call that blocks, which is last; empty: none
	Advice string
	Calls  []int // parameters that the function calls
}

// summaries is the fact about a package: its functions that a caller has to know about, by name.
type summaries struct{ Functions []summary }

// AFact implements analysis.Fact.
func (*summaries) AFact() {}

func (s *summaries) String() string { return fmt.Sprintf("%d functions", len(s.Functions)) }

func run(pass *analysis.Pass) (any, error) {
	if !analysed(pass) {
		return nil, nil
	}
	g := buildGraph(pass)
	g.settle()
	g.markUsed()
	g.exportFacts()
	g.report()
	g.allows.report(pass)
	return nil, nil
}

// analysed reports whether the package is the user's: not the standard library, not a dependency, which table.go describes, and not the
// part of tafe that implements the waits.
func analysed(pass *analysis.Pass) bool {
	if pass.Module != nil && pass.Module.Version != "" {
		return false
	}
	first, _, _ := strings.Cut(pass.Pkg.Path(), "/")
	if (pass.Module == nil || pass.Module.Path == "" || pass.Module.Path == "std") && !strings.Contains(first, ".") {
		return false // the standard library
	}
	return !kernel(pass.Pkg.Path())
}

// kernel reports whether the package implements tasks, connections or the waits of a Context.
func kernel(path string) bool {
	path = strings.TrimSuffix(path, "_test")
	for _, p := range []string{"tafe/loop", "tafe/app/client", "tafe/app/internal"} {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return path == "tafe/app" || path == "tafe/httpparse"
}

// settle finds the shortest chain of each function. The n-th round finds chains of n calls.
func (g *graph) settle() {
	for changed := true; changed; {
		changed = false
		found := map[*function]*summary{}
		for _, f := range g.functions {
			if f.chain != nil {
				continue
			}
			for _, op := range f.ops {
				if s := g.effect(op); s != nil && op.allow == nil {
					found[f] = s
					break
				}
			}
		}
		for f, s := range found {
			f.chain, f.advice, changed = s.Chain, s.Advice, true
		}
	}
}

// effect returns how an operation blocks, or nil if it does not.
func (g *graph) effect(o *operation) *summary {
	if o.blocks != "" {
		return &summary{Chain: []string{o.blocks}, Advice: o.advice}
	}
	if f := g.local(o); f != nil {
		if f.chain == nil {
			return nil
		}
		return &summary{Chain: append([]string{f.name}, f.chain...), Advice: f.advice}
	}
	s := g.imported(o.callee)
	if len(s.Chain) == 0 {
		return nil
	}
	return &summary{Chain: append([]string{shortName(o.callee)}, s.Chain...), Advice: s.Advice}
}

// imported returns what is known about a function of another package.
func (g *graph) imported(f *types.Func) summary {
	if f == nil || f.Pkg() == nil || f.Pkg() == g.pass.Pkg {
		return summary{}
	}
	fact, ok := g.facts[f.Pkg()]
	if !ok {
		g.pass.ImportPackageFact(f.Pkg(), &fact)
		g.facts[f.Pkg()] = fact
	}
	at, ok := slices.BinarySearchFunc(fact.Functions, f.FullName(), func(s summary, name string) int { return strings.Compare(s.Name, name) })
	if !ok {
		return summary{}
	}
	return fact.Functions[at]
}

// local returns the function of this package that an operation calls.
func (g *graph) local(o *operation) *function {
	if o.literal != nil {
		return g.literals[o.literal]
	}
	return g.declared[o.callee]
}

func (g *graph) exportFacts() {
	fact := &summaries{}
	for object, f := range g.declared {
		if len(f.chain) > 0 || len(f.calls) > 0 {
			fact.Functions = append(fact.Functions, summary{Name: object.FullName(), Chain: f.chain, Advice: f.advice, Calls: f.calls})
		}
	}
	slices.SortFunc(fact.Functions, func(a, b summary) int { return strings.Compare(a.Name, b.Name) })
	if len(fact.Functions) > 0 {
		g.pass.ExportPackageFact(fact)
	}
}

// reporter walks from roots to operations that block.
type reporter struct {
	g        *graph
	seen     map[*function]bool
	reported map[token.Pos]bool
}

// report reports each operation that blocks, once, with a shortest chain from a root to it. Roots that other functions of the package call,
// such as func readForm(*app.Context) error, come last: a chain through their callers says more.
func (g *graph) report() {
	called := map[*function]bool{}
	for _, f := range g.functions {
		for _, op := range f.ops {
			if callee := g.local(op); callee != nil {
				called[callee] = true
			}
		}
	}
	r := &reporter{g, map[*function]bool{}, map[token.Pos]bool{}}
	for _, last := range []bool{false, true} {
		var roots []*function
		for _, f := range g.functions {
			if f.root && called[f] == last {
				roots = append(roots, f)
			}
		}
		r.walk(roots)
	}
}

// walk visits functions in the order of their distance from the roots.
func (r *reporter) walk(roots []*function) {
	type visit struct {
		f     *function
		chain []string
	}
	var queue []visit
	for _, f := range roots {
		if !r.seen[f] {
			r.seen[f] = true
			queue = append(queue, visit{f, []string{f.name}})
		}
	}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for _, op := range v.f.ops {
			if op.allow != nil {
				continue
			}
			if f := r.g.local(op); f == nil {
				r.operation(op, v.chain)
			} else if !r.seen[f] && f.chain != nil {
				r.seen[f] = true
				queue = append(queue, visit{f, append(slices.Clip(v.chain), f.name)})
			}
		}
	}
}

// operation reports an operation, if it blocks, of the last function of a chain.
func (r *reporter) operation(op *operation, chain []string) {
	s := r.g.effect(op)
	if s == nil || r.reported[op.pos] {
		return
	}
	r.reported[op.pos] = true
	chain = append(slices.Clip(chain), s.Chain...)
	r.g.pass.Reportf(op.pos, "%s holds the loop: %s; %s", chain[len(chain)-1], strings.Join(chain, " -> "), s.Advice)
}

// shortName returns a function with the name of its package, and without the path.
func shortName(f *types.Func) string {
	if f.Pkg() == nil {
		return f.FullName()
	}
	return strings.Replace(f.FullName(), f.Pkg().Path(), f.Pkg().Name(), 1)
}
