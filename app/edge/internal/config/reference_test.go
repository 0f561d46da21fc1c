// docs/config.md is generated here from the comments and tags of the structs: go test ./app/edge/internal/config -update

package config

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app/variable"
)

var update = flag.Bool("update", false, "write docs/config.md")

const (
	referenceFile = "../../../../docs/config.md"
	exampleFile   = "../../../../docs/tafe.example.toml"
)

const preface = `# Configuration

The server reads one TOML file: ` + "`tafe serve --config FILE`" + `. ` + "`tafe check -c FILE`" + ` reports every problem in it, with its line and
what is accepted. [tafe.example.toml](tafe.example.toml) is an example. Command-line flags override the file.

**Values.** Durations are strings such as "500ms", "10s", "1h30m". Sizes are bytes, or strings such as "64KiB", "10MiB". A password written as
"env:NAME" is read from that environment variable.

**Files.** Relative paths start at the working directory of the process. Other servers take the directory of the file, or a prefix. Write absolute
paths where a supervisor starts the server.

**Reload.** On SIGHUP the server reads the file again and applies it as a whole, from the next request of each connection on. If the file has a
problem, nothing changes, and the log says why. A part that names a missing or broken file, such as a certificate or the directory of a log, does not keep the others from
being served ([operations.md](operations.md#parts-that-cannot-be-used)). Requests in flight finish with the old configuration. Keys marked with ⟲ need a restart: a file that
changes one is rejected. Rate and concurrency limits start from zero after a reload.

This file is generated from the comments in ` + "`app/edge/internal/config`" + `.
`

const variablesPreface = `Redirects, rewrites, the body and headers of ` + "`respond`" + `, the headers of a ` + "`proxy`" + `, error pages and access logs may have variables. "{{name}" is the text "{name}".
Other braces are literal. A value is escaped for its place: HTML, JSON, a part of a URL, a log line; control characters in a header are percent-encoded. It is never expanded again.
{upstream} and those behind it have a value once there is a response; {bytes} and {reason} in access logs only. In the host of a URL only {host}, {hostport} and {host.N} may stand. An error page may
have other text in braces, such as a script, which stays as it is; ` + "`tafe check`" + ` warns of a name in braces that is no variable. A variable without a value there, such as {bytes}, is an error.`

func TestReference(t *testing.T) {
	made := reference(t)
	if *update {
		require.NoError(t, os.WriteFile(referenceFile, made, 0o644))
	}
	stored, err := os.ReadFile(referenceFile)
	require.NoError(t, err)
	require.Equal(t, string(made), string(stored), "run: go test ./app/edge/internal/config -update")
}

