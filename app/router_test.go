package app

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/httpparse"
)

func none(*Context) error { return nil }

// table builds a router from "METHOD pattern" lines; "ANY" stands for every method.
func table(routes ...string) *router {
	r := &router{}
	for _, line := range routes {
		method, pattern, _ := strings.Cut(line, " ")
		if method == "ANY" {
			method = ""
		}
		r.add(method, pattern, none, nil)
	}
	return r
}

// lookup runs a raw path through the whole way: clean, find, Param. It returns "pattern name=value ...", "405 allow", "404", or "400 reason".
func lookup(r *router, method, raw string) string {
	path, err := cleanPath(nil, []byte(raw))
	if err != nil {
		return "400 " + err.(*httpparse.Error).Reason
	}
	var p params
	route, allowed := r.find(nil, []byte(method), path, &p)
	switch {
	case route == nil && allowed != "":
		return "405 " + allowed
	case route == nil:
		return "404"
	}
	c := Context{params: p}
	out := route.Pattern
	for _, name := range route.names {
		out += fmt.Sprintf(" %s=%q", name, c.Param(name))
	}
	return out
}

func TestFind(t *testing.T) {
	r := table(
		"GET /", "GET /users", "POST /users", "GET /users/me", "GET /users/{id}", "DELETE /users/{id}",
		"GET /users/{user}/posts", "GET /users/{user}/posts/{post}", "PUT /users/me",
		"GET /files/{rest...}", "GET /files/readme", "ANY /any/{x}", "POST /any/exact", "GET /uses",
		"HEAD /head", "GET /head", "OPTIONS /own", "GET /own", "GET /a b", "GET /slash/", "GET /h\u00e9",
		"GET /deep/{a}/{b}/end", "GET /deep/{a}/fixed/{rest...}", "PROPFIND /dav",
	)
	for _, c := range []struct{ method, path, want, why string }{
		{"GET", "/", "/", "the root"},
		{"GET", "/users", "/users", "static"},
		{"POST", "/users", "/users", "one pattern, two methods"},
		{"GET", "/uses", "/uses", "a static sibling that split a node"},
		{"GET", "/use", "404", "the node that was split off is no route"},
		{"GET", "/userss", "404", "a prefix is no match"},
		{"GET", "/users/", "404", "no redirect, and no empty parameter"},
		{"GET", "/users/me", "/users/me", "static before parameter"},
		{"GET", "/users/men", `/users/{id} id="men"`, "back from a static text that goes on"},
		{"GET", "/users/m", `/users/{id} id="m"`, "back from a static text that is longer"},
		{"GET", "/users/me/posts", `/users/{user}/posts user="me"`, "back from a static segment that leads nowhere"},
		{"GET", "/users/7/posts/8", `/users/{user}/posts/{post} user="7" post="8"`, "two parameters"},
		{"GET", "/users/7/posts/", "404", "an empty parameter at the end"},
		{"GET", "/users//posts", "404", "an empty parameter in the middle"},
		{"DELETE", "/users/me", `/users/{id} id="me"`, "a pattern without the method is passed over"},
		{"PATCH", "/users/me", "405 DELETE, GET, HEAD, OPTIONS, PUT", "both patterns that fit the path count"},
		{"PATCH", "/users", "405 GET, HEAD, OPTIONS, POST", "sorted, with what is answered by itself"},
		{"OPTIONS", "/users", "405 GET, HEAD, OPTIONS, POST", "left to the caller"},
		{"OPTIONS", "/own", "/own", "unless a route answers it"},
		{"HEAD", "/users/9", `/users/{id} id="9"`, "HEAD is served by GET"},
		{"HEAD", "/head", "/head", "or by its own route"},
		{"get", "/users", "405 GET, HEAD, OPTIONS, POST", "methods are case-sensitive (RFC 9110 section 9.1)"},
		{"GET", "/files/", `/files/{rest...} rest=""`, "a catch-all may be empty"},
		{"GET", "/files", "404", "but its slash may not be missing"},
		{"GET", "/files/a/b//c/", `/files/{rest...} rest="a/b//c/"`, "a catch-all keeps slashes"},
		{"GET", "/files/readme", "/files/readme", "static before catch-all"},
		{"GET", "/files/readme/x", `/files/{rest...} rest="readme/x"`, "back from static to catch-all"},
		{"BREW", "/any/pot", `/any/{x} x="pot"`, "every method, known or not"},
		{"POST", "/any/exact", "/any/exact", "the named method on the more specific path"},
		{"GET", "/any/exact", `/any/{x} x="exact"`, "others go to the route for every method"},
		{"GET", "/deep/1/2/end", `/deep/{a}/{b}/end a="1" b="2"`, "parameters side by side"},
		{"GET", "/deep/1/fixed/end", `/deep/{a}/fixed/{rest...} a="1" rest="end"`, "from the left: static before parameter"},
		{"GET", "/deep/1/fixed", "404", "neither way ends here"},
		{"PROPFIND", "/dav", "/dav", "any token is a method"},
		{"GET", "/dav", "405 OPTIONS, PROPFIND", "and is listed"},
		{"GET", "/slash/", "/slash/", "a trailing slash that was registered"},
		{"GET", "/slash", "404", "is not optional"},

		{"GET", "/users%2Fme", "404", "an escaped slash separates nothing"},
		{"GET", "/users/a%2Fb", `/users/{id} id="a/b"`, "it stays inside its segment, and comes out decoded"},
		{"GET", "/users/%6d%65", "/users/me", "other escapes are decoded before matching"},
		{"GET", "/%75sers", "/users", "in static text too"},
		{"GET", "/a%20b", "/a b", "patterns are written decoded"},
		{"GET", "/h%C3%A9", "/h\u00e9", "UTF-8 as well"},
		{"GET", "/users/a+b", `/users/{id} id="a+b"`, "plus is itself in a path"},
		{"GET", "/files/%252e", `/files/{rest...} rest="%2e"`, "decoded once, never twice"},
		{"GET", "/files/../users", "/users", "dot segments are removed before matching"},
		{"GET", "/files/%2e%2E/users", "/users", "escaped dots are dots"},
		{"GET", "/files/./x", `/files/{rest...} rest="x"`, "a single dot goes"},
		{"GET", "/files/x/..", `/files/{rest...} rest=""`, "a last dot segment leaves its slash"},
		{"GET", "/files/...", `/files/{rest...} rest="..."`, "three dots are a name"},
		{"GET", "/../users", "400 path-above-root", "above the root"},
		{"GET", "/files/..%2Fsecret", "400 hidden-dot-segment", "dots beside an escaped slash"},
		{"GET", "/files/x%2F..", "400 hidden-dot-segment", "on either side"},
		{"GET", "/files/x%2F.%2Fy", "400 hidden-dot-segment", "or both"},
		{"GET", "/files/..x%2Fy..", `/files/{rest...} rest="..x%2Fy.."`, "dots in a name are none"},
		{"GET", "/files/%2F%2F", `/files/{rest...} rest="%2F%2F"`, "escaped slashes alone, which separate nothing"},
		{"GET", "/files/a%2fb/c", `/files/{rest...} rest="a%2Fb/c"`, "in small letters too"},
		{"GET", "/files/a%252Fb", `/files/{rest...} rest="a%2Fb"`, "encoded twice: text"},
		{"GET", "/files/a%5Cb;x", `/files/{rest...} rest="a\\b;x"`, "a backslash and a parameter are text"},
		{"GET", "/files/%00", "400 escaped-nul", "NUL never passes"},
		{"GET", "/files/%zz", "400 bad-escape", "a broken escape"},
	} {
		require.Equal(t, c.want, lookup(r, c.method, c.path), "%s %s: %s", c.method, c.path, c.why)
	}
}

