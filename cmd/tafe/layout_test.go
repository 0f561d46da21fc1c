// The layout of the repository: which folder may import what, what may stand at the top level, how long a file may be.
// layout_text_test.go checks comments and names.

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module       = "tafe"
	fileLinesMax = 500
)

// folder lists what one folder may import besides the standard library, with all folders below it that have no entry.
type folder struct {
	path     string
	may      []string // packages of the module; a trailing /... takes in what lies below, internal packages apart
	external []string // module paths of others; prefix match
	not      []string // packages of the standard library that are out of bounds
	why      string
}

// The longest matching path wins. A package may import packages below its own folder, unless those have an entry.
var folders = []folder{
	{path: "loop", external: []string{"golang.org/x/sys"}, not: []string{"net", "net/http", "flag"},
		why: "tasks and time: no sockets, no HTTP, no flags"},
	{path: "loop/reactor", may: []string{"loop", "loop/internal/testmode"},
		external: []string{"github.com/panjf2000/gnet/v2/pkg", "github.com/pires/go-proxyproto", "golang.org/x/sys"}, not: []string{"net/http", "flag"},
		why: "sockets for loops, and the only folder that imports gnet"},
	{path: "loop/internal/goruntime", external: []string{"golang.org/x/sys"}, not: []string{"net", "net/http", "flag"},
		why: "reads the Go runtime; does not import loop, and only loop imports it"},
	{path: "loop/internal/testmode", not: []string{"net", "net/http"},
		why: "settings of a whole test run, made when the test is linked"},
	{path: "loop/looptest", may: []string{"loop", "loop/reactor", "loop/watchdog", "loop/internal/testmode"},
		external: []string{"golang.org/x/exp/trace"}, not: []string{"net/http", "flag"},
		why: "drives a loop without sockets, and fails a test that blocks it"},
	{path: "loop/watchdog", may: []string{"loop"}, external: []string{"golang.org/x/sys", "golang.org/x/exp/trace"}, not: []string{"net/http", "flag"},
		why: "reads what loops publish; loops do not import it"},
	{path: "httpparse", external: []string{"github.com/evanphx/wildcat"}, not: []string{"net", "os", "flag"},
		why: "bytes to messages: no sockets, and the only folder that imports wildcat"},
	{path: "app", may: []string{"loop", "loop/reactor", "httpparse", "app/client", "app/websocket"}, external: []string{"golang.org/x/net/http2"}, not: []string{"flag"},
		why: "meaning, above both; its subfolders do not import each other, except app/client and app/websocket"},
	{path: "app/websocket", may: []string{"loop", "loop/reactor"},
		external: []string{"github.com/gobwas/ws", "github.com/gobwas/httphead", "github.com/klauspost/compress"}, not: []string{"flag", "net/http"},
		why: "frames and connections, and the only folder that imports gobwas/ws; does not serve requests"},
	{path: "app/hub", may: []string{"app", "app/websocket", "loop"}, not: []string{"flag"},
		why: "no sibling but the WebSockets that it writes to"},
	{path: "app/middleware", may: []string{"app", "app/client", "loop", "httpparse"},
		external: []string{"github.com/klauspost/compress", "github.com/andybalholm/brotli", "github.com/hashicorp/golang-lru/v2"}, not: []string{"flag"},
		why: "no sibling but the client, which asks for forward_auth"},
	{path: "app/client", may: []string{"loop", "loop/reactor", "httpparse", "app/internal/http2"}, not: []string{"flag"},
		why: "sends requests; does not serve"},
	{path: "app/internal/http2", may: []string{"loop", "loop/reactor", "httpparse"}, external: []string{"golang.org/x/net/http2"},
		not: []string{"flag", "net/http"}, why: "HTTP/2 of both roles, without a meaning"},
	{path: "app/internal/poison", not: []string{"net", "net/http"},
		why: "a setting of a whole test run, made when the test is linked"},
	{path: "app/proxy", may: []string{"app", "app/client", "loop", "httpparse"},
		external: []string{"github.com/pires/go-proxyproto", "golang.org/x/net/dns/dnsmessage", "google.golang.org/protobuf/encoding/protowire"}, not: []string{"flag"}, why: "no sibling but the client"},
	{path: "app/static", may: []string{"app", "loop", "httpparse"}, not: []string{"flag"}, why: "no sibling"},
	{path: "app/variable", may: []string{"app", "httpparse"}, not: []string{"flag"}, why: "no sibling: others get its texts as functions"},
	{path: "app/redislimit", may: []string{"app", "loop", "loop/reactor"}, external: []string{"github.com/gomodule/redigo"}, not: []string{"flag"},
		why: "no sibling; middlewares use it through an interface of their own"},
	{path: "app/tracing", may: []string{"app", "app/client", "loop"}, external: []string{"go.opentelemetry.io/otel"}, not: []string{"flag"},
		why: "no sibling but the client, whose requests it follows"},
	{path: "app/admin", may: []string{"app", "loop", "loop/reactor", "loop/watchdog", "httpparse"}, external: []string{"github.com/prometheus"},
		not: []string{"flag"}, why: "shows the data of the watchdog"},
	{path: "cmd", may: []string{"app/...", "loop/...", "httpparse"}, why: "programs of others, such as the one of docs/tutorial.md"},
	{path: "app/edge", may: []string{"app/...", "loop/...", "httpparse"},
		external: []string{"golang.org/x/sys", "github.com/coreos/go-systemd/v22/daemon", "github.com/coreos/go-systemd/v22/activation", "github.com/libdns/libdns"},
		why:      "the edge server as a library: connects everything; flags, files and environment are read here and in cmd/tafe alone"},
	{path: "app/edge/certstest", external: []string{"github.com/stretchr/testify"}, may: []string{"app/edge/internal/certs"},
		why: "for tests alone"},
	{path: "app/edge/internal/acme", may: []string{"app", "loop", "loop/reactor"},
		external: []string{"github.com/caddyserver/certmagic", "github.com/mholt/acmez/v3", "github.com/gomodule/redigo", "github.com/libdns/libdns", "go.uber.org/zap", "golang.org/x/crypto/ocsp", "golang.org/x/net/idna"},
		not:      []string{"flag"}, why: "certificates by ACME: the only folder that imports certmagic, but for its Storage and DNSProvider"},
	{path: "app/edge/internal/config", may: []string{"app/...", "loop/...", "httpparse", "app/edge/internal/certs", "app/edge/internal/acme"},
		external: []string{"github.com/caddyserver/certmagic", "github.com/pelletier/go-toml/v2", "golang.org/x/net/idna", "github.com/andybalholm/brotli", "github.com/klauspost/compress"},
		why:      "the only place that reads TOML; its tests put the parts together, compressed answers too"},
	{path: "loop/testrig", external: []string{"github.com/stretchr/testify"}, why: "for tests alone, of every folder: imports no package of ours"},
	{path: "cmd/tafe", may: []string{"app/...", "loop/...", "httpparse"},
		external: []string{"golang.org/x/sys", "golang.org/x/mod/modfile", "golang.org/x/tools/go/analysis/unitchecker", "github.com/bradfitz/gomemcache"},
		why:      "the binary: the edge server with the handlers of the demo"},
	{path: "cmd/tafe/internal/blockcheck", external: []string{"golang.org/x/tools/go/analysis", "golang.org/x/tools/go/types/typeutil"},
		not: []string{"flag", "net/http"}, why: "an analyzer of Go programs: imports no package of ours"},
	{path: "cmd/tafe/internal/backend", why: "stand-ins for foreign systems: imports no package of ours"},
}

