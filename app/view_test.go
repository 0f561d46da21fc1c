package app

import (
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app/internal/poison"
	"tafe/loop/reactor"
)

// accessors call every method of a Context that returns text, with the name of the method; views has those that return views.
// TestEveryTextIsTested compares them with the methods.
func accessors(c *Context) map[string]string {
	header, headers := "", ""
	for name, value := range c.Headers() {
		if name == "x-a" || name == "X-A" {
			header = name
		}
		headers += value
	}
	all, cookie, cookies := "", "", ""
	for v := range c.QueryAll("q") {
		all = v
	}
	for name, value := range c.Cookies() {
		cookie, cookies = name, value
	}
	return map[string]string{
		"Method": c.Method(), "RawTarget": c.RawTarget(), "RawQuery": c.RawQuery(), "Query": c.Query("q"), "Query, decoded": c.Query("r"), "QueryAll": all,
		"Header": c.Header("X-A"), "HeaderList": c.HeaderList("X-A"), "Headers: name": header, "Headers: values": headers,
		"Host": c.Host(), "RemoteAddr": c.RemoteAddr(), "ClientIP": c.ClientIP(), "Scheme": c.Scheme(), "Proto": c.Proto(),
		"RequestID": c.RequestID(), "Route": c.Route(), "RouteName": c.RouteName(), "Site": c.Site(), "LastEventID": LastEventID(c),
		"Path": c.Path(), "RawPath": c.RawPath(), "CanonicalPath": c.CanonicalPath(), "EncodedPath": c.EncodedPath(),
		"Param": c.Param("id"), "EncodedParam": c.EncodedParam("id"), "Capture": c.Capture(1), "EncodedCapture": c.EncodedCapture(1),
		"ResponseHeader": c.ResponseHeader("X-Out"), "ResponseHeaderList": c.ResponseHeaderList("X-Out"), "Upgrade": c.Upgrade(),
		"Cookie": c.Cookie("k"), "Cookies: name": cookie, "Cookies: value": cookies, "Form": c.Form("f"), "Upstream": c.Upstream(),
	}
}

func views(c *Context) map[string]string {
	name, value := "", ""
	for name, value = range c.HeadersView() {
		if strings.EqualFold(name, "X-A") {
			break
		}
	}
	return map[string]string{
		"HeaderView": c.HeaderView("X-A"), "HeaderListView": c.HeaderListView("X-A"), "HeadersView: name": name, "HeadersView: value": value,
		"HostView": c.HostView(), "PathView": c.PathView(), "RawPathView": c.RawPathView(), "RawQueryView": c.RawQueryView(),
		"RawTargetView": c.RawTargetView(), "RequestIDView": c.RequestIDView(), "QueryView": c.QueryView("q"), "ParamView": c.ParamView("id"),
		"EncodedParamView": c.EncodedParamView("id"), "CaptureView": c.CaptureView(1), "EncodedCaptureView": c.EncodedCaptureView(1),
		"EncodedPathView": c.EncodedPathView(), "ResponseHeaderView": c.ResponseHeaderView("X-Out"),
		"ResponseHeaderListView": c.ResponseHeaderListView("X-Out"), "ClientIPView": c.ClientIPView(),
		"CookieView": c.CookieView("k"),
	}
}

// keptCases send the same request to a handler in different ways. The second, of the same size, is sent on the same connection.
var keptCases = []struct {
	why           string
	first, second string
	h2            bool
}{
	{"the request stays in the input", "GET /u/one?q=1st&r=%31st HTTP/1.1\r\nHost: first\r\nX-A: aaaa\r\nCookie: k=aa\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
		"GET /u/two?q=2nd&r=%32nd HTTP/1.1\r\nHost: other\r\nX-A: bbbb\r\nCookie: k=bb\r\nX-Forwarded-For: 192.0.2.8\r\n\r\n", false},
	{"a path that is decoded", "GET /u/%6fne?q=1st&r=%31st HTTP/1.1\r\nHost: first\r\nX-A: aaaa\r\nCookie: k=aa\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
		"GET /u/%74wo?q=2nd&r=%32nd HTTP/1.1\r\nHost: other\r\nX-A: bbbb\r\nCookie: k=bb\r\nX-Forwarded-For: 192.0.2.8\r\n\r\n", false},
	{"an upgrade", "GET /u/one?q=1st HTTP/1.1\r\nHost: first\r\nX-A: aaaa\r\nConnection: upgrade\r\nUpgrade: foo1\r\n\r\n",
		"GET /u/two?q=2nd HTTP/1.1\r\nHost: other\r\nX-A: bbbb\r\nConnection: upgrade\r\nUpgrade: bar2\r\n\r\n", false},
	{"an unusual method", "BREW /u/one?q=1st HTTP/1.1\r\nHost: first\r\nX-A: aaaa\r\n\r\n", "BOIL /u/two?q=2nd HTTP/1.1\r\nHost: other\r\nX-A: bbbb\r\n\r\n", false},
	{"a body that arrives later: the head is copied", "POST /u/one?q=1st HTTP/1.1\r\nHost: first\r\nX-A: aaaa\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\n|f=1",
		"POST /u/two?q=2nd HTTP/1.1\r\nHost: other\r\nX-A: bbbb\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\n|f=2", false},
	{"two headers that are joined", "GET /u/one HTTP/1.1\r\nHost: first\r\nX-A: aaaa\r\nX-A: aa\r\n\r\n", "GET /u/two HTTP/1.1\r\nHost: other\r\nX-A: bbbb\r\nX-A: bb\r\n\r\n", false},
	{"HTTP/2", "\x82\x86\x41\x05first\x04\x0c/u/one?q=1st\x00\x03x-a\x04aaaa", "\x82\x86\x41\x05other\x04\x0c/u/two?q=2nd\x00\x03x-a\x04bbbb", true},
}