// reference writes a section for Config's fields, and one for each table within those.
func reference(t *testing.T) []byte {
	docs := comments(t)
	out := bytes.NewBufferString(preface)
	type table struct {
		title, text string
		restarts    bool // the tag reload of its keys has an effect; see needRestart
	}
	pending := []reflect.Type{}
	titles := map[reflect.Type]table{}
	for _, k := range keys(reflect.TypeFor[Config]()) {
		of, title := k.field.Type, "["+k.name+"]"
		switch of.Kind() {
		case reflect.Slice:
			of, title = of.Elem(), "[["+k.name+"]]"
		case reflect.Map:
			title = "[" + k.name + ".NAME]"
		}
		restarts := k.field.Type.Kind() == reflect.Struct || k.field.Tag.Get("reload") == "restart"
		titles[of] = table{title, docs["Config."+k.field.Name], restarts}
		pending = append(pending, of)
	}
	for i := 0; i < len(pending); i++ {
		of := pending[i]
		fmt.Fprintf(out, "\n## %s\n\n%s\n", titles[of].title, titles[of].text)
		if of.Kind() != reflect.Struct {
			continue // its keys are those of the binary
		}
		fmt.Fprintf(out, "\n| key | value | default | |\n|---|---|---|---|\n")
		for _, k := range keys(of) {
			owner := of.Name()
			if len(k.field.Index) > 1 {
				owner = of.FieldByIndex(k.field.Index[:1]).Name
				if i > 0 && owner == "Middleware" {
					continue // told in its own section
				}
			}
			doc := docs[owner+"."+k.field.Name]
			require.NotEmpty(t, doc, "%s.%s has no comment", owner, k.field.Name)
			kind := k.field.Type
			if kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice && len(keysOf(kind.Elem())) > 0 {
				kind = kind.Elem()
				if _, known := titles[kind]; !known {
					restarts := titles[of].restarts && k.field.Tag.Get("reload") == "restart"
					titles[kind] = table{k.name, strings.Replace(docs[kind.Name()], kind.Name(), "`"+k.name+"`", 1), restarts}
					pending = append(pending, kind)
				}
			}
			name := "`" + k.name + "`"
			if titles[of].restarts && k.field.Tag.Get("reload") == "restart" {
				name += " ⟲"
			}
			fmt.Fprintf(out, "| %s | %s | %s | %s |\n", name, allowed(t, k.field), standard(k.field), strings.ReplaceAll(doc, "|", `\|`))
		}
		if of == reflect.TypeFor[Route]() {
			fmt.Fprintf(out, "\nAll keys of [middleware] may also stand in a route. They apply to that route only, inside the middlewares of [middleware].\n")
		}
	}
	fmt.Fprintf(out, "\n## Variables\n\n%s\n\n| variable | value |\n|---|---|\n", variablesPreface)
	for _, n := range variable.Names() {
		fmt.Fprintf(out, "| `{%s}` | %s |\n", n.Name, n.Says)
	}
	return out.Bytes()
}

// keysOf are the keys of a table's type; none of any other.
func keysOf(t reflect.Type) []key {
	if t.Kind() != reflect.Struct {
		return nil
	}
	return keys(t)
}

var kinds = map[reflect.Type]string{
	reflect.TypeFor[Address](): "address", reflect.TypeFor[ListenAddress](): "address", reflect.TypeFor[Duration](): "duration", reflect.TypeFor[Bytes](): "bytes", reflect.TypeFor[Handoff](): "duration, 100us to 1m, or off", reflect.TypeFor[Path](): "file", reflect.TypeFor[SocketPath](): "absolute path",
	reflect.TypeFor[Table](): "table", reflect.TypeFor[Middleware](): "table as [middleware]", reflect.TypeFor[Resolver](): "ADDRESS:PORT", reflect.TypeFor[Secret](): "secret", reflect.TypeFor[HeaderName](): "header name", reflect.TypeFor[HeaderValue](): "text", reflect.TypeFor[string](): "text",
	reflect.TypeFor[bool](): "true, false", reflect.TypeFor[Switch](): "true, false", reflect.TypeFor[int](): "number", reflect.TypeFor[float64](): "number",
	reflect.TypeFor[[]string](): "array of text", reflect.TypeFor[[]Network](): "array of networks",
	reflect.TypeFor[[]HostName](): "array of host names", reflect.TypeFor[[]SiteHost](): "array of hosts", reflect.TypeFor[map[string]string](): "table of files",
	reflect.TypeFor[map[string]Alternatives](): "table of text or arrays of text",
	reflect.TypeFor[map[string]HeaderValue]():  "table of text", reflect.TypeFor[map[string]Secret](): "table of secrets",
}

// allowed returns the accepted values of a key.
func allowed(t *testing.T, f reflect.StructField) string {
	if list := f.Tag.Get("oneof"); list != "" {
		return strings.ReplaceAll(list, "|", ", ")
	}
	kind := kinds[f.Type]
	switch {
	case f.Type.Kind() == reflect.Pointer:
		kind = "table"
	case f.Type.Kind() == reflect.Slice && len(keysOf(f.Type.Elem())) > 0:
		kind = "array of tables"
	}
	require.NotEmpty(t, kind, "kinds has no text for %s, the type of %s", f.Type, f.Name)
	if least := f.Tag.Get("min"); least != "" {
		kind += ", " + least + " to " + f.Tag.Get("max")
	}
	return kind
}