// External modules for tests only; none of them is linked into the binary.
var testExternal = []string{"github.com/stretchr/testify", "github.com/gobwas/ws", "go.uber.org/goleak", "golang.org/x/tools/go/analysis/analysistest", "golang.org/x/sys", "golang.org/x/net/nettest", "golang.org/x/net/http2", "golang.org/x/net/websocket", "golang.org/x/net/dns/dnsmessage",
	// Real clients against real servers, to prove that they wait cooperatively.
	"github.com/bradfitz/gomemcache", "github.com/gomodule/redigo", "github.com/redis/go-redis/v9", "github.com/jackc/pgx/v5", "google.golang.org/grpc",
	// The messages of OpenTelemetry, for a collector.
	"go.opentelemetry.io/proto/otlp", "google.golang.org/protobuf",
	// A handler of the net/http world, under a route of ours.
	"github.com/prometheus/client_golang/prometheus",
	// The live page in a real browser.
	"github.com/chromedp",
	// Clients of WebSockets.
	"github.com/gorilla/websocket", "github.com/coder/websocket", "github.com/gobwas/ws"}
var testMay = []string{"loop/testrig", "loop/looptest", "loop/reactor", "loop/watchdog", "loop/internal/csleep"}

// topLevel matches the entries of the root of the repository.
var topLevel = regexp.MustCompile(`^(loop|httpparse|app|cmd|bench|docs|go\.mod|go\.sum|Makefile|README\.md|LICENSE|CHANGELOG\.md|` +
	`CONTRIBUTING\.md|SECURITY\.md|\.ci|\.gitignore|\.gitattributes|\.golangci\.ya?ml|\.editorconfig|\.dockerignore|Dockerfile)$`)