func TestAddRefuses(t *testing.T) {
	sixteen := strings.Repeat("/{p}", paramsMax)
	for i := range paramsMax {
		sixteen = strings.Replace(sixteen, "{p}", fmt.Sprintf("{p%d}", i), 1)
	}
	for _, c := range []struct {
		method, pattern string
		h               Handler
		panics          string
		why             string
	}{
		{"GET", "users", none, `pattern "users": must begin with '/'`, "a relative path"},
		{"GET", "", none, "must begin with '/'", "no path"},
		{"GET", "/a//b", none, "empty segment", "almost always a group's prefix put together wrongly"},
		{"GET", "/a/../b", none, "dot segment", "no request has it"},
		{"GET", "/a?b", none, "a query", "the query takes no part"},
		{"GET", "/a#b", none, "a fragment", "nor a fragment"},
		{"GET", "/a%20b", none, "the escape %20; write the decoded character", "patterns are decoded"},
		{"GET", "/100%", none, "", "a lone percent sign is itself"},
		{"GET", "/a\nb", none, "control character", "unprintable"},
		{"GET", "/{}", none, "has no name", "nothing to ask for"},
		{"GET", "/{...}", none, "has no name", "nor here"},
		{"GET", "/{a-b}", none, "letters, digits", "a name as in Go"},
		{"GET", "/{0a}", none, "letters, digits", "that starts with a letter"},
		{"GET", "/{a_0}", none, "", "and goes on with digits"},
		{"GET", "/x{a}", none, "must be a whole segment", "text before"},
		{"GET", "/{a}x", none, "must be a whole segment", "text behind"},
		{"GET", "/{a", none, "must be a whole segment", "not closed"},
		{"GET", "/a}", none, "must be a whole segment", "not opened"},
		{"GET", "/{a}{b}", none, "must be a whole segment", "two in one"},
		{"GET", "/{a}/{a}", none, "names {a} twice", "ambiguous"},
		{"GET", "/{a...}/b", none, "must come last", "nothing is left for b"},
		{"GET", sixteen, none, "", "the array of values is full"},
		{"GET", sixteen + "/{q}", none, "more than 16 parameters", "and runs over"},
		{"G T", "/x", none, `"G T" is not a method`, "no request can have it"},
		{"CONNECT", "/x", none, "CONNECT requests have no path", "authority form (RFC 9112 section 3.2.3)"},
		{"GET", "/x", nil, "handler is nil", "would panic per request"},
		{"GET", "/taken", none, `"/taken" conflicts with "/taken": both match GET`, "twice"},
		{"POST", "/taken", none, "", "another method"},
		{"GET", "/v/{other}", none, `"/v/{other}" conflicts with "/v/{name}"`, "the name of a parameter tells nothing apart"},
		{"GET", "/v/{other}/more", none, "", "a longer pattern may name it otherwise"},
		{"GET", "/v/{other...}", none, "", "a catch-all is less specific, not equal"},
		{"", "/taken", none, "", "every method beside one"},
		{"", "/all", none, `both match every method`, "every method twice"},
	} {
		r := table("GET /taken", "GET /v/{name}", "ANY /all")
		add := func() { r.add(c.method, c.pattern, c.h, nil) }
		if c.panics == "" {
			require.NotPanics(t, add, "%s: %s", c.pattern, c.why)
			continue
		}
		require.Contains(t, panicText(add), c.panics, "%s: %s", c.pattern, c.why)
	}
}

