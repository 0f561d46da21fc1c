package variable

import (
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/app"
	"tafe/httpparse"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"))
}

// request describes a request, whose route is /u/{id}/{rest...}.
type request struct {
	target, host string
	header       http.Header
}

var pathForm = regexp.MustCompile(`(?s)^/u/([^/]+)/(?P<tail>.*)$`)

func scope(use Use, phase Phase) Scope {
	return Scope{Use: use, Phase: phase, Params: []string{"id", "rest"}, Path: pathForm}
}

// expand expands texts within a request.
func expand(t testing.TB, r request, texts []*Template, source func(s *Source)) (all []string) {
	t.Helper()
	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler), TrustRequestID: true})
	defer a.Close()
	serve := func(c *app.Context) error {
		c.SetHeader("X-Answer", "forty \"two\"")
		c.Status(404)
		s := Source{Request: c}
		source(&s)
		for _, text := range texts {
			all = append(all, string(text.Append(nil, s)))
		}
		return c.NoContent(204)
	}
	a.Host("www.example.com", "*").Get("/u/{id}/{rest...}", serve, app.When(app.Match{Path: pathForm}), app.Name("users"))
	req := httptest.NewRequest("GET", "http://x"+r.target, nil)
	req.Host, req.Header, req.RemoteAddr = r.host, r.header, "192.0.2.7:1234"
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("X-Request-ID", "id-7")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, req)
	require.Equal(t, 204, w.Code, w.Body)
	return all
}

func template(t testing.TB, text string, use Use, phase Phase) *Template {
	t.Helper()
	parsed, err := Parse(text, scope(use, phase))
	require.NoError(t, err, text)
	return parsed
}

func TestValues(t *testing.T) {
	r := request{
		target: "/u/a%2Fb/c%20d/%7Ee?q=x+y%26z&empty=&q=2&%66lag", host: "WWW.Example.com:8443",
		header: http.Header{"X-Two": {"a", "b, c"}, "Cookie": {`sid="s1"; theme=dark`}, "X-Odd": {`<"&'>`}},
	}
	for _, c := range []struct {
		use       Use
		text      string
		want, why string
	}{
		{Text, "", "", "nothing"},
		{Text, "plain", "plain", "no variable"},
		{Text, "{host} {hostport} {port} {host.1} {host.3} {host.9}", "www.example.com WWW.Example.com:8443 8443 www com ", "the host"},
		{Text, "{scheme} {method} {protocol}", "http GET HTTP/1.1", "the request line"},
		{Text, "{uri}", "/u/a%2Fb/c%20d/%7Ee?q=x+y%26z&empty=&q=2&%66lag", "as sent"},
		{Text, "{path}", "/u/a%2Fb/c d/~e", "decoded"},
		{Text, "{id} {path.id} {rest} {path.rest}", "a/b a/b c d/~e c d/~e", "parameters"},
		{Text, "{path.0} {path.1} {path.2} {path.tail}", "/u/a%2Fb/c d/~e a%2Fb c d/~e c d/~e", "groups"},
		{Text, "{query} {query.q} {query.empty}{query.none} {query.flag}.", "q=x+y%26z&empty=&q=2&%66lag x y&z  .", "the query"},
		{Text, "{header.X-Two} {header.x-two} {header.None}.", "a, b, c a, b, c .", "headers, in any case"},
		{Text, "{cookie.sid} {cookie.theme} {cookie.none}.", "s1 dark .", "cookies"},
		{Text, "{client_ip} {remote} {request_id} {route} {site} {server_name}{tls_version}", "192.0.2.7 192.0.2.7:1234 id-7 users www.example.com ", "the connection"},
		{Text, "{status} {status_text} {response.X-Answer}", `404 Not Found forty "two"`, "the response"},

		{Text, `{"a":{"b":{path.1}}}`, `{"a":{"b":a%2Fb}}`, "braces of JSON"},
		{Text, "a{color:red} {} { } {1} {-x} {host", "a{color:red} {} { } {1} {-x} {host", "braces of others"},
		{Text, "{{host} {{{host}} {{x}}", "{host} {{host}} {x}}", "a variable that is none"},

		{Header, "{query.q}; {id}", "x y&z; a/b", "plain text"},
		{HTML, "<p>{header.X-Odd}</p>", "<p>&lt;&#34;&amp;&#39;&gt;</p>", "HTML"},
		{JSON, `{"a":"{header.X-Odd}"}`, `{"a":"\u003c\"\u0026\u0027\u003e"}`, "JSON"},
		{Log, `"{header.X-Odd}" {header.None} {status}`, `"<\"&'>" - 404`, "a log"},

		{URL, "https://new.example{path}", "https://new.example/u/a%2Fb/c%20d/%7Ee", "the path keeps its encoding"},
		{URL, "https://new.example{uri}", "https://new.example/u/a%2Fb/c%20d/%7Ee?q=x+y%26z&empty=&q=2&%66lag", "path and query"},
		{URL, "{scheme}://{hostport}/{rest}", "http://WWW.Example.com:8443/c%20d/%7Ee", "the same host"},
		{URL, "https://{host.1}.new.example/{id}/x", "https://www.new.example/a%2Fb/x", "a label of the host"},
		{URL, "/new/{path.1}?a={query.q}&{query}", "/new/a%2Fb?a=x+y%26z&q=x+y%26z&empty=&q=2&%66lag", "the query keeps its encoding"},
		{URL, "/login?to={uri}", "/login?to=%2Fu%2Fa%252Fb%2Fc%2520d%2F%257Ee%3Fq%3Dx%2By%2526z%26empty%3D%26q%3D2%26%2566lag", "a URL in a query"},
		{URL, "/{query.q}/{header.X-Odd}", "/x%20y%26z/%3C%22%26%27%3E", "others are one segment"},
		{URL, "/a?p={path}#{rest}", "/a?p=%2Fu%2Fa%252Fb%2Fc%20d%2F~e#c%20d%2F~e", "a path in a query and a fragment"},
		{URL, "/{query.none}{path}", "/u/a%2Fb/c%20d/%7Ee", "a path never begins with two slashes"},
		{URL, "/s/{status}", "/s/404", "a number"},
	} {
		got := expand(t, r, []*Template{template(t, c.text, c.use, Response)}, func(*Source) {})
		require.Equal(t, []string{c.want}, got, "%s: %s", c.text, c.why)
	}
}

