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
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Analyzer reports calls that block the loop of a handler.
var Analyzer = &analysis.Analyzer{
	Name:      "blocking",
	Doc:       "report calls that block, in handlers and tasks that run on a loop of tafe",
	Run:       run,
	FactTypes: []analysis.Fact{new(summary)},
}

// summary is the fact about a function: what a caller of it has to know.
type summary struct {
	Chain  []string // the functions from here to the call that blocks, which is last; empty: none
	Advice string
	Calls  []int // parameters that the function calls
}

// AFact implements analysis.Fact.
func (*summary) AFact() {}

func (s *summary) String() string {
	return fmt.Sprintf("blocks(%s) calls%v", strings.Join(s.Chain, " -> "), s.Calls)
}

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
	if pass.Module == nil && !strings.Contains(first, ".") {
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
	var s summary
	if o.callee == nil || o.callee.Pkg() == g.pass.Pkg || !g.pass.ImportObjectFact(o.callee, &s) || len(s.Chain) == 0 {
		return nil
	}
	return &summary{Chain: append([]string{shortName(o.callee)}, s.Chain...), Advice: s.Advice}
}

// local returns the function of this package that an operation calls.
func (g *graph) local(o *operation) *function {
	if o.literal != nil {
		return g.literals[o.literal]
	}
	return g.declared[o.callee]
}

func (g *graph) exportFacts() {
	for object, f := range g.declared {
		if len(f.chain) > 0 || len(f.calls) > 0 {
			g.pass.ExportObjectFact(object, &summary{Chain: f.chain, Advice: f.advice, Calls: f.calls})
		}
	}
}

// report reports each operation that blocks, once, with the shortest chain from a root to it.
func (g *graph) report() {
	type visit struct {
		f     *function
		chain []string
	}
	var queue []visit
	seen, reported := map[*function]bool{}, map[token.Pos]bool{}
	for _, f := range g.functions {
		if f.root {
			queue = append(queue, visit{f, []string{f.name}})
			seen[f] = true
		}
	}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for _, op := range v.f.ops {
			if op.allow != nil {
				continue
			}
			if f := g.local(op); f != nil {
				if !seen[f] && f.chain != nil {
					seen[f] = true
					queue = append(queue, visit{f, append(v.chain[:len(v.chain):len(v.chain)], f.name)})
				}
				continue
			}
			s := g.effect(op)
			if s == nil || reported[op.pos] {
				continue
			}
			reported[op.pos] = true
			chain := append(v.chain[:len(v.chain):len(v.chain)], s.Chain...)
			g.pass.Reportf(op.pos, "%s holds the loop: %s; %s", s.Chain[len(s.Chain)-1], strings.Join(chain, " -> "), s.Advice)
		}
	}
}

// shortName returns a function with the name of its package, and without the path.
func shortName(f *types.Func) string {
	if f.Pkg() == nil {
		return f.FullName()
	}
	return strings.Replace(f.FullName(), f.Pkg().Path(), f.Pkg().Name(), 1)
}
