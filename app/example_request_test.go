package app_test

import (
	"fmt"
	"io"
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
