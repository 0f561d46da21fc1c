package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing/fstest"
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
			return err // the client has disconnected
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

// Any http.Handler serves under a route.
func ExampleMount() {
	files := http.FileServerFS(fstest.MapFS{"hello.txt": {Data: []byte("Hello, file!")}})
	a := app.New(app.Options{})
	a.Get("/static/{path...}", app.Mount(http.StripPrefix("/static", files)))
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/static/hello.txt", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Body)
	// Output: 200 text/plain; charset=utf-8 Hello, file!
}

// Blocking code runs in the worker pool. f gets copies of the values that it needs.
func ExampleOffload() {
	a := app.New(app.Options{OffloadWorkers: 8})
	a.Get("/lookup/{host}", func(c *app.Context) error {
		host := c.Param("host")
		addrs, err := app.Offload(c, func() ([]string, error) { return net.LookupHost(host) })
		if err != nil {
			return app.Error(502, "no such host")
		}
		return c.JSON(200, addrs)
	})
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/lookup/127.0.0.1", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 200 ["127.0.0.1"]
}

// A handler may take its connection over: here for a protocol of lines.
func ExampleContext_Hijack() {
	a := app.New(app.Options{})
	a.Get("/lines", func(c *app.Context) error {
		conn, err := c.Hijack()
		if err != nil {
			return err
		}
		go func() { // the request is over, the connection is ours
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				_, _ = fmt.Fprintln(conn, strings.ToUpper(lines.Text()))
			}
		}()
		return nil
	})
	server, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = server.Stop(context.Background()) }()
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /lines HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\nhello\n")
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	line, _ := r.ReadString('\n')
	fmt.Println(response.StatusCode, line)
	// Output: 101 HELLO
}

// A handler that computes offers the loop to others when its slice is spent. As long as it is not, that costs next to nothing.
func ExampleContext_YieldIfDue() {
	a := app.New(app.Options{})
	a.Get("/primes", func(c *app.Context) error {
		found := 0
		for n := 2; n < 10_000; n++ {
			prime := true
			for d := 2; d*d <= n && prime; d++ {
				prime = n%d != 0
			}
			if prime {
				found++
			}
			if err := c.YieldIfDue(); err != nil {
				return err // the client has left, or the time is up
			}
		}
		return c.String(200, fmt.Sprint(found))
	})
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/primes", nil))
	fmt.Println(w.Body)
	// Output: 1229
}
