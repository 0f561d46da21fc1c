package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"time"

	"tafe/app/client"
	"tafe/loop"
	"tafe/loop/reactor"
)

// Outside a task, a call blocks its goroutine.
func ExampleClient_Do() {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s asks for %s", r.Header.Get("X-Name"), r.URL)
	}))
	defer s.Close()

	c := client.New(client.Options{})
	defer c.Close()

	req := client.Request{URL: s.URL + "/tea?sugar=0", Timeout: 5 * time.Second, Retries: 1}
	req.AddHeader("X-Name", "Ann")
	var resp client.Response
	if err := c.Do(nil, nil, &req, &resp); err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Close()
	fmt.Println(resp.Status, string(resp.Header("Content-Type")))
	_, _ = io.Copy(os.Stdout, &resp)
	// Output:
	// 200 text/plain; charset=utf-8
	// Ann asks for /tea?sugar=0
}

// In a task, the same call parks the task, and its loop continues.
func ExampleClient_Get_task() {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "from upstream")
	}))
	defer s.Close()
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(*reactor.Conn) reactor.Handler { return nil }})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := client.New(client.Options{})
	done := make(chan bool)
	l := e.Loops()[0]
	l.Post(func() {
		_, err := l.Start(task{func(t *loop.Task) {
			status, body, err := c.Get(t, nil, s.URL, 1<<20)
			fmt.Println(status, string(body), err)
		}, done})
		if err != nil {
			fmt.Println(err)
		}
	})
	<-done
	c.Close()
	_ = e.Stop(context.Background())
	// Output: 200 from upstream <nil>
}

type task struct {
	run  func(*loop.Task)
	done chan bool
}

func (t task) Run(task *loop.Task)    { task.Outside(func() { t.run(task) }) }
func (t task) Done(*loop.Task, error) { close(t.done) }

// If the response is late, the request is sent a second time and the first response is used. A budget bounds second
// requests, so that a slow backend does not receive twice its load.
func ExampleHedge() {
	var asked atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 11 { // one straggler
			select {
			case <-r.Context().Done(): // the client has abandoned it
			case <-time.After(10 * time.Second):
			}
			return
		}
		_, _ = io.WriteString(w, "ok")
	}))
	defer backend.Close()
	c := client.New(client.Options{Hedge: client.Hedge{SamplesMin: 10, BudgetPercent: 50}})
	defer c.Close()
	for range 11 {
		var response client.Response
		if err := c.Do(nil, nil, &client.Request{URL: backend.URL, Hedge: true}, &response); err != nil {
			fmt.Println(err)
			return
		}
		if response.Hedged {
			fmt.Println("the second request was answered first")
		}
		response.Close()
	}
	// Output: the second request was answered first
}

// Libraries that take an http.Client wait cooperatively with the RoundTripper of a Client.
func ExampleClient_RoundTripper() {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "from upstream")
	}))
	defer s.Close()
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(*reactor.Conn) reactor.Handler { return nil }})
	if err != nil {
		fmt.Println(err)
		return
	}
	var dialer reactor.Dialer // finds the calling task
	dialer.Bind(e)
	c := client.New(client.Options{})
	library := &http.Client{Transport: c.RoundTripper(&dialer), Timeout: time.Minute}
	done := make(chan bool)
	l := e.Loops()[0]
	l.Post(func() {
		_, err := l.Start(task{func(*loop.Task) {
			resp, err := library.Get(s.URL)
			if err != nil {
				fmt.Println(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			fmt.Println(resp.Status, string(body), err)
		}, done})
		if err != nil {
			fmt.Println(err)
			close(done)
		}
	})
	<-done
	c.Close()
	_ = e.Stop(context.Background())
	// Output: 200 OK from upstream <nil>
}
