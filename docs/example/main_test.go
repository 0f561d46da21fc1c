package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tafe/app"
	"tafe/app/edge"
	"tafe/loop"
	"tafe/loop/looptest"
)

// server is the program with its databases.
type server struct{ url, redis string }

func startServer(t *testing.T) *server {
	s := &server{redis: startRedis(t)}
	for name, value := range map[string]string{
		"DATABASE_URL": startPostgres(t), "REDIS_URL": s.redis, "SESSION_KEY": strings.Repeat("k", 32), "ADA_PASSWORD": "a", "BEN_PASSWORD": "b",
	} {
		t.Setenv(name, value)
	}
	s.url = edge.StartTest(t, "notes.toml", parts()...)
	return s
}

// browser is a client with cookies of its own.
type browser struct {
	t    *testing.T
	url  string
	http http.Client
}

func (s *server) browser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, s.url, http.Client{Jar: jar, Transport: transport}}
}

// do sends a request with JSON, checks the status, and decodes the response into reply unless that is nil.
func (b *browser) do(method, path, body string, status int, reply any) http.Header {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := b.http.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		b.t.Fatalf("%s %s: got %d %q %v, want %d", method, path, response.StatusCode, text, err, status)
	}
	if reply != nil {
		if err := json.Unmarshal(text, reply); err != nil {
			b.t.Fatalf("%s %s: %q: %v", method, path, text, err)
		}
	}
	return response.Header
}

func (b *browser) login(user, password string) {
	b.t.Helper()
	b.do("POST", "/login", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password), 204, nil)
}

// One server for all: its databases take a while to start.
func TestServer(t *testing.T) {
	s := startServer(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *server)
	}{{"notes", testNotes}, {"many requests at once", testManyRequests}, {"events", testEvents}, {"cache", testCache}} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
}

func testNotes(t *testing.T, s *server) {
	ada, ben := s.browser(t), s.browser(t)
	ada.do("GET", "/notes", "", 401, nil)
	ada.do("POST", "/login", `{"user":"ada","password":"b"}`, 401, nil)
	ada.do("POST", "/login", `{"user":"eve","password":""}`, 401, nil)
	ada.login("ada", "a")
	ben.login("ben", "b")

	var all []note
	ada.do("GET", "/notes", "", 200, &all)
	if len(all) != 0 {
		t.Errorf("a new user has notes: %v", all)
	}
	var made, got note
	path := ada.do("POST", "/notes", `{"text":"first"}`, 201, &made).Get("Location")
	if made.Text != "first" || made.Owner != "ada" || path != fmt.Sprintf("/notes/%d", made.ID) {
		t.Errorf("created %v at %s", made, path)
	}
	for _, why := range []string{"from PostgreSQL", "from the cache"} {
		if ada.do("GET", path, "", 200, &got); got.Text != "first" || got.ID != made.ID {
			t.Errorf("%s: %v", why, got)
		}
		ben.do("GET", path, "", 404, nil)
	}
	ben.do("PUT", path, `{"text":"mine"}`, 404, nil)
	ben.do("DELETE", path, "", 404, nil)
	if ada.do("PUT", path, `{"text":"second"}`, 200, &got); got.Text != "second" {
		t.Errorf("replaced: %v", got)
	}
	if ada.do("GET", path, "", 200, &got); got.Text != "second" {
		t.Errorf("an old note is still in the cache: %v", got)
	}
	for body, status := range map[string]int{
		`{"text":""}`: 422, `{"text":"` + strings.Repeat("x", textMax+1) + `"}`: 422, `{"txt":"a"}`: 400, `{`: 400,
		`{"text":"` + strings.Repeat("x", 70_000) + `"}`: 413,
	} {
		ada.do("POST", "/notes", body, status, nil)
	}
	ada.do("GET", "/notes/0", "", 404, nil)
	ada.do("GET", "/notes/x", "", 404, nil)
	ada.do("DELETE", path, "", 204, nil)
	ada.do("GET", path, "", 404, nil)
	ada.do("DELETE", path, "", 404, nil)
	ada.do("POST", "/logout", "", 204, nil)
	ada.do("GET", "/notes", "", 401, nil)
}

