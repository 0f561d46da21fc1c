package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

func TestCookies(t *testing.T) {
	for _, c := range []struct{ why, lines, want string }{
		{"none", "", "a= |"},
		{"one", "Cookie: a=1\r\n", "a=1 |a=1;"},
		{"several in a line", "Cookie: b=2; a=1;c=3\r\n", "a=1 |b=2;a=1;c=3;"},
		{"several lines, as HTTP/2 gateways send them", "Cookie: b=2\r\ncookie: a=1\r\n", "a=1 |b=2;a=1;"},
		{"the first of two with the same name", "Cookie: a=1; a=2\r\n", "a=1 |a=1;a=2;"},
		{"quotes are no part of the value", "Cookie: a=\"1 2\"\r\n", "a=1 2 |a=1 2;"},
		{"a single quote is", "Cookie: a=\"\r\n", "a=\" |a=\";"},
		{"an equals sign in the value", "Cookie: a=b=c\r\n", "a=b=c |a=b=c;"},
		{"names differ by case", "Cookie: A=1\r\n", "a= |A=1;"},
		{"an empty value", "Cookie: a=\r\n", "a= |a=;"},
		{"neither name nor value", "Cookie: ; =1; x\r\n", "a= |"},
	} {
		a := New(Options{Log: quiet})
		a.Get("/", func(x *Context) error {
			got := "a=" + x.Cookie("a") + " |"
			for name, value := range x.Cookies() {
				got += name + "=" + value + ";"
			}
			return x.String(200, got)
		})
		p := newRig(t, a, reactor.Limits{}).dial()
		p.send("GET / HTTP/1.1\r\nHost: a\r\n" + c.lines + "\r\n")
		_, body, _ := strings.Cut(string(p.got), "\r\n\r\n")
		require.Equal(t, c.want, body, c.why)
	}
}

func TestSetCookie(t *testing.T) {
	for _, c := range []struct {
		why    string
		cookie http.Cookie
		want   string // "": refused
	}{
		{"a session cookie", http.Cookie{Name: "a", Value: "1"}, "a=1"},
		{"all attributes", http.Cookie{Name: "a", Value: "1", Path: "/p", Domain: "example.com", MaxAge: 60, Secure: true, HttpOnly: true,
			SameSite: http.SameSiteStrictMode, Partitioned: true, Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)},
			"a=1; Path=/p; Domain=example.com; Expires=Wed, 02 Jan 2030 03:04:05 GMT; Max-Age=60; HttpOnly; Secure; SameSite=Strict; Partitioned"},
		{"a deletion", http.Cookie{Name: "a", MaxAge: -1}, "a=; Max-Age=0"},
		{"a value with a space is quoted", http.Cookie{Name: "a", Value: "1 2"}, `a="1 2"`},
		{"SameSite=None with Secure", http.Cookie{Name: "a", SameSite: http.SameSiteNoneMode, Secure: true}, "a=; Secure; SameSite=None"},
		{"a prefix that holds", http.Cookie{Name: "__Host-a", Path: "/", Secure: true}, "__Host-a=; Path=/; Secure"},
		{"SameSite=None without Secure", http.Cookie{Name: "a", SameSite: http.SameSiteNoneMode}, ""},
		{"Partitioned without Secure", http.Cookie{Name: "a", Partitioned: true}, ""},
		{"__Host- with a domain", http.Cookie{Name: "__Host-a", Path: "/", Secure: true, Domain: "example.com"}, ""},
		{"__Host- with a path, in any case", http.Cookie{Name: "__hosT-a", Path: "/p", Secure: true}, ""},
		{"__Secure- without Secure", http.Cookie{Name: "__Secure-a"}, ""},
		{"no name", http.Cookie{Value: "1"}, ""},
		{"a name that ends the attribute", http.Cookie{Name: "a;b"}, ""},
		{"a value with a line break", http.Cookie{Name: "a", Value: "1\r\nX: y"}, ""},
		{"a path that ends the attribute", http.Cookie{Name: "a", Path: "/;Secure"}, ""},
		{"longer than browsers take", http.Cookie{Name: "a", Value: strings.Repeat("x", 4096)}, ""},
	} {
		a := New(Options{Log: quiet})
		a.Get("/", func(x *Context) error {
			x.SetCookie(&http.Cookie{Name: "other", Value: "o"})
			x.SetCookie(&c.cookie)
			return x.NoContent(204)
		})
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if c.want == "" {
			require.Equal(t, 500, w.Code, c.why)
			continue
		}
		require.Equal(t, []string{"other=o", c.want}, w.Header().Values("Set-Cookie"), c.why)
	}
}