func TestImportsFollowTheArrows(t *testing.T) {
	for _, p := range listPackages(t) {
		rel := strings.TrimPrefix(p.ImportPath, module+"/")
		f := folderOf(rel)
		if f == nil {
			t.Errorf("%s stands in no folder of the layout", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			if !f.allows(rel, imported, false) {
				t.Errorf("%s imports %s, which %s may not (%s)", rel, imported, f.path, f.why)
			}
		}
		for _, imported := range append(p.TestImports, p.XTestImports...) {
			if !f.allows(rel, imported, true) {
				t.Errorf("a test in %s imports %s, which %s may not (%s)", rel, imported, f.path, f.why)
			}
		}
	}
}

func TestLayoutRules(t *testing.T) {
	for _, c := range []struct {
		importer, imported string
		test, want         bool
		why                string
	}{
		{"loop/reactor", "github.com/panjf2000/gnet/v2/pkg/netpoll", false, true, "the reactors poll with gnet's poller"},
		{"loop/reactor", "github.com/panjf2000/gnet/v2", false, false, "and leave its engine alone"},
		{"loop", "github.com/panjf2000/gnet/v2/pkg/netpoll", false, false, "a loop has no sockets"},
		{"loop", "net", false, false, "of no kind"},
		{"loop", "tafe/loop/reactor", false, false, "nor its driver"},
		{"loop/reactor", "tafe/loop", false, true, "the arrow itself"},
		{"loop/reactor", "tafe/loop/watchdog", false, false, "a reactor is not watched by itself"},
		{"loop/watchdog", "tafe/loop/reactor", false, false, "the watchdog reads loops and needs no driver"},
		{"loop/watchdog", "tafe/loop/reactor", true, true, "a test of it has real ones"},
		{"loop/looptest", "tafe/loop/reactor", false, true, "connections without sockets are the reactor's, too"},
		{"app", "tafe/loop/reactor", false, true, "an app answers on connections"},
		{"app/static", "tafe/loop/reactor", false, false, "a handler has its Context"},
		{"app", "github.com/panjf2000/gnet/v2/pkg/netpoll", false, false, "gnet never leaves the reactor"},
		{"cmd/tafe", "github.com/panjf2000/gnet/v2", false, false, "not even at the top"},
		{"app", "github.com/evanphx/wildcat", true, false, "nor does wildcat, in tests either"},
		{"loop", "tafe/httpparse", false, false, "loop has no HTTP"},
		{"loop/reactor", "tafe/httpparse", false, false, "nor does the reactor"},
		{"httpparse", "tafe/loop", true, false, "and the parser no loop"},
		{"loop", "tafe/loop/watchdog", false, false, "the watchdog reads loop, not the reverse"},
		{"loop", "tafe/loop/looptest", true, true, "an external test of loop drives it without sockets"},
		{"loop/watchdog", "tafe/loop", false, true, "the arrow itself"},
		{"loop", "tafe/loop/internal/goruntime", false, true, "loop publishes what it reads"},
		{"loop/watchdog", "tafe/loop/internal/goruntime", false, false, "the watchdog asks loop"},
		{"loop/looptest", "tafe/loop/internal/goruntime", true, false, "tests above loop ask it too"},
		{"cmd/tafe", "tafe/loop/internal/goruntime", false, false, "and so does the top"},
		{"loop/internal/goruntime", "tafe/loop", true, false, "it is below loop"},
		{"app/admin", "tafe/loop/watchdog", false, true, "the live page shows it"},
		{"app/proxy", "tafe/loop/watchdog", false, false, "a proxy does not"},
		{"app/proxy", "tafe/app/static", false, false, "siblings are strangers"},
		{"app", "tafe/app/middleware", false, false, "app does not look below"},
		{"app/proxy", "tafe/app/client", false, true, "but has upstreams"},
		{"app/client", "tafe/app", false, false, "a client does not serve"},
		{"app/websocket", "tafe/app", false, false, "nor does a WebSocket read requests"},
		{"app/proxy", "github.com/gobwas/ws", false, false, "frames are the business of one folder"},
		{"app/hub", "tafe/app/websocket", false, true, "a hub writes to them"},
		{"app/admin/page", "tafe/app/admin", false, true, "a package below its folder shares the folder's rules"},
		{"app/admin", "tafe/app/admin/page", false, true, "and is open to it"},
		{"cmd/tafe", "tafe/app/edge", false, true, "the top is the edge server with handlers"},
		{"app/edge", "tafe/app/proxy", false, true, "which wires everything"},
		{"app/proxy", "tafe/app/edge", false, false, "what is wired does not know the wiring"},
		{"cmd/tafe", "github.com/coreos/go-systemd/v22/daemon", false, false, "messages to systemd are the edge server's"},
		{"cmd/tafe", "tafe/cmd/tafe/internal/backend", false, true, "its own internals"},
		{"cmd/tafe/internal/backend", "tafe/app", false, false, "a foreign system imports nothing of ours"},
		{"httpparse", "net", false, false, "no sockets in the parser"},
		{"httpparse", "net", true, true, "except in a test"},
		{"loop", "net/http", false, false, "no HTTP in the loop"},
		{"httpparse", "net/netip", false, true, "an address is not a socket"},
		{"app/static", "flag", false, false, "only the edge server and cmd read flags"},
		{"app", "github.com/stretchr/testify/require", true, true, "tests assert with testify"},
		{"app", "github.com/stretchr/testify/require", false, false, "the server does not"},
		{"app", "github.com/valyala/fasthttp", true, false, "peers live in bench"},
	} {
		f := folderOf(c.importer)
		require.NotNil(t, f, c.importer)
		require.Equal(t, c.want, f.allows(c.importer, c.imported, c.test), "%s imports %s: %s", c.importer, c.imported, c.why)
	}
	require.Nil(t, folderOf("internal/common"), "a folder outside the layout is named")
}

// No exported declaration of a folder names a type of the library behind it.
func TestLibrariesStayBehindTheirAdapters(t *testing.T) {
	for _, c := range []struct{ folder, library string }{{"loop/reactor", "netpoll"}, {"httpparse", "wildcat"}} {
		for _, file := range parseFolder(t, c.folder) {
			for _, decl := range file.Decls {
				for _, surface := range exportedSurface(decl) {
					eachSelector(surface, func(x, name string) {
						if x == c.library {
							t.Errorf("%s exports %s.%s", c.folder, x, name)
						}
					})
				}
			}
		}
	}
}

func TestExportedSurface(t *testing.T) {
	for _, c := range []struct {
		source string
		leaks  bool
		why    string
	}{
		{"func F(c gnet.Conn) {}", true, "a parameter"},
		{"func (e *E) F() (gnet.Conn, error) { return nil, nil }", true, "a result of an exported type's method"},
		{"func (e *e) F(c gnet.Conn) {}", false, "others cannot name the receiver"},
		{"func f(c gnet.Conn) {}", false, "nor the function"},
		{"func F() { var c gnet.Conn }", false, "a body is not seen"},
		{"type T struct { C []gnet.Conn }", true, "a field"},
		{"type T struct { gnet.Conn }", true, "an embedded type"},
		{"type T struct { c gnet.Conn }", false, "a private field"},
		{"type T interface { F(gnet.Conn) }", true, "a method"},
		{"type T = gnet.Conn", true, "another name for it"},
		{"type t struct { C gnet.Conn }", false, "a private type"},
		{"var V gnet.Conn", true, "a variable"},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+c.source, parser.SkipObjectResolution)
		require.NoError(t, err)
		leaks := false
		for _, surface := range exportedSurface(file.Decls[0]) {
			eachSelector(surface, func(x, _ string) { leaks = leaks || x == "gnet" })
		}
		require.Equal(t, c.leaks, leaks, "%s: %s", c.why, c.source)
	}
}

