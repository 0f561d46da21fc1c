package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sort"
	"strings"
	"sync"
	"time"

	"tafe/app"
	"tafe/app/client"
	"tafe/loop"
)

// A handler asks several backends at once, on its own loop, and goes on with the first two answers.
func Example_fanOut() {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/asleep" {
			<-r.Context().Done() // until the client leaves
			return
		}
		_, _ = io.WriteString(w, "price of "+r.URL.Path[1:])
	}))
	defer backend.Close()

	outbound := client.New(client.Options{})
	defer outbound.Close()
	a := app.New(app.Options{})
	a.Get("/offers", func(c *app.Context) error {
		var mu sync.Mutex // one of two tasks may run beside their loop
		var offers []string
		g := c.Task().Group()
		for _, shop := range []string{"near", "far", "asleep"} {
			err := g.Go(func(t *loop.Task) error {
				_, body, err := outbound.Get(t, nil, backend.URL+"/"+shop, 1024)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				offers = append(offers, string(body))
				return nil
			})
			if err != nil {
				return err
			}
		}
		g.SetDeadline(10 * time.Second)
		if err := g.First(2); err != nil {
			return err // the client left, or too few have answered in time
		}
		sort.Strings(offers)
		return c.String(200, strings.Join(offers, ", "))
	})
	server, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = server.Stop(context.Background()) }()
	response, err := http.Get("http://" + server.Addr().String() + "/offers")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	fmt.Println(string(body))
	http.DefaultClient.CloseIdleConnections()
	// Output: price of far, price of near
}
