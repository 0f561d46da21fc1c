package app_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"tafe/app"
)

func ExampleContext_Bind() {
	type note struct {
		ID    int64  `path:"id"`
		Draft bool   `query:"draft"`
		Title string `json:"title"`
	}
	a := app.New(app.Options{})
	defer a.Close()
	a.Put("/notes/{id}", func(c *app.Context) error {
		var n note
		if err := c.Bind(&n); err != nil {
			return err
		}
		return c.String(http.StatusOK, fmt.Sprintf("%+v\n", n))
	})
	for _, target := range []string{"/notes/7?draft=true", "/notes/seven"} {
		r := httptest.NewRequest("PUT", target, strings.NewReader(`{"title": "tea"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "text/plain")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Body)
		fmt.Print(w.Code, " ", string(body))
	}
	// Output:
	// 200 {ID:7 Draft:true Title:tea}
	// 400 path: id must be an integer of 64 bits, not "seven"
}

func ExampleCookieKeys() {
	// The first key signs; the second has signed the cookies that clients still hold.
	keys, err := app.NewCookieKeys([]byte("a new key of at least 32 random bytes"), []byte("the old key with its 32 random bytes"))
	if err != nil {
		fmt.Println(err)
		return
	}
	a := app.New(app.Options{})
	defer a.Close()
	a.Post("/login", func(c *app.Context) error {
		keys.Set(c, &http.Cookie{Name: "user", Value: "jo", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}, 12*time.Hour)
		return c.NoContent(http.StatusNoContent)
	})
	a.Get("/", func(c *app.Context) error {
		user, ok := keys.Get(c, "user")
		if !ok {
			return app.Error(http.StatusUnauthorized, "log in first")
		}
		return c.String(http.StatusOK, "Hello, "+user+"!\n")
	})
	login := httptest.NewRecorder()
	a.ServeHTTP(login, httptest.NewRequest("POST", "/login", nil))
	for _, cookie := range []*http.Cookie{login.Result().Cookies()[0], {Name: "user", Value: "jo"}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(cookie)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 Hello, jo!
	// 401 log in first
}

// A middleware of net/http around a handler: the handler runs on the loop, and its Context has the values of the middleware's.
func ExampleFromHTTP() {
	type key struct{}
	greeting := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Greeting", "yes")
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "Hello")))
		})
	}
	a := app.New(app.Options{})
	defer a.Close()
	a.Use(app.FromHTTP(greeting), app.FromHTTP(http.NewCrossOriginProtection().Handler))
	a.Handle("", "/{name}", func(c *app.Context) error {
		return c.String(http.StatusOK, fmt.Sprintf("%s, %s!\n", c.Value(key{}), c.Param("name")))
	})
	for _, site := range []string{"same-origin", "cross-site"} {
		r := httptest.NewRequest("POST", "/jo", nil)
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Header().Get("X-Greeting"), " ", w.Body)
	}
	// Output:
	// 200 yes Hello, jo!
	// 403 yes cross-origin request detected from Sec-Fetch-Site header
}

// A program that serves until SIGTERM, SIGINT or, here, the end of a context.
func ExampleRun() {
	life := &app.Life{}
	life.OnStart(func(context.Context) error { fmt.Println("start: connect to the store"); return nil })
	life.OnDrain(func() { fmt.Println("drain: end what would not end by itself") })
	life.OnStop(func() { fmt.Println("stop: close the store") })
	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler)})
	a.Get("/", func(c *app.Context) error { return c.String(http.StatusOK, "hello\n") })
	ctx, cancel := context.WithCancel(context.Background())
	err := app.Run(ctx, a, app.RunConfig{
		ServerConfig: app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1},
		Life:         life,
		Serving:      func(*app.Server) { fmt.Println("serving"); cancel() },
	})
	fmt.Println("error:", err)
	// Output:
	// start: connect to the store
	// serving
	// drain: end what would not end by itself
	// stop: close the store
	// error: <nil>
}

// One format for all errors, also those of the server itself.
func ExampleApp_ErrorPages() {
	a := app.New(app.Options{})
	defer a.Close()
	a.ErrorPages(func(c *app.Context, e *app.HTTPError) error {
		c.SetHeader("Content-Type", "application/problem+json")
		return c.JSON(e.Status, map[string]any{"title": http.StatusText(e.Status), "detail": e.Message})
	})
	a.Get("/", func(*app.Context) error { return app.Error(http.StatusConflict, "the note has changed") })
	for _, target := range []string{"/", "/absent"} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	// Output:
	// 409 application/problem+json {"detail":"the note has changed","title":"Conflict"}
	// 404 application/problem+json {"detail":"","title":"Not Found"}
}
