package config

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mistake with a variable is told in the notation of its place, with what has a value there.
func TestVariableMistakes(t *testing.T) {
	redirect := func(to, more string) string {
		return "[[route]]\npath = \"/{id}\"\n" + more + "redirect.to = \"" + to + "\"\n"
	}
	fields := func(name string) string { return "[access_log]\nfields = [\"" + name + "\"]\n" + minimal }
	const request = "there are id, host, hostport, host.N, port, scheme, method, uri, path, path.NAME, query, query.NAME, header.NAME, cookie.NAME, protocol, client_ip, remote, request_id, route, site, server_name, tls_version, time"
	for _, c := range []struct{ text, want, why string }{
		{redirect("/{foo}", ""), "f.toml:3:17: route.redirect.to: there is no variable {foo}; the text {foo} itself is written {{foo}; " + request, "none that has no value before the response"},
		{redirect("/{foo}", "match = { path = \"x\" }\n"), "path, path.N, path.NAME, query", "a group without a name"},
		{redirect("/{statsu}", ""), request, "status would have no value"},
		{redirect("/{hedaer.X}", ""), "did you mean {header.X}?", "a family"},
		{redirect("/{header.}", ""), "route.redirect.to: there is no variable {header.}: want {header.NAME}", "half a name"},
		{redirect("/{host.}", ""), "there is no variable {host.}: want {host.N}", "a number"},
		{redirect("/{path.2}", "match = { path = \"(x)\" }\n"), "match.path has 1 group", "one group"},
		{redirect("/{path.3}", "match = { path = \"(x)(y)\" }\n"), "match.path has 2 groups", "two"},
		{"[[route]]\npath = \"/x/{path...}\"\nredirect.to = \"{path}\"\n", `f.toml:3:10: route.redirect.to = "{path}": {path} is the parameter of the route here`, "/x/https://b.example would lead there"},
		{"[[route]]\npath = \"/x/{uri}\"\nredirect.to = \"{uri}\"\n", `{uri} is the parameter of the route here`, "the same"},
		{"[[route]]\npath = \"/{scheme}/x\"\nredirect.to = \"{scheme}://a.example/\"\n", `{scheme} is the parameter of the route here`, "the client would choose the scheme"},
		{"[[route]]\npath = \"/x/{path...}\"\nrewrite = \"{path}\"\nstatic = { dir = \".\" }\n", `route.rewrite = "{path}": {path} is the parameter of the route here`, "no path for a server"},
		{fields("upstrem"), `f.toml:2:12: access_log.fields = "upstrem": there is no variable upstrem; did you mean upstream?`, "without braces"},
		{fields("{upstream}"), `access_log.fields = "{upstream}": a field is written without braces: "upstream"`, "with them"},
		{fields("header."), `access_log.fields = "header.": there is no variable header.: want header.NAME`, "half a name"},
		{fields("up stream"), `access_log.fields = "up stream": "up stream" is not the name of a variable`, "two words"},
		{fields("foo"), "response.NAME, duration_ms, queue_ms, slice_ms, backend_ms, bytes, reason", "all of them at the end"},
	} {
		_, err := build(c.text)
		require.ErrorContains(t, err, c.want, c.why)
		require.NotContains(t, err.Error(), "\n", c.why)
	}
	_, err := build(redirect("/{foo}", ""))
	require.NotContains(t, err.Error(), "status", "not in the list")
}

// An error page is a file of a known type. A variable without a value there is an error; a name that is no variable is text, with a warning.
func TestErrorPageMistakes(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) { require.NoError(t, os.WriteFile(name, []byte(text), 0o600)) }
	write("error.py", "")
	write("error", "")
	write("page.HTML", "<p>{status}")
	write("page.txt", "{status}\n and {reason}")
	write("page.json", `{"a": {foo}, "b": "{hots}"}`)
	write("both.html", "{bytes}{foo}")
	for _, c := range []struct {
		page           string
		want, warnings []string
		why            string
	}{
		{"page.HTML", nil, nil, "a type in any case"},
		{"error.py", []string{`1:17: error_pages.404 = "error.py": want a file with one of the extensions .html, .json, .txt`}, nil, "a type that no browser shows"},
		{"error", []string{`want a file with one of the extensions`}, nil, "no type"},
		{"no.html", []string{"1:17: error_pages.404: no.html: no such file or directory"}, nil, "no file"},
		{"page.txt", []string{"1:17: error_pages.404: page.txt:2:6: {reason} has no value here: it is known after the response, in the access log"}, nil, "once"},
		{"page.json", nil, []string{"error_pages.404: page.json:1:7: there is no variable {foo}", "page.json:1:20: there is no variable {hots}; the text {hots} itself is written {{hots}; did you mean {host}?"}, "braces of others"},
		{"both.html", []string{"both.html:1:1: {bytes} has no value"}, []string{"both.html:1:8: there is no variable {foo}"}, "one of each"},
	} {
		write("f.toml", "error_pages = { 404 = \""+c.page+"\" }\n"+minimal)
		_, problems, warnings, err := Check("f.toml", nil)
		require.NoError(t, err)
		require.Len(t, problems, len(c.want), "%s: %s", c.why, problems)
		require.Len(t, warnings, len(c.warnings), "%s: %s", c.why, warnings)
		for i, want := range c.want {
			require.Contains(t, problems[i].Error(), want, c.why)
		}
		for i, want := range c.warnings {
			require.Contains(t, warnings[i].Error(), want, c.why)
		}
	}
}