func panicText(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return "no panic"
}

func TestParamsReset(t *testing.T) {
	r := table("GET /{a}/{b}")
	var p params
	route, _ := r.find(nil, []byte("GET"), []byte("/1/2"), &p)
	require.NotNil(t, route)
	require.Equal(t, "2", string(p.get("b")))
	require.Nil(t, p.get("c"), "a name the pattern does not have")
	p.reset()
	requireNoView(t, &p)
}

func TestParamsAfterBacktracking(t *testing.T) {
	r := table("GET /{a}/{b}/x", "GET /{rest...}")
	var p params
	route, _ := r.find(nil, []byte("GET"), []byte("/1/2/y"), &p)
	require.Equal(t, "/{rest...}", route.Pattern)
	require.Len(t, p.values, 1)
	p.reset()
	requireNoView(t, &p)
}

func TestAllowOfTheServer(t *testing.T) {
	require.Equal(t, "DELETE, GET, HEAD, OPTIONS, PUT", table("PUT /a", "GET /b", "DELETE /a").allow)
	require.Equal(t, "OPTIONS", table("ANY /a").allow)
	require.Empty(t, table().allow, "a server without routes")
}

func TestFindAllocatesNothing(t *testing.T) {
	r := twoHundred()
	var p params
	scratch, shown := make([]byte, 0, 256), make([]byte, 0, 256)
	for _, c := range []struct{ method, path, why string }{
		{"GET", "/api/v1/service7/status", "static"},
		{"HEAD", "/api/v1/service7/status", "HEAD"},
		{"GET", "/api/v1/service7/items/42/parts/99", "parameters"},
		{"GET", "/assets7/css/site.css", "catch-all"},
		{"GET", "/nowhere", "404"},
		{"POST", "/api/v1/service7/status", "405 of one pattern"},
		{"GET", "/assets7/a%2Fb/../c", "a path that has to be rewritten"},
	} {
		method, raw := []byte(c.method), []byte(c.path)
		n := testing.AllocsPerRun(100, func() {
			path, err := cleanPath(scratch, raw)
			if err != nil {
				panic(err)
			}
			r.find(nil, method, path, &p)
			shown = appendShown(shown[:0], path)
			p.reset()
		})
		require.Zero(t, n, "%s: %s", c.path, c.why)
	}
}

