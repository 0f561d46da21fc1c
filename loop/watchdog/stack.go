package watchdog

// Frames of a stack: whose code each one is, which of them answers for the
// time, and how several stacks of one overrun merge into a tree. It does not
// know how stacks are taken.

import (
	"fmt"
	"hash/fnv"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// Frame is one function call of a stack.
type Frame struct {
	Func string `json:"func"` // with its package path
	File string `json:"file"`
	Line int    `json:"line"`
}

// String is "pkg.Func (file.go:12)", or "pkg.Func" where the line is not known.
func (f Frame) String() string {
	if f.Line == 0 {
		return shortFunc(f.Func)
	}
	return shortFunc(f.Func) + " (" + filepath.Base(f.File) + ":" + strconv.Itoa(f.Line) + ")"
}

// shortFunc cuts the directories off a function's package path.
func shortFunc(name string) string {
	cut := strings.IndexByte(name, '[') // type arguments have slashes too
	if cut < 0 {
		cut = len(name)
	}
	return name[strings.LastIndexByte(name[:cut], '/')+1:]
}

// packageOf is the import path of a function.
func packageOf(name string) string {
	dir := strings.LastIndexByte(strings.SplitN(name, "[", 2)[0], '/')
	if dot := strings.IndexByte(name[dir+1:], '.'); dot >= 0 {
		return name[:dir+1+dot]
	}
	return name
}

type owner uint8

const (
	ownerRuntime   owner = iota // the Go runtime and its kin
	ownerLibrary                // the standard library
	ownerFramework              // tafe itself
	ownerModule                 // a module that the program depends on
	ownerHandler                // the program's own module: what a route runs
)

// framework lists the packages whose frames stand between the loop and the
// handler, or between the handler and its wait.
var framework = map[string]bool{
	"tafe/loop": true, "tafe/loop/reactor": true, "tafe/httpparse": true, "tafe/app": true, "tafe/app/middleware": true,
}

// modules of this binary: what is in one of them is not the standard library,
// whatever its name looks like.
type modules struct {
	main string // empty where the build does not say: in some tests
	deps []string
}

var modulePaths = sync.OnceValue(func() (m modules) {
	if info, ok := debug.ReadBuildInfo(); ok {
		m.main = info.Main.Path
		for _, d := range info.Deps {
			m.deps = append(m.deps, d.Path)
		}
	}
	return m
})

func ownerOf(f Frame) owner { return modulePaths().ownerOf(f) }

func (m modules) ownerOf(f Frame) owner {
	pkg := packageOf(f.Func)
	switch {
	case strings.Contains(f.Func, "._Cfunc_"):
		return ownerLibrary // what cgo made: nobody's source
	case framework[pkg], strings.HasPrefix(pkg, "github.com/panjf2000/gnet/"):
		return ownerFramework
	case pkg == "main", within(pkg, m.main):
		return ownerHandler
	case pkg == "runtime", pkg == "iter", strings.HasPrefix(pkg, "runtime/"), strings.HasPrefix(pkg, "internal/runtime/"):
		return ownerRuntime
	case strings.HasPrefix(pkg, "golang.org/x/"):
		return ownerLibrary
	case within(pkg, "tafe"):
		return ownerModule // what comes with the server, in another program
	}
	for _, dep := range m.deps {
		if within(pkg, dep) {
			return ownerModule
		}
	}
	if first, _, _ := strings.Cut(pkg, "/"); strings.Contains(first, ".") {
		if m.main == "" {
			return ownerHandler // nobody knows
		}
		return ownerModule
	}
	return ownerLibrary
}

// within tells whether a package belongs to a module.
func within(pkg, module string) bool {
	return module != "" && strings.HasPrefix(pkg, module) && (len(pkg) == len(module) || pkg[len(module)] == '/')
}

// trim drops what every task has in common from the root of a stack: the
// frames of the loop below the handler's first one.
func trim(frames []Frame) []Frame {
	end := len(frames)
	for end > 0 && (ownerOf(frames[end-1]) == ownerRuntime || ownerOf(frames[end-1]) == ownerFramework) {
		end--
	}
	if end == 0 {
		return frames // a callback of the loop: it is all there is
	}
	return frames[:end]
}

// culprit is the frame that answers for the time: the innermost call in the
// program's own code, or else in a module it uses, in the standard library, in
// the framework; the runtime's only when there is nothing else.
func culprit(frames []Frame) Frame {
	for _, want := range []owner{ownerHandler, ownerModule, ownerLibrary, ownerFramework, ownerRuntime} {
		for _, f := range frames {
			if ownerOf(f) == want {
				return f
			}
		}
	}
	return Frame{}
}

// outermost is the outermost call in the program's own code, or in a module that it uses, without its line; nil if there is none.
func outermost(frames []Frame) []Frame {
	for _, want := range []owner{ownerHandler, ownerModule} {
		for i := len(frames) - 1; i >= 0; i-- {
			if ownerOf(frames[i]) == want {
				return []Frame{{Func: frames[i].Func, File: frames[i].File}}
			}
		}
	}
	return nil
}

// stackKey identifies the place in the code, however the leaf below it moves:
// the chain of the handler's functions, the line of the innermost one unless it
// moves by itself, and why.
func stackKey(v Verdict, frames []Frame) string {
	h := fnv.New64a()
	found := false
	for _, f := range frames {
		if ownerOf(f) != ownerHandler {
			continue
		}
		if !found && v != Spin {
			fmt.Fprintln(h, f.Line)
		}
		found = true
		fmt.Fprintln(h, f.Func)
	}
	if !found {
		for _, f := range frames {
			fmt.Fprintln(h, f.Func)
		}
	}
	fmt.Fprintln(h, v)
	return strconv.FormatUint(h.Sum64(), 16)
}

// Folded is the stack as flame graph tools take it: root first, joined by
// semicolons.
func Folded(frames []Frame) string {
	var b strings.Builder
	for i := len(frames) - 1; i >= 0; i-- {
		b.WriteString(strings.ReplaceAll(shortFunc(frames[i].Func), ";", ":"))
		if i > 0 {
			b.WriteByte(';')
		}
	}
	return b.String()
}

// Tree is several stacks merged from the root.
type Tree struct {
	Frame    Frame   `json:"frame"`
	Samples  int     `json:"samples"`
	Children []*Tree `json:"children,omitempty"`
}

// add merges one stack, leaf first, into the tree below t.
func (t *Tree) add(frames []Frame) {
	t.Samples++
	for i := len(frames) - 1; i >= 0; i-- {
		t = t.child(frames[i])
		t.Samples++
	}
}

func (t *Tree) clone() *Tree {
	c := &Tree{Frame: t.Frame, Samples: t.Samples}
	for _, child := range t.Children {
		c.Children = append(c.Children, child.clone())
	}
	return c
}

func (t *Tree) child(f Frame) *Tree {
	for _, c := range t.Children {
		if c.Frame.Func == f.Func && c.Frame.Line == f.Line {
			return c
		}
	}
	c := &Tree{Frame: f}
	t.Children = append(t.Children, c)
	return c
}

// String draws the tree; calls that never branch share a line.
func (t *Tree) String() string {
	var b strings.Builder
	for _, c := range t.Children {
		c.draw(&b, 0)
	}
	return b.String()
}

func (t *Tree) draw(b *strings.Builder, depth int) {
	fmt.Fprintf(b, "%s%d %s", strings.Repeat("  ", depth), t.Samples, t.Frame)
	for len(t.Children) == 1 && t.Children[0].Samples == t.Samples {
		t = t.Children[0]
		fmt.Fprintf(b, " > %s", t.Frame)
	}
	b.WriteByte('\n')
	for _, c := range t.Children {
		c.draw(b, depth+1)
	}
}