// exportedSurface returns the exported parts of a declaration: signatures, exported fields, types of variables.
func exportedSurface(decl ast.Decl) (surface []ast.Node) {
	if f, ok := decl.(*ast.FuncDecl); ok {
		if f.Name.IsExported() && (f.Recv == nil || receiverExported(f.Recv.List[0].Type)) {
			surface = append(surface, f.Type)
		}
		return surface
	}
	for _, spec := range decl.(*ast.GenDecl).Specs {
		switch spec := spec.(type) {
		case *ast.ValueSpec:
			if spec.Names[0].IsExported() {
				surface = append(surface, spec)
			}
		case *ast.TypeSpec:
			if !spec.Name.IsExported() {
				continue
			}
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				surface = append(surface, spec.Type)
				continue
			}
			for _, field := range fields.Fields.List {
				if len(field.Names) == 0 || field.Names[0].IsExported() {
					surface = append(surface, field.Type)
				}
			}
		}
	}
	return surface
}

func receiverExported(receiver ast.Expr) (exported bool) {
	ast.Inspect(receiver, func(n ast.Node) bool {
		name, ok := n.(*ast.Ident)
		exported = exported || ok && name.IsExported()
		return !ok
	})
	return exported
}

// eachSelector calls see for every x.Name below n.
func eachSelector(n ast.Node, see func(x, name string)) {
	ast.Inspect(n, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok {
				see(x.Name, selector.Sel.Name)
			}
		}
		return true
	})
}