// twoHundred is a table of the size of an edge server's: 200 routes in 25 services.
func twoHundred() *router {
	r := &router{}
	for i := range 25 {
		base := fmt.Sprintf("/api/v1/service%d", i)
		for _, line := range []string{"GET /status", "GET /items", "POST /items", "GET /items/{item}",
			"DELETE /items/{item}", "GET /items/{item}/parts", "GET /items/{item}/parts/{part}"} {
			method, pattern, _ := strings.Cut(line, " ")
			r.add(method, base+pattern, none, nil)
		}
		r.add("GET", fmt.Sprintf("/assets%d/{file...}", i), none, nil)
	}
	return r
}

func BenchmarkFind(b *testing.B) {
	r := twoHundred()
	for _, c := range []struct{ name, path string }{
		{"static", "/api/v1/service17/status"},
		{"param", "/api/v1/service17/items/12345"},
		{"params", "/api/v1/service17/items/12345/parts/678"},
		{"catchall", "/assets17/css/site.css"},
		{"miss", "/api/v1/service17/nothing"},
	} {
		b.Run(c.name, func(b *testing.B) {
			method, path := []byte("GET"), []byte(c.path)
			var p params
			b.ReportAllocs()
			for b.Loop() {
				r.find(nil, method, path, &p)
			}
		})
	}
}

func BenchmarkCleanPath(b *testing.B) {
	scratch := make([]byte, 0, 256)
	for _, c := range []struct{ name, path string }{
		{"plain", "/api/v1/service17/items/12345"},
		{"escaped", "/api/v1/service17/items/a%20b%2Fc"},
		{"dots", "/api/v1/../v2/./items/12345"},
	} {
		b.Run(c.name, func(b *testing.B) {
			raw := []byte(c.path)
			b.ReportAllocs()
			for b.Loop() {
				cleanPath(scratch, raw)
			}
		})
	}
}

// matchNaively answers find's question the slow way: try every route, keep those that fit, rank them.
func matchNaively(routes []*Route, method, path string) (pattern, values string, allowed bool) {
	var best *Route
	var bestRank string
	for _, route := range routes {
		rank, captured, ok := fit(strings.Split(route.Pattern, "/")[1:], strings.Split(path, "/")[1:])
		if !ok {
			continue
		}
		// A method that only stands in for the asked one loses to the exact one on the same pattern, and only there.
		switch {
		case route.Method == method:
			rank += "a"
		case route.Method == "GET" && method == "HEAD":
			rank += "b"
		case route.Method == "":
			rank += "c"
		default:
			allowed = true
			continue
		}
		if best == nil || rank < bestRank {
			best, bestRank, values = route, rank, captured
		}
	}
	if best == nil {
		return "", "", allowed
	}
	return best.Pattern, values, false
}

// fit ranks each segment: "0" static, "1" parameter, "2" catch-all; the smaller string is the more specific pattern.
func fit(pattern, path []string) (rank, values string, ok bool) {
	for i, segment := range pattern {
		switch {
		case i == len(path):
			return "", "", false
		case strings.HasSuffix(segment, "...}"):
			return rank + "2", values + strings.Join(path[i:], "/") + "|", true
		case strings.HasPrefix(segment, "{"):
			if path[i] == "" {
				return "", "", false
			}
			rank, values = rank+"1", values+path[i]+"|"
		case segment == path[i]:
			rank += "0"
		default:
			return "", "", false
		}
	}
	return rank, values, len(pattern) == len(path)
}