func standard(f reflect.StructField) string {
	text, ok := f.Tag.Lookup("default")
	switch {
	case f.Tag.Get("required") != "":
		return "required"
	case !ok:
		return "–"
	case text == "":
		return `""`
	}
	return "`" + text + "`"
}

// comments returns the comments of the package by type, and by type and field, each on one line.
func comments(t *testing.T) map[string]string {
	docs := map[string]string{}
	flat := func(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			types, ok := decl.(*ast.GenDecl)
			if !ok || types.Tok != token.TYPE {
				continue
			}
			spec := types.Specs[0].(*ast.TypeSpec)
			docs[spec.Name.Name] = flat(types.Doc)
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, field := range fields.Fields.List {
				for _, name := range field.Names {
					docs[spec.Name.Name+"."+name.Name] = flat(field.Doc)
				}
			}
		}
	}
	return docs
}

// commented is a line of the example that shows a default.
var commented = regexp.MustCompile(`(?m)^#([a-z0-9_]+ = )`)

func TestExample(t *testing.T) {
	t.Setenv("TAFE_ADMIN_PASSWORD", "secret")
	t.Setenv("ACME_MAC_KEY", "secret")
	text, err := os.ReadFile(exampleFile)
	require.NoError(t, err)
	a := appOf(t, string(text))
	for _, c := range []struct {
		target string
		status int
		want   string
	}{
		{"/robots.txt", 200, "User-agent: *\nDisallow: /private/\n"},
		{"/api/version", 200, `{"version":"1.2"}`},
		{"/private/x", 403, ""},
		{"/blog/2026/hello?a=b", 301, ""},
	} {
		r := ask(a, "GET", c.target)
		require.Equal(t, c.status, r.StatusCode, c.target)
		require.Contains(t, body(r), c.want, c.target)
		require.Equal(t, "default-src 'self'", r.Header.Get("Content-Security-Policy"))
		require.NotEmpty(t, r.Header.Get("X-Request-ID"))
	}

	// Commented lines show the defaults, and no key of the sections is missing.
	whole, err := Parse("example", commented.ReplaceAll(text, []byte("$1")), nil)
	require.NoError(t, err)
	asIs, err := Parse("example", text, nil)
	require.NoError(t, err)
	asIs.Server.Loops, asIs.Limits.ConnMax, asIs.Limits.DialMax = whole.Server.Loops, whole.Limits.ConnMax, whole.Limits.DialMax // no defaults but the machine's
	asIs.Admin.Token, asIs.AccessLog.Fields = whole.Admin.Token, whole.AccessLog.Fields
	asIs.Server.TrustedProxies, asIs.Tracing.Endpoint, asIs.Tracing.Headers = whole.Server.TrustedProxies, whole.Tracing.Endpoint, whole.Tracing.Headers
	asIs.ACME.EAB, asIs.ACME.Fallback, asIs.ACME.Redis, asIs.ACME.OnDemand = whole.ACME.EAB, whole.ACME.Fallback, whole.ACME.Redis, whole.ACME.OnDemand
	asIs.ACME.Domains = whole.ACME.Domains
	whole.source, asIs.source = nil, whole.source
	lines := asIs.source.keys
	asIs.source = nil
	require.Equal(t, asIs, whole)
	for _, section := range keys(reflect.TypeFor[Config]()) {
		if section.field.Type.Kind() != reflect.Struct || section.name == "middleware" {
			continue
		}
		for _, k := range keys(section.field.Type) {
			require.Contains(t, lines, path{section.name, k.name}.id(), "the example shows every key")
		}
	}
}