func TestValuesAtTheEnd(t *testing.T) {
	e := app.Entry{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Timing: app.Timing{Total: 1500 * time.Microsecond, Queued: time.Millisecond},
		Status: 503, Bytes: 17, Reason: "upstream-dial", Method: "GET", ClientIP: "192.0.2.8", Remote: "192.0.2.9:1", Target: "/\"", Proto: "HTTP/1.1",
	}
	text := template(t, "{time} {status} {status_text} {bytes} {duration_ms} {queue_ms} {reason} {client_ip} {remote} {method} {uri} {protocol} {host}", Log, End)
	want := "2026-01-02T03:04:05.000006Z 503 Service Unavailable 17 1.500 1.000 upstream-dial 192.0.2.8 192.0.2.9:1 GET /\\\" HTTP/1.1 "
	got := expand(t, request{target: "/u/1/", host: "a"}, []*Template{text}, func(s *Source) { s.Entry = &e })
	require.Equal(t, []string{want + "a"}, got)
	require.Equal(t, want+"-", string(text.Append(nil, Source{Entry: &e})), "a request that could not be parsed")

	var fields []Field
	for _, name := range []string{"time", "status", "header.X-None", "duration_ms", "host"} {
		f, err := ParseField(name, scope(JSON, End))
		require.NoError(t, err)
		fields = append(fields, f)
	}
	require.Equal(t, `{"time":"2026-01-02T03:04:05.000006Z","status":503,"duration_ms":1.500}`, string(AppendJSON(nil, fields, Source{Entry: &e})))
	require.Equal(t, `{}`, string(AppendJSON(nil, fields[2:3], Source{Entry: &e})))
	require.Equal(t, `{"status":503}`, string(AppendJSON(nil, []Field{fields[2], fields[1], fields[4]}, Source{Entry: &e})))
}

