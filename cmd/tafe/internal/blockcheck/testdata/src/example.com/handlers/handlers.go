package handlers // want package:"functions"

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"example.com/store"
	"tafe/app"
	"tafe/loop"
)

var items store.Store

func direct(c *app.Context) error {
	time.Sleep(time.Second) // want `time.Sleep holds the loop: handlers.direct -> time.Sleep; use Context.Sleep or Task.Sleep`
	return nil
}

func throughFunction(c *app.Context) error {
	return load(c)
}

func load(c *app.Context) error {
	return fetch("http://example.com")
}

func fetch(url string) error {
	_, err := http.Get(url) // want `http.Get holds the loop: handlers.throughFunction -> handlers.load -> handlers.fetch -> http.Get; use package app/client`
	return err
}

func throughPackage(c *app.Context) error {
	store.Pause() // want `time.Sleep holds the loop: handlers.throughPackage -> store.Pause -> store.pause -> time.Sleep`
	store.Start()
	store.Warm()
	return c.Text(store.Quick())
}

func throughMethod(c *app.Context) error {
	return c.Text(items.Load("x")) // want `os.ReadFile holds the loop: handlers.throughMethod -> \(\*store.Store\).Load -> \(\*store.Store\).read -> os.ReadFile; use app.Offload`
}

func middleware(next app.Handler) app.Handler {
	_, _ = os.ReadFile("at registration, before any request")
	return func(c *app.Context) error {
		defer os.Remove("x") // want `os.Remove holds the loop: handlers.middleware.func1 -> os.Remove`
		return next(c)
	}
}

type service struct{ mu sync.Mutex }

func (s *service) serve(c *app.Context) error {
	s.mu.Lock() // a lock is allowed
	defer s.mu.Unlock()
	var wg sync.WaitGroup
	wg.Wait() // want `\(\*sync.WaitGroup\).Wait holds the loop: \(\*handlers.service\).serve -> .*; use Context.Task\(\).Group\(\)`
	return nil
}

var inVariable = func(c *app.Context) error {
	_, err := net.Dial("tcp", "x") // want `net.Dial holds the loop: handlers.func1 -> net.Dial; use reactor.Dialer`
	return err
}

func channels(c *app.Context, ready chan int) {
	<-ready // want `handlers.waits -> handlers.channels -> channel receive`
}

func waits(c *app.Context) error {
	ready, full := make(chan int), make(chan int, 1)
	<-ready   // want `channel receive holds the loop: handlers.waits -> channel receive; use loop.Queue`
	full <- 1 // want `channel send holds the loop`
	select {  // want `select holds the loop`
	case <-ready:
	case full <- 1:
	}
	select {
	case <-ready:
	default: // does not wait
	}
	for range ready { // want `channel receive holds the loop`
	}
	channels(c, ready)
	close(full)
	return nil
}

func literals(c *app.Context) error {
	func() {
		time.Sleep(1) // want `time.Sleep holds the loop: handlers.literals -> handlers.literals.func1 -> time.Sleep`
	}()
	pause := func() {
		time.Sleep(2) // want `handlers.literals -> handlers.literals.func2 -> time.Sleep`
	}
	pause()
	unused := func() { time.Sleep(3) }
	_ = unused
	go func() { time.Sleep(4) }()
	time.AfterFunc(5, func() { time.Sleep(5) })
	slices.SortFunc([]int{1, 2}, func(a, b int) int {
		time.Sleep(6) // want `handlers.literals -> handlers.literals.func6 -> time.Sleep`
		return 0
	})
	var once sync.Once
	once.Do(openAll)
	store.Later(func() error { time.Sleep(7); return nil })
	return store.Retry(func() error {
		time.Sleep(8) // want `handlers.literals -> handlers.literals.func8 -> time.Sleep`
		return nil
	})
}

func openAll() {
	_, _ = os.Open("x") // want `os.Open holds the loop: handlers.literals -> handlers.openAll -> os.Open`
}

func offloaded(c *app.Context) error {
	data, err := app.Offload(c, func() ([]byte, error) { return os.ReadFile("x") })
	if err != nil {
		return err
	}
	_, err = loop.Offload(c.Task(), func() (int, error) { time.Sleep(1); return 0, nil })
	return c.Text(string(data))
}

func tasks(c *app.Context) error {
	g := c.Task().Group()
	g.Go(func(t *loop.Task) error {
		time.Sleep(1) // want `handlers.tasks.func1 -> time.Sleep`
		return nil
	})
	var flight loop.Flight[string, int]
	_, _, err := flight.Do(c.Task(), "x", func() (int, error) {
		time.Sleep(2) // want `handlers.tasks -> handlers.tasks.func2 -> time.Sleep`
		return 1, nil
	})
	return err
}

type runner struct{}

func (runner) Run(t *loop.Task) {
	time.Sleep(1) // want `\(handlers.runner\).Run -> time.Sleep`
}

func callback(l *loop.Loop) {
	l.Post(func() {
		time.Sleep(1) // want `handlers.callback.func1 -> time.Sleep`
	})
}

func allowed(c *app.Context) error {
	time.Sleep(1) //tafe:allow-blocking the device needs it
	//tafe:allow-blocking a file of 10 bytes in memory
	_, err := os.ReadFile("/dev/shm/x")
	indirectlyAllowed() //tafe:allow-blocking a trial
	return err
}

func indirectlyAllowed() { time.Sleep(1) }

func badComments(c *app.Context) error {
	time.Sleep(1) /* want `needs a reason` */ //tafe:allow-blocking
	_ = c         /* want `allows nothing` */ //tafe:allow-blocking it is fast
	time.Sleep(2) //tafe:allow-blockings // want `time.Sleep holds`
	return nil
}

// notAHandler runs on goroutines that are not a loop's.
func notAHandler(ctx context.Context) error {
	time.Sleep(1)
	return nil
}

func generic[T any](c *app.Context) error {
	return twice[T]()
}

func twice[T any]() error {
	time.Sleep(1) // want `handlers.generic -> handlers.twice -> time.Sleep`
	return nil
}
