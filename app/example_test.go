package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"tafe/app"
)

// A server with one route, asked once and drained.
func Example() {
	a := app.New(app.Options{})
	a.Get("/hello/{name}", func(c *app.Context) error {
		return c.String(200, "Hello, "+c.Param("name")+"!")
	})
	server, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := http.Get("http://" + server.Addr().String() + "/hello/world")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	fmt.Println(response.Status, string(body))

	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(server.Drain(ctx))
	// Output:
	// 200 OK Hello, world!
	// <nil>
}

// An App is an http.Handler too: for tests without sockets.
func ExampleApp_ServeHTTP() {
	a := app.New(app.Options{})
	a.Post("/upper", func(c *app.Context) error {
		body, err := c.Body()
		if err != nil {
			return err
		}
		return c.String(200, strings.ToUpper(string(body)))
	}, app.BodyMax(1024))
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("POST", "/upper", strings.NewReader("straight-line code")))
	fmt.Println(w.Code, w.Body)
	// Output: 200 STRAIGHT-LINE CODE
}

// A handler that waits gives its loop to others; an error answers the request.
func ExampleHandler() {
	a := app.New(app.Options{})
	a.Get("/patience", func(c *app.Context) error {
		if err := c.Sleep(time.Millisecond); err != nil {
			return err // the client left: nobody reads an answer
		}
		if c.Query("with") == "" {
			return app.Error(400, "with what?")
		}
		return c.JSON(200, map[string]string{"patience": c.Query("with")})
	})
	for _, target := range []string{"/patience?with=others", "/patience"} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// 200 {"patience":"others"}
	// 400 with what?
}

// A stream sends what it has as soon as it has it.
func ExampleContext_Stream() {
	a := app.New(app.Options{})
	a.Get("/count", func(c *app.Context) error {
		s := c.Stream(200, "text/plain")
		for i := range 3 {
			if _, err := fmt.Fprintln(s, i); err != nil {
				return err
			}
			if err := s.Flush(); err != nil {
				return err
			}
		}
		return nil
	})
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/count", nil))
	fmt.Print(w.Body)
	// Output:
	// 0
	// 1
	// 2
}
