package middleware_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"time"

	"tafe/app"
	"tafe/app/middleware"
)

// visit serves a for a moment and sends it requests, each a method, a path and headers; it prints the status of the answers, and of
// their headers those in show.
func visit(a *app.App, show []string, requests ...[]string) {
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	if err != nil {
		panic(err)
	}
	for _, r := range requests {
		request, err := http.NewRequest(r[0], "http://"+s.Addr().String()+r[1], nil)
		if err != nil {
			panic(err)
		}
		for i := 2; i < len(r); i += 2 {
			request.Header.Set(r[i], r[i+1])
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			panic(err)
		}
		response.Body.Close()
		fmt.Println(r[0], r[1], response.StatusCode)
		for _, name := range show {
			if value := response.Header.Get(name); value != "" {
				fmt.Printf("  %s: %s\n", name, value)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		panic(err)
	}
}

func hello(c *app.Context) error { return c.String(200, "hello") }

func ExampleRequestID() {
	a := app.New(app.Options{TrustRequestID: true})
	a.Use(middleware.RequestID())
	a.Get("/", hello)
	visit(a, []string{"X-Request-Id"}, []string{"GET", "/", "X-Request-ID", "order-66"})
	// Output:
	// GET / 200
	//   X-Request-Id: order-66
}

func ExampleTimeout() {
	a := app.New(app.Options{})
	api := a.Group("/api", middleware.Timeout(time.Millisecond))
	api.Get("/slow", func(c *app.Context) error {
		if err := c.Sleep(time.Hour); err != nil { // every wait fails once the time is over
			return err
		}
		return c.String(200, "at last")
	})
	visit(a, nil, []string{"GET", "/api/slow"})
	// Output: GET /api/slow 503
}

func ExampleBodyLimit() {
	a := app.New(app.Options{})
	forms := a.Group("/forms", middleware.BodyLimit(64<<10))
	forms.Post("/login", func(c *app.Context) error { return c.String(200, "hello "+c.Form("user")) })
	visit(a, nil, []string{"POST", "/forms/login"})
	// Output: POST /forms/login 200
}

func ExampleConcurrency() {
	a := app.New(app.Options{})
	reports := a.Group("/reports", middleware.Concurrency(4)) // a fifth at the same time gets a 503
	reports.Get("/{year}", hello)
	visit(a, nil, []string{"GET", "/reports/2024"})
	// Output: GET /reports/2024 200
}

func ExampleRateLimit() {
	a := app.New(app.Options{})
	a.Use(middleware.RateLimit(middleware.RateOptions{
		Rate: 0.01, Burst: 1, // 1 at once, then one in 100 seconds
		Key: func(c *app.Context) string { return c.Header("X-API-Key") },
	}))
	a.Get("/", hello)
	visit(a, nil,
		[]string{"GET", "/", "X-API-Key", "ann"},
		[]string{"GET", "/", "X-API-Key", "ann"},
		[]string{"GET", "/", "X-API-Key", "bob"})
	// Output:
	// GET / 200
	// GET / 429
	// GET / 200
}

func ExampleAllowIP() {
	a := app.New(app.Options{})
	a.Group("/admin", middleware.AllowIP(netip.MustParsePrefix("10.0.0.0/8"))).Get("/users", hello)
	a.Group("/local", middleware.AllowIP(netip.MustParsePrefix("127.0.0.0/8"))).Get("/users", hello)
	visit(a, nil, []string{"GET", "/admin/users"}, []string{"GET", "/local/users"})
	// Output:
	// GET /admin/users 403
	// GET /local/users 200
}

func ExampleBasicAuth() {
	a := app.New(app.Options{})
	g := a.Group("/cellar", middleware.BasicAuth("the cellar", map[string]string{"ann": os.Getenv("ANNS_PASSWORD")}))
	g.Get("/wine", func(c *app.Context) error { return c.String(200, "for "+middleware.User(c)) })
	visit(a, []string{"WWW-Authenticate"}, []string{"GET", "/cellar/wine"})
	// Output:
	// GET /cellar/wine 401
	//   WWW-Authenticate: Basic realm="the cellar", charset="UTF-8"
}

func ExampleCORS() {
	a := app.New(app.Options{})
	a.Use(middleware.CORS(middleware.CORSOptions{
		Origins: []string{"https://shop.example"}, Methods: []string{"DELETE"}, Headers: []string{"Content-Type"}, MaxAge: time.Hour,
	}))
	a.Delete("/cart/{item}", hello)
	visit(a, []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Vary"},
		[]string{"OPTIONS", "/cart/7", "Origin", "https://shop.example", "Access-Control-Request-Method", "DELETE"},
		[]string{"DELETE", "/cart/7", "Origin", "https://shop.example"},
		[]string{"DELETE", "/cart/7", "Origin", "https://other.example"})
	// Output:
	// OPTIONS /cart/7 204
	//   Access-Control-Allow-Origin: https://shop.example
	//   Access-Control-Allow-Methods: GET, HEAD, POST, DELETE
	//   Vary: Origin
	// DELETE /cart/7 200
	//   Access-Control-Allow-Origin: https://shop.example
	//   Vary: Origin
	// DELETE /cart/7 200
	//   Vary: Origin
}

func ExampleSecure() {
	a := app.New(app.Options{})
	a.Use(middleware.Secure(middleware.SecureOptions{
		ContentSecurityPolicy: "default-src 'self'",
		OpenerPolicy:          "-", // not sent
		HSTS:                  365 * 24 * time.Hour,
	}))
	a.Get("/", hello)
	visit(a, []string{"X-Frame-Options", "Content-Security-Policy", "Cross-Origin-Opener-Policy", "Strict-Transport-Security"},
		[]string{"GET", "/"})
	// Output:
	// GET / 200
	//   X-Frame-Options: DENY
	//   Content-Security-Policy: default-src 'self'
	//   Strict-Transport-Security: max-age=31536000
}

func ExampleAccessLog() {
	log := middleware.NewAccessLog(os.Stdout, middleware.AccessLogOptions{Format: middleware.AccessLogCombined})
	defer log.Close()      // writes what is waiting
	log.Record(&app.Entry{ // in a server: app.Options{AccessLog: log.Record}
		Time: time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), Remote: "192.0.2.1:4711", ClientIP: "192.0.2.1",
		Method: "GET", Target: "/", Proto: "HTTP/1.1", Status: 200, Bytes: 5, UserAgent: "curl/8.5.0",
	})
	// Output: 192.0.2.1 - - [29/Feb/2024:12:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8.5.0"
}