// parseFolder parses the files of a folder, without tests.
func parseFolder(t *testing.T, folder string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(moduleRoot(t), folder, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// The parser may use the constants of net/http, and nothing else of it.
func TestParserTakesOnlyNamesFromNetHTTP(t *testing.T) {
	names := regexp.MustCompile(`^(Status[A-Z]\w*|Method[A-Z]\w*|TimeFormat)$`)
	for _, file := range parseFolder(t, "httpparse") {
		eachSelector(file, func(x, name string) {
			if x == "http" && !names.MatchString(name) {
				t.Errorf("httpparse uses http.%s", name)
			}
		})
	}
}

func TestTopLevelEntries(t *testing.T) {
	for _, name := range trackedFiles(t) {
		top, _, _ := strings.Cut(name, "/")
		if !topLevel.MatchString(top) {
			t.Errorf("%s stands at the top level, outside the layout", top)
		}
	}
}

func TestFilesStayShort(t *testing.T) {
	root := moduleRoot(t)
	for _, name := range trackedFiles(t) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		require.NoError(t, err)
		if lines := bytes.Count(content, []byte("\n")); lines > fileLinesMax {
			t.Errorf("%s has %d lines, over %d: split it", name, lines, fileLinesMax)
		}
	}
}

func folderOf(rel string) *folder {
	var found *folder
	for i := range folders {
		f := &folders[i]
		if within(rel, f.path) && (found == nil || len(f.path) > len(found.path)) {
			found = f
		}
	}
	return found
}

// allows reports whether the package rel, which is in f, may import imported.
func (f *folder) allows(rel, imported string, test bool) bool {
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		return folderOf(own) == f || own == rel || matchAny(own, f.may) || test && matchAny(own, testMay) ||
			strings.HasPrefix(own, f.path+"/internal/")
	}
	if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
		return prefixAny(imported, f.external) || test && prefixAny(imported, testExternal)
	}
	if test {
		return true
	}
	for _, forbidden := range f.not {
		if imported == forbidden {
			return false
		}
	}
	return true
}

func within(rel, parent string) bool { return rel == parent || strings.HasPrefix(rel, parent+"/") }

func matchAny(rel string, patterns []string) bool {
	for _, pattern := range patterns {
		parent, below := strings.CutSuffix(pattern, "/...")
		if below && within(rel, parent) && !strings.Contains(rel[len(parent):], "/internal/") || rel == pattern {
			return true
		}
	}
	return false
}

func prefixAny(imported string, modules []string) bool {
	for _, m := range modules {
		if within(imported, m) {
			return true
		}
	}
	return false
}

type listedPackage struct {
	ImportPath, Name                   string
	Imports, TestImports, XTestImports []string
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = moduleRoot(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var packages []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
	require.NotEmpty(t, packages)
	return packages
}

// trackedFiles returns the names of the files in git, from the root. Untracked files are not checked.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = moduleRoot(t)
	out, err := cmd.Output()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("not a git checkout: %v", err)
	}
	require.NoError(t, err)
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(root, "go.mod"))
	return root
}