// {uri} is what the client has sent, also after a rewrite, and in the log.
func TestTargets(t *testing.T) {
	text := template(t, "{uri}", Text, End)
	for _, c := range []struct{ target, want, why string }{
		{"/a?b=c", "/a?b=c", "origin-form"},
		{"http://a.example/a%2Fb?c=d", "/a%2Fb?c=d", "absolute-form"},
		{"HTTPS://a.example:8443/a", "/a", "with a port, in any case"},
		{"http://a.example", "/", "without a path"},
		{"http://a.example?x=/y", "/?x=/y", "a query alone"},
		{"*", "*", "of OPTIONS"},
		{"a.example:443", "a.example:443", "of CONNECT"},
		{"ftp://a.example/a", "ftp://a.example/a", "another scheme"},
		{"", "", "a request that could not be parsed"},
	} {
		require.Equal(t, c.want, string(text.Append(nil, Source{Entry: &app.Entry{Target: c.target}})), c.why)
	}

	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler)})
	defer a.Close()
	var got string
	var before, within time.Time
	a.Get("/{path...}", func(c *app.Context) error {
		if err := c.Sleep(200 * time.Millisecond); err != nil {
			return err
		}
		within = time.Now()
		require.NoError(t, c.Rewrite("/new?x=y"))
		got = string(template(t, "{uri} {time}", Text, Request).Append(nil, Source{Request: c}))
		return c.NoContent(204)
	})
	before = time.Now()
	req := httptest.NewRequest("GET", "http://a.example/old?a=b", nil)
	a.ServeHTTP(httptest.NewRecorder(), req)
	uri, at, _ := strings.Cut(got, " ")
	require.Equal(t, "/old?a=b", uri)
	began, err := time.Parse(timeFormat, at)
	require.NoError(t, err)
	require.WithinRange(t, began, before.Add(-time.Millisecond), within.Add(-100*time.Millisecond), "the start, and not the expansion")
}

func TestErrorPage(t *testing.T) {
	text := template(t, "{status} {status_text}: {message}", HTML, Response)
	for _, c := range []struct {
		e    app.HTTPError
		want string
	}{
		{app.HTTPError{Status: 429}, "429 Too Many Requests: Too Many Requests"},
		{app.HTTPError{Status: 400, Message: "<b>"}, "400 Bad Request: &lt;b&gt;"},
	} {
		require.Equal(t, []string{c.want}, expand(t, request{target: "/u/1/", host: "a"}, []*Template{text}, func(s *Source) { s.Error = &c.e }))
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		use    Use
		phase  Phase
		text   string
		offset int
		want   string
		why    string
	}{
		{Text, Request, "a {hots} b", 2, "there is no variable {hots}; the text {hots} itself is written {{hots}", "a typo"},
		{Text, Request, "{host.x}", 0, "want the number of a label", "not a label"},
		{Text, Request, "{host.0}", 0, "want the number of a label", "labels count from 1"},
		{Text, Request, "{path.3}", 0, "match.path has 2 groups", "no such group"},
		{Text, Request, "{header.}", 0, "there is no variable {header.}: want {header.NAME}", "a header without a name, and not text"},
		{Text, Request, "{path.none}", 0, "no parameter and no group none", "no such group by name"},
		{Text, Request, "{nothing.x}", 0, "there is no variable", "no such family"},
		{Header, Request, "{path} {status}", 7, "it is known when the response begins", "too early"},
		{Header, Response, "{bytes}", 0, "it is known after the response, in the access log", "still too early"},
		{URL, Request, "https://{header.X}/", 8, "stands in the host of a URL", "the client would choose the host"},
		{URL, Request, "https://a.{path.1}/", 10, "stands in the host of a URL", "a part of the host"},
		{URL, Request, "https://a{id}/", 9, "stands in the host of a URL", "a parameter need not begin with a slash"},
		{URL, Request, "{scheme}://{id}/", 11, "stands in the host of a URL", "behind a variable scheme"},
	} {
		_, err := Parse(c.text, scope(c.use, c.phase))
		var e *Error
		require.ErrorAs(t, err, &e, "%s: %s", c.text, c.why)
		require.Equal(t, c.offset, e.Offset, "%s: %s", c.text, c.why)
		require.Contains(t, e.Error(), c.want, "%s: %s", c.text, c.why)
	}
	require.Len(t, Errors("{a} {host} {b}", Scope{}), 2, "all of them")
	_, err := Parse("{path.1}", Scope{})
	require.ErrorContains(t, err, "has no match.path")
	for _, name := range []string{"", "ho st", "{host}", "status}", "hots"} {
		_, err := ParseField(name, scope(JSON, End))
		require.Error(t, err, name)
	}
	_, err = ParseField("bytes", scope(JSON, Response))
	require.ErrorContains(t, err, "it is known after the response")
}

// Texts may be large, such as bodies and error pages: the time of Parse grows with their length, and not with its square.
func TestLargeTexts(t *testing.T) {
	large := strings.Repeat("0123456789abcdef{", 1<<18)
	for use := range Log + 1 {
		text, ok := template(t, large, use, Request).Constant()
		require.True(t, ok)
		require.Equal(t, large, text)
	}
}

func TestConstant(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{{"", "", true}, {"a {{host} b", "a {host} b", true}, {"{host}", "", false}, {"a{host}", "", false}} {
		text, ok := template(t, c.text, Text, Request).Constant()
		require.Equal(t, c.want, text)
		require.Equal(t, c.ok, ok)
	}
	require.True(t, template(t, "{host}{query.x}", Text, Request).Uses("query.x"))
	require.False(t, template(t, "{host}", Text, Request).Uses("query.x"))
}