// sendTwice has f see two requests of one connection.
func sendTwice(t *testing.T, first, second string, h2 bool, f func(c *Context)) {
	a := New(Options{Log: quiet, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/30")}})
	a.Handle("", "/u/{id}", func(c *Context) error {
		c.SetHeader("X-Out", c.ParamView("id")+"-out")
		if _, err := c.Body(); err != nil {
			return err
		}
		f(c)
		return c.NoContent(204)
	}, When(Match{Path: regexp.MustCompile("^/u/(.*)$")}))
	r := newRig(t, a, reactor.Limits{})
	if !h2 {
		p := r.dial()
		for _, request := range []string{first, second} {
			for part := range strings.SplitSeq(request, "|") {
				p.send(part)
			}
		}
		return
	}
	p := r.dialAs(&Listener{H2C: true})
	p.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00")
	for i, section := range []string{first, second} {
		p.send(string([]byte{0, 0, byte(len(section)), 1, 5, 0, 0, 0, byte(2*i + 1)}) + section)
	}
}

// The strings of a Context may be kept: in a slice of the handler, a map, a cache, by a goroutine.
func TestStringsMayBeKept(t *testing.T) {
	for _, c := range keptCases {
		var kept, copies []map[string]string
		sendTwice(t, c.first, c.second, c.h2, func(x *Context) {
			got := accessors(x)
			kept = append(kept, got)
			cloned := map[string]string{}
			for name, s := range got {
				cloned[name] = strings.Clone(s)
			}
			copies = append(copies, cloned)
		})
		require.Len(t, kept, 2, c.why)
		require.Equal(t, copies, kept, c.why)
		require.Equal(t, "one", kept[0]["Param"], c.why)
		require.Equal(t, "one-out", kept[0]["ResponseHeader"], c.why)
		require.Equal(t, "two", kept[1]["Capture"], c.why)
		if strings.Contains(c.first, "Cookie") {
			require.Equal(t, "aa", kept[0]["Cookie"], c.why)
		}
		if strings.Contains(c.first, "f=1") {
			require.Equal(t, "1", kept[0]["Form"], c.why)
		}
	}
}

// A method of Context that returns text must be in accessors, or in views if its name ends with View.
func TestEveryTextIsTested(t *testing.T) {
	tested := map[string]bool{}
	sendTwice(t, keptCases[0].first, keptCases[0].second, false, func(c *Context) {
		for _, called := range []map[string]string{accessors(c), views(c)} {
			for what := range called {
				tested[strings.FieldsFunc(what, func(r rune) bool { return r == ':' || r == ',' })[0]] = true
			}
		}
	})
	of := reflect.TypeFor[*Context]()
	for i := range of.NumMethod() {
		m := of.Method(i)
		if m.Type.NumOut() == 1 && isText(m.Type.Out(0)) {
			require.True(t, tested[m.Name], "accessors or views: call %s", m.Name)
		}
	}
}

// isText reports whether t is a string, strings in a slice or a map, or an iterator that yields strings.
func isText(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String:
		return true
	case reflect.Slice, reflect.Map:
		return isText(t.Elem())
	case reflect.Func:
		if t.NumIn() != 1 || t.In(0).Kind() != reflect.Func {
			return false
		}
		for i := range t.In(0).NumIn() {
			if isText(t.In(0).In(i)) {
				return true
			}
		}
	}
	return false
}

// With poison.views=on, a view that is kept shows itself: its memory is overwritten when the handler has returned.
func TestKeptViewsArePoisoned(t *testing.T) {
	if !poison.On() {
		t.Skip("make handoff runs it: -ldflags '-X tafe/app/internal/poison.views=on'")
	}
	for _, c := range keptCases {
		var kept []map[string]string
		sendTwice(t, c.first, c.second, c.h2, func(x *Context) { kept = append(kept, views(x)) })
		require.Len(t, kept, 2, c.why)
		for _, name := range slices.Sorted(maps.Keys(kept[1])) {
			if name == "ClientIPView" && !strings.Contains(c.first, "X-Forwarded-For") || name == "HeaderListView" && strings.Count(c.first, "X-A") > 1 {
				continue // not a view, but the connection's own or a joined one
			}
			for _, s := range []string{kept[0][name], kept[1][name]} {
				require.Empty(t, strings.ReplaceAll(s, string([]byte{poison.Byte}), ""), "%s: %s", c.why, name)
			}
		}
	}
}

// BenchmarkStrings is a request whose handler reads a parameter, a header and a query value, as copies and as views.
func BenchmarkStrings(b *testing.B) {
	a := New(Options{Log: quiet})
	a.Get("/copies/{id}", func(c *Context) error { return c.String(200, c.Param("id")+c.Header("Accept")+c.Query("q")) })
	a.Get("/views/{id}", func(c *Context) error {
		return c.String(200, c.ParamView("id")+c.HeaderView("Accept")+c.QueryView("q"))
	})
	for _, kind := range []string{"copies", "views"} {
		b.Run(kind, func(b *testing.B) {
			p := newRig(b, a, reactor.Limits{}).dial()
			request := []byte("GET /" + kind + "/4711?q=abc HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: text/html\r\n\r\n")
			b.ReportAllocs()
			for b.Loop() {
				p.got = p.got[:0]
				p.deliver(request)
			}
		})
	}
}