func TestSignedCookies(t *testing.T) {
	key := func(b byte) []byte { return []byte(strings.Repeat(string(rune(b)), 32)) }
	keys := func(of ...[]byte) *CookieKeys {
		k, err := NewCookieKeys(of...)
		require.NoError(t, err)
		return k
	}
	now := time.Unix(1_800_000_000, 0)
	old := keys(key('a'))
	sealed := old.seal("user", "jo.é;", now.Add(time.Minute))
	require.NoError(t, (&http.Cookie{Name: "user", Value: sealed}).Valid())
	for _, c := range []struct {
		why    string
		keys   *CookieKeys
		name   string
		sealed string
		at     time.Duration
		ok     bool
	}{
		{"as it was made", old, "user", sealed, 0, true},
		{"until its end", old, "user", sealed, 59 * time.Second, true},
		{"at its end", old, "user", sealed, time.Minute, false},
		{"a new key is in use", keys(key('b'), key('a')), "user", sealed, 0, true},
		{"the old key is gone", keys(key('b')), "user", sealed, 0, false},
		{"under another name", old, "admin", sealed, 0, false},
		{"a part of the name in the value", old, "use", "r" + sealed, 0, false},
		{"another value", old, "user", "X" + sealed[1:], 0, false},
		{"a later end", old, "user", strings.Replace(sealed, ".18", ".19", 1), 0, false},
		{"another signature", old, "user", sealed[:len(sealed)-2] + "zz", 0, false},
		{"the same signature in another spelling", old, "user", sealed + "=", 0, false},
		{"no signature", old, "user", sealed[:strings.LastIndexByte(sealed, '.')], 0, false},
		{"no dots", old, "user", "jo", 0, false},
		{"nothing", old, "user", "", 0, false},
	} {
		value, ok := c.keys.open(c.name, c.sealed, now.Add(c.at))
		require.Equal(t, c.ok, ok, c.why)
		if ok {
			require.Equal(t, "jo.é;", value, c.why)
		}
	}
	_, err := NewCookieKeys()
	require.ErrorContains(t, err, "there is none")
	_, err = NewCookieKeys(key('a'), []byte("short"))
	require.ErrorContains(t, err, "key 2 has 5 bytes: want 32 or more")
}

// A cookie of another host of the domain does not hide the signed one.
func TestSignedCookieBehindAnother(t *testing.T) {
	k, err := NewCookieKeys([]byte(strings.Repeat("k", 32)))
	require.NoError(t, err)
	a := New(Options{Log: quiet})
	a.Get("/in", func(c *Context) error {
		k.Set(c, &http.Cookie{Name: "user", Value: "jo", Path: "/", HttpOnly: true}, time.Hour)
		return c.NoContent(204)
	})
	a.Get("/who", func(c *Context) error {
		user, ok := k.Get(c, "user")
		if !ok {
			return Error(401, "")
		}
		return c.String(200, user)
	})
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/in", nil))
	set := w.Result().Cookies()
	require.Len(t, set, 1)
	require.True(t, set[0].HttpOnly)
	for _, c := range []struct {
		why, cookies string
		status       int
	}{
		{"alone", "user=" + set[0].Value, 200},
		{"behind a forged one", "user=jo.99999999999.AAAA; user=" + set[0].Value, 200},
		{"forged", "user=jo.99999999999.AAAA", 401},
		{"none", "a=b", 401},
	} {
		r := httptest.NewRequest("GET", "/who", nil)
		r.Header.Set("Cookie", c.cookies)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		require.Equal(t, c.status, w.Code, c.why)
	}
}