// Every name of the list can be used, by the families with an example.
func TestNames(t *testing.T) {
	for _, n := range Names() {
		require.NotEmpty(t, n.Says)
		name := strings.NewReplacer(".NAME", ".id", ".N", ".1").Replace(n.Name)
		_, err := Parse("{"+name+"}", scope(Text, End))
		require.NoError(t, err, n.Name)
	}
}

// A value cannot leave its place in the text, and is not expanded again.
func FuzzValues(f *testing.F) {
	f.Add("a\r\nSet-Cookie: x", "%0d%0aX: y", "{host}", "\" onload=x")
	f.Add("../..", "//evil.example", "?a#b&c=d", "\u2028</script>")
	f.Add("{{path}", "{query.q}", "\\x00\x7f", "\xff\xfe")
	const mark = "|"
	texts := map[Use]string{
		Header: "{query.q}" + mark + "{path.2}" + mark + "{cookie.c}", URL: "/a/{query.q}/{path.2}?q={query.q}&p={path}&h={header.X-H}#f",
		HTML: `<p title="{query.q}">{path}{header.X-H}</p>`, JSON: `{"q":"{query.q}","p":"{path}","h":"{header.X-H}"}`, Log: `"{query.q}" "{path}" "{header.X-H}"`,
	}
	f.Fuzz(func(t *testing.T, query, path, cookie, header string) {
		if len(query)+len(path) > 1000 || !httpparse.ValidFieldValue(header) || !httpparse.ValidFieldValue(cookie) || strings.Contains(path, "\x00") {
			t.Skip("not a request")
		}
		r := request{target: "/u/1/x" + url.PathEscape(path) + "?q=" + url.QueryEscape(query), host: "www.example.com", header: http.Header{"X-H": {header}, "Cookie": {"c=" + cookie}}}
		var order []Use
		var templates []*Template
		for use, text := range texts {
			order, templates = append(order, use), append(templates, template(t, text, use, Request))
		}
		got := expand(t, r, templates, func(*Source) {})
		for i, use := range order {
			text := got[i]
			switch use {
			case Header:
				require.True(t, httpparse.ValidFieldValue(text), "%q", text)
			case URL:
				requireURL(t, text, query, path, header)
			case HTML:
				require.Equal(t, 2, strings.Count(text, "<"), "%q", text)
				require.Equal(t, 2, strings.Count(text, `"`), "%q", text)
				require.Contains(t, html.UnescapeString(text), strings.ReplaceAll(query, "\x00", "\uFFFD"))
			case JSON:
				var back struct{ Q, P, H string }
				require.NoError(t, json.Unmarshal([]byte(text), &back), "%q", text)
			case Log:
				require.Equal(t, 6, strings.Count(regexp.MustCompile(`\\.`).ReplaceAllString(text, ""), `"`), "%q", text)
				require.Equal(t, -1, strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }), "%q", text)
			}
		}
	})
}

func requireURL(t *testing.T, text, query, path, header string) {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err, "%q", text)
	require.Empty(t, u.Host, "%q", text)
	require.Equal(t, "f", u.Fragment, "%q", text)
	q, err := url.ParseQuery(u.RawQuery)
	require.NoError(t, err, "%q", text)
	require.Equal(t, url.Values{"q": {query}, "p": {"/u/1/x" + strings.ReplaceAll(path, "/", "%2F")}, "h": {strings.Trim(header, " \t")}}, q, "%q", text)
}

func BenchmarkAppend(b *testing.B) {
	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler)})
	defer a.Close()
	for _, c := range []struct {
		use  Use
		text string
	}{
		{URL, "https://new.example{uri}"}, {Header, "{client_ip} {request_id}"}, {Log, `{client_ip} "{method} {uri} {protocol}" {status} {header.User-Agent}`},
	} {
		text := template(b, c.text, c.use, Response)
		b.Run(fmt.Sprint(c.text), func(b *testing.B) {
			a := app.New(app.Options{Log: slog.New(slog.DiscardHandler)})
			defer a.Close()
			a.Get("/u/{id}", func(c *app.Context) error {
				var dst []byte
				s := Source{Request: c}
				b.ReportAllocs()
				for b.Loop() {
					dst = text.Append(dst[:0], s)
				}
				return nil
			})
			req := httptest.NewRequest("GET", "/u/1?a=b", nil)
			req.Header.Set("User-Agent", "benchmark")
			a.ServeHTTP(httptest.NewRecorder(), req)
		})
	}
}
