package middleware

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/app/client"
)

// authServer is an authorization server. It tells what it was asked, and answers as the query or the cookie of the request wants.
type authServer struct {
	*httptest.Server
	asked  atomic.Int64
	header atomic.Pointer[http.Header]
}

func startAuthServer(t *testing.T) *authServer {
	g := &authServer{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.asked.Add(1)
		header := r.Header.Clone()
		header.Set("Host", r.Host)
		header.Set("Method", r.Method)
		g.header.Store(&header)
		switch r.Header.Get("Cookie") {
		case "s=alice":
			w.Header().Set("Remote-User", "alice")
			w.Header().Add("Remote-Group", "a")
			w.Header().Add("Remote-Group", "b")
		case "s=renewed":
			w.Header().Set("Set-Cookie", "s=alice")
		case "s=unstored":
			w.Header().Set("Cache-Control", "private, no-store")
		case "s=broken":
			w.WriteHeader(500)
		case "s=odd":
			w.WriteHeader(600)
		case "s=banned":
			w.Header().Set("Cache-Control", "max-age=5")
			w.Header().Set("X-Secret", "internal")
			w.WriteHeader(403)
			_, _ = io.WriteString(w, "banned")
		case "s=lost":
			panic(http.ErrAbortHandler)
		case "s=slow":
			<-r.Context().Done()
		default:
			w.Header().Set("Location", "https://login.example/?to="+r.Header.Get("X-Forwarded-Uri"))
			w.Header().Set("Set-Cookie", "state=1")
			w.WriteHeader(302)
		}
	}))
	g.Config.ErrorLog = nil
	t.Cleanup(g.Close)
	return g
}

// guardedApp answers requests that an authServer admits with the headers that the handler sees.
func guardedApp(t *testing.T, o ForwardAuthOptions) string {
	c := client.New(client.Options{})
	t.Cleanup(c.Close)
	if o.Sender == nil {
		o.Sender = c
	}
	a := app.New(app.Options{Log: quiet})
	a.Use(ForwardAuth(o))
	a.Handle("", "/{path...}", func(c *app.Context) error {
		var seen []string
		for name, value := range c.Headers() {
			if strings.Contains(strings.ToLower(name), "remote") {
				seen = append(seen, name+"="+value)
			}
		}
		slices.Sort(seen)
		return c.String(200, strings.Join(seen, " "))
	})
	return serve(t, a)
}

func TestForwardAuth(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t)
	addr := guardedApp(t, ForwardAuthOptions{URL: g.URL + "/verify", CopyHeaders: []string{"Remote-User", "Remote-Group"}, AnswerHeaders: []string{"Set-Cookie"}, Timeout: 200 * time.Millisecond})
	const forged = "\nRemote-User: root\nremote_user: root\nREMOTE-GROUP: wheel"
	for _, c := range []struct {
		why, head, want string
		header          map[string]string // of the answer
	}{
		{"admitted: the headers of the answer, not those of the client", "Cookie: s=alice" + forged, "200 Remote-Group=a Remote-Group=b Remote-User=alice", nil},
		{"admitted without headers: those of the client are removed all the same", "Cookie: s=renewed" + forged, "200 ", map[string]string{"Set-Cookie": "s=alice"}},
		{"a redirect to the login page", "", "302 ", map[string]string{"Location": "https://login.example/?to=/a/b?q=1", "Set-Cookie": "state=1", "Cache-Control": "no-store"}},
		{"refused, with its body and its cache rule, and without other headers", "Cookie: s=banned", "403 banned", map[string]string{"Cache-Control": "max-age=5", "X-Secret": ""}},
		{"an error of the server does not admit", "Cookie: s=broken", "503", nil},
		{"nor does a status without a meaning", "Cookie: s=odd", "503", nil},
		{"nor a lost connection", "Cookie: s=lost", "503", nil},
		{"nor a late answer", "Cookie: s=slow", "503", nil},
	} {
		resp, body := ask(t, addr, "GET /x/../a/%62?q=1\n"+c.head)
		got := fmt.Sprintf("%d %s", resp.StatusCode, body)
		if c.want == "503" {
			require.Contains(t, got, "503 access cannot be checked", c.why)
		} else {
			require.Equal(t, c.want, got, c.why)
		}
		for name, value := range c.header {
			require.Equal(t, value, resp.Header.Get(name), c.why)
		}
	}
}