// Reads come from Redis, and from PostgreSQL once Redis has ended: this test is the last.
func testCache(t *testing.T, s *server) {
	ada := s.browser(t)
	ada.login("ada", "a")
	var made, got note
	path := ada.do("POST", "/notes", `{"text":"stored"}`, 201, &made).Get("Location")
	ada.do("GET", path, "", 200, nil)
	options, err := redis.ParseURL(s.redis)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	made.Text = "cached"
	text, _ := json.Marshal(made)
	if err := client.Set(t.Context(), cacheKey(made.ID), text, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	if ada.do("GET", path, "", 200, &got); got.Text != "cached" {
		t.Errorf("got %v", got)
	}
	// A server without its cache still serves.
	if err := client.ShutdownNoSave(t.Context()).Err(); err != nil {
		t.Log(err) // Redis closes the connection
	}
	if ada.do("GET", path, "", 200, &got); got.Text != "stored" {
		t.Errorf("without Redis: %v", got)
	}
}

// Two hundred requests at once, many more than the pools have connections.
func testManyRequests(t *testing.T, s *server) {
	ada := s.browser(t)
	ada.login("ada", "a")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			var made, got note
			path := ada.do("POST", "/notes", fmt.Sprintf(`{"text":"note %d"}`, i), 201, &made).Get("Location")
			if ada.do("GET", path, "", 200, &got); got.Text != fmt.Sprintf("note %d", i) {
				t.Errorf("%s: %v", path, got)
			}
			ada.do("DELETE", path, "", 204, nil)
		})
	}
	wg.Wait()
}

func testEvents(t *testing.T, s *server) {
	ada, ben, other := s.browser(t), s.browser(t), s.browser(t)
	ada.login("ada", "a")
	other.login("ada", "a")
	ben.login("ben", "b")
	ctx, leave := context.WithTimeout(t.Context(), time.Minute)
	defer leave()
	request, err := http.NewRequestWithContext(ctx, "GET", s.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := other.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	var bens, adas note
	ben.do("POST", "/notes", `{"text":"not for ada"}`, 201, &bens)
	path := ada.do("POST", "/notes", `{"text":"one"}`, 201, &adas).Get("Location")
	ada.do("PUT", path, `{"text":"two"}`, 200, nil)
	ada.do("DELETE", path, "", 204, nil)
	lines := bufio.NewScanner(response.Body)
	for _, what := range []string{"created", "replaced", "removed"} {
		for _, want := range []string{"event: " + what, fmt.Sprintf(`data: {"id":%d}`, adas.ID), ""} {
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("got %q %v, want %q", lines.Text(), lines.Err(), want)
			}
		}
	}
}

// The middleware alone, by httptest: a login, and what becomes of its cookie.
func TestSessions(t *testing.T) {
	const key, another = "a key of 32 bytes, more or less, ...", "another key of 32 bytes, or so, ..."
	login := func(key, user string) string {
		s, err := newSessions(key, "", map[string]edge.Secret{user: {}}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		a := app.New(app.Options{})
		defer a.Close()
		a.Post("/login", s.login)
		r := httptest.NewRequest("POST", "/login", strings.NewReader(fmt.Sprintf(`{"user": %q, "password": ""}`, user)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if cookies := w.Result().Cookies(); len(cookies) == 1 {
			return "session=" + cookies[0].Value
		}
		t.Fatalf("the login: %d %q", w.Code, w.Body)
		return ""
	}
	for _, c := range []struct {
		why         string
		key, before string
		cookie      string
		want        string
	}{
		{"as it was set", key, "", login(key, "ada"), "ada"},
		{"among others", key, "", "a=b; " + login(key, "ada"), "ada"},
		{"the key was replaced", another, key, login(key, "ada"), "ada"},
		{"and removed", another, "", login(key, "ada"), "log in first"},
		{"a user that was removed", key, "", login(key, "eve"), "log in first"},
		{"no signature", key, "", "session=ada", "log in first"},
		{"no cookie", key, "", "", "log in first"},
	} {
		s, err := newSessions(c.key, c.before, map[string]edge.Secret{"ada": {}}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		a := app.New(app.Options{})
		defer a.Close()
		a.Group("", s.require).Get("/", func(c *app.Context) error { return c.String(200, userOf(c)) })
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", c.cookie)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: got %d %q, want %q", c.why, w.Code, w.Body, c.want)
		}
	}
	if _, err := newSessions("short", "", nil, time.Hour); err == nil {
		t.Error("a short key")
	}
}

// A stream alone, on a loop without sockets: it ends with the feed, and when the browser leaves nothing is left of it.
func TestStreamsEnd(t *testing.T) {
	looptest.Disconnects(t, looptest.Options{}, func(t *testing.T, l *looptest.Loop) {
		n := &notes{feed: newFeed()}
		a := app.New(app.Options{})
		t.Cleanup(a.Close)
		a.Get("/", func(c *app.Context) error { c.Set(userKey{}, "ada"); return n.events(c) })
		client := l.Open(a.Opener(l.Loop))
		client.Send([]byte("GET / HTTP/1.1\r\nHost: test\r\n\r\n"))
		n.feed.publish("ada", change{"created", 7})
		l.Run(func(task *loop.Task) { _ = task.Yield() }) // the stream runs
		n.feed.close()
		l.Settle()
		if len(n.feed.streams) != 0 {
			t.Errorf("%d streams are left", len(n.feed.streams))
		}
		if got := string(client.Received()); !l.Cut() && !strings.Contains(got, "event: created\ndata: {\"id\":7}\n\n") {
			t.Errorf("received %q", got)
		}
	})
}