// FuzzFind compares the tree with the naive matcher. Routes and requests are lines of the input: "METHOD path" before the empty line
// register, those behind it ask.
func FuzzFind(f *testing.F) {
	f.Add("GET /users/{id}\nPOST /users/me\n\nGET /users/me\nPOST /users/me\nHEAD /users/x")
	f.Add("GET /a/{b}/c\nGET /a/b/{c}\n /a/{r...}\n\nGET /a/b/c\nGET /a/x/c\nPUT /a/b/d/e")
	f.Add("GET /ab\nGET /abc\nGET /a\nGET /abd/{x}\n\nGET /ab\nGET /abd/\nGET /abd/e\nGET /abcd")
	f.Add("GET /{a}/{b}/x\nGET /{a}/y/{c...}\nGET /{r...}\n\nGET /1/y/x\nGET /1//x\nGET //\nHEAD /1/2/x")
	f.Fuzz(func(t *testing.T, input string) {
		registered, asked, _ := strings.Cut(input, "\n\n")
		r := &router{}
		for i, line := range strings.Split(registered, "\n") {
			method, pattern, _ := strings.Cut(line, " ")
			if i < 64 {
				panicText(func() { r.add(method, pattern, none, nil) }) // refused ones are not in r.routes
			}
		}
		for i, line := range strings.Split(asked, "\n") {
			method, path, _ := strings.Cut(line, " ")
			if i == 64 || !strings.HasPrefix(path, "/") || strings.IndexByte(path, 0) >= 0 {
				continue
			}
			pattern, values, wantAllowed := matchNaively(r.routes, method, path)
			var p params
			route, allowed := r.find(nil, []byte(method), []byte(path), &p)
			if route == nil {
				require.Empty(t, pattern, "%q", line)
				require.Equal(t, wantAllowed, allowed != "", "%q: allowed %q", line, allowed)
				require.Empty(t, p.values)
				continue
			}
			require.Equal(t, pattern, route.Pattern, "%q", line)
			require.Equal(t, values, strings.Join(append(captured(&p), ""), "|"), "%q", line)
			require.Len(t, p.values, len(route.names))
		}
	})
}

// requireNoView has nothing of the last request stay, be it beyond the length.
func requireNoView(t *testing.T, p *params) {
	t.Helper()
	require.Empty(t, p.names)
	require.Empty(t, p.values)
	for _, v := range p.values[:cap(p.values)] {
		require.Nil(t, v)
	}
}

func captured(p *params) (values []string) {
	for _, v := range p.values {
		values = append(values, string(v))
	}
	return values
}

// FuzzCleanPath holds what the router and those behind it rely on: no dot segment comes out, in whatever way the slashes are
// read, and what is plain already stays as it is.
func FuzzCleanPath(f *testing.F) {
	for _, seed := range []string{"/", "/a/../b", "/a%2F..%2fb", "/%2e%2e/x", "/a//./b/..", "/%252e%252e%2f", "/..%5c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !strings.HasPrefix(raw, "/") || strings.IndexByte(raw, 0) >= 0 {
			t.Skip("httpparse hands over nothing else")
		}
		scratch := make([]byte, 0, 8)
		path, err := cleanPath(scratch, []byte(raw))
		if err != nil {
			var refusal *httpparse.Error
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, 400, refusal.Status)
			return
		}
		restored := bytes.ReplaceAll(path, []byte{escapedSlash}, []byte("/"))
		require.Equal(t, byte('/'), restored[0])
		require.NotContains(t, string(restored), "\x00")
		for _, segment := range strings.Split(string(restored), "/") {
			require.NotContains(t, []string{".", ".."}, segment, "%q", raw)
		}
		if !strings.Contains(raw, "%") {
			again, err := cleanPath(nil, restored)
			require.NoError(t, err)
			require.Equal(t, string(restored), string(again))
		}
	})
}