func TestWhatTheAuthServerSees(t *testing.T) {
	t.Parallel()
	const head = "POST /x/../a/%62%2Fc?q=%20\nCookie: s=alice\nAuthorization: Bearer t\nX-Mine: 1\nRemote-User: root\n" +
		"X-Forwarded-Uri: /public\nX_Forwarded_Method: GET\nX-Forwarded-For: 192.0.2.1\nIf-None-Match: *\nRange: bytes=0-1\nContent-Type: text/plain\nContent-Length: 3\n\nabc"
	for _, c := range []struct {
		why  string
		o    ForwardAuthOptions
		want map[string]string
	}{
		{"all headers but those of connection, body and conditions; its own about the request", ForwardAuthOptions{}, map[string]string{
			"Method": "GET", "Cookie": "s=alice", "Authorization": "Bearer t", "X-Mine": "1", "Remote-User": "", "If-None-Match": "", "Range": "", "Content-Type": "",
			"Content-Length": "", "X-Forwarded-Method": "POST", "X-Forwarded-Uri": "/a/b%2Fc?q=%20", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "example",
			"X-Forwarded-For": "127.0.0.1", "X_forwarded_method": ""}},
		{"the listed ones", ForwardAuthOptions{SendHeaders: []string{"Cookie"}}, map[string]string{"Cookie": "s=alice", "Authorization": "", "X-Mine": "", "X-Forwarded-Uri": "/a/b%2Fc?q=%20"}},
		{"not the request", ForwardAuthOptions{HideURI: true}, map[string]string{"X-Forwarded-Method": "", "X-Forwarded-Uri": "", "X-Forwarded-Host": "example"}},
	} {
		g := startAuthServer(t)
		c.o.URL, c.o.CopyHeaders = g.URL, []string{"Remote-User"}
		resp, _ := ask(t, guardedApp(t, c.o), head)
		require.Equal(t, 200, resp.StatusCode, c.why)
		for name, value := range c.want {
			require.Equal(t, value, g.header.Load().Get(name), "%s: %s", c.why, name)
		}
		require.Equal(t, strings.TrimPrefix(g.URL, "http://"), g.header.Load().Get("Host"))
	}
}

func TestForwardAuthCache(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t)
	o := ForwardAuthOptions{URL: g.URL, SendHeaders: []string{"Cookie"}, CopyHeaders: []string{"Remote-User"}, AnswerHeaders: []string{"Set-Cookie"}, CacheTime: time.Hour}
	addr := guardedApp(t, o)
	o.HideURI = true
	hidden := guardedApp(t, o)
	o.CacheTime = time.Nanosecond
	brief := guardedApp(t, o)
	const alice = "GET /a\nCookie: s=alice"
	for _, c := range []struct {
		why, addr, request string
		status             int
		asked              int64 // subrequests
	}{
		{"the first", addr, alice, 200, 1},
		{"the same again", addr, alice, 200, 0},
		{"other headers that the server does not see", addr, "GET /a\nX: y\nCookie: s=alice", 200, 0},
		{"another path", addr, "GET /b\nCookie: s=alice", 200, 1},
		{"another method", addr, "POST /a\nCookie: s=alice", 200, 1},
		{"another user", addr, "GET /a\nCookie: s=banned", 403, 1},
		{"a refusal is not remembered", addr, "GET /a\nCookie: s=banned", 403, 1},
		{"a cookie for the client", addr, "GET /a\nCookie: s=renewed", 200, 1},
		{"it is not repeated for others", addr, "GET /a\nCookie: s=renewed", 200, 1},
		{"no-store", addr, "GET /a\nCookie: s=unstored", 200, 1},
		{"no-store is obeyed", addr, "GET /a\nCookie: s=unstored", 200, 1},
		{"without the URI, one answer", hidden, alice, 200, 1},
		{"is valid for every path", hidden, "GET /b\nCookie: s=alice", 200, 0},
		{"an answer", brief, alice, 200, 1},
		{"that has expired", brief, alice, 200, 1},
	} {
		before := g.asked.Load()
		resp, body := ask(t, c.addr, c.request)
		require.Equal(t, c.status, resp.StatusCode, c.why)
		require.Equal(t, c.asked, g.asked.Load()-before, c.why)
		if strings.Contains(c.request, "alice") {
			require.Equal(t, "Remote-User=alice", body, c.why)
		}
	}
}

func TestForwardAuthPanics(t *testing.T) {
	c := client.New(client.Options{})
	defer c.Close()
	for _, o := range []ForwardAuthOptions{
		{},
		{Sender: c},
		{Sender: c, URL: "/", CopyHeaders: []string{"Content-Length"}},
		{Sender: c, URL: "/", CopyHeaders: []string{"a b"}},
		{Sender: c, URL: "/", SendHeaders: []string{"Host"}},
		{Sender: c, URL: "/", CacheTime: time.Second},
	} {
		require.Panics(t, func() { ForwardAuth(o) }, "%+v", o)
	}
}
