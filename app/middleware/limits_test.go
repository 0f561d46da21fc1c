package middleware

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/loop"
)

func TestRequestID(t *testing.T) {
	t.Parallel()
	a := app.New(app.Options{Log: quiet, TrustRequestID: true})
	a.Group("/with", RequestID()).Get("", func(c *app.Context) error { return c.String(200, c.RequestID()) })
	a.Group("/failing", RequestID()).Get("", func(*app.Context) error { return app.Error(400, "no") })
	a.Get("/without", func(c *app.Context) error { return c.String(200, "") })
	addr := serve(t, a)

	resp, body := ask(t, addr, "GET /with")
	require.NotEmpty(t, body, "one is generated")
	require.Equal(t, body, resp.Header.Get("X-Request-ID"), "sent to the client")
	resp, body = ask(t, addr, "GET /with\nX-Request-ID: abc-1")
	require.Equal(t, "abc-1", resp.Header.Get("X-Request-ID"), "the client's own, where it is trusted")
	require.Equal(t, "abc-1", body)
	resp, _ = ask(t, addr, "GET /failing\nX-Request-ID: abc-2")
	require.Equal(t, "abc-2", resp.Header.Get("X-Request-ID"), "with an error above all")
	resp, _ = ask(t, addr, "GET /without")
	require.Empty(t, resp.Header.Get("X-Request-ID"), "outside of it nothing is sent")
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 1)
	sleep := func(c *app.Context) error {
		err := c.Sleep(time.Hour)
		errs <- err
		return err
	}
	a := app.New(app.Options{Log: quiet})
	limited := a.Group("", Timeout(time.Millisecond))
	limited.Get("/sleep", sleep)
	limited.Get("/swallow", func(c *app.Context) error { errs <- c.Sleep(time.Hour); return nil })
	limited.Get("/partial", func(c *app.Context) error {
		errs <- c.Sleep(time.Hour)
		return c.String(200, "what there was")
	})
	a.Group("", Timeout(time.Hour)).Get("/sooner", sleep, app.Timeout(time.Millisecond))
	a.Group("", Timeout(time.Hour), Timeout(time.Millisecond)).Get("/nested", sleep)
	a.Group("", Timeout(time.Hour)).Get("/fast", func(c *app.Context) error {
		deadline, ok := c.Deadline()
		require.True(t, ok, "the handler sees its deadline")
		require.False(t, deadline.IsZero())
		errs <- context.DeadlineExceeded // as the others, for the table
		return c.String(200, "fast")
	})
	addr := serve(t, a)
	for _, c := range []struct {
		target string
		status int
		why    string
	}{
		{"/sleep", 503, "the wait fails, and its error is answered"},
		{"/swallow", 503, "also where the handler says nothing"},
		{"/partial", 200, "a handler may still answer with what it has"},
		{"/sooner", 503, "the route's own deadline was sooner, and stays"},
		{"/nested", 503, "the inner one is sooner"},
		{"/fast", 200, "in time"},
	} {
		resp, _ := ask(t, addr, "GET "+c.target)
		require.Equal(t, c.status, resp.StatusCode, c.why)
		require.ErrorIs(t, <-errs, context.DeadlineExceeded, c.why)
	}
	mustPanic(t, "above 0", "no time at all", func() { Timeout(0) })
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	read := func(c *app.Context) error {
		body, err := c.Body()
		if err != nil {
			return err
		}
		return c.String(200, string(body))
	}
	a := app.New(app.Options{Log: quiet})
	a.Group("", BodyLimit(4)).Post("/four", read)
	a.Group("", BodyLimit(0)).Post("/none", read)
	a.Group("", BodyLimit(100)).Post("/less", read, app.BodyMax(2))
	a.Group("", BodyLimit(4)).Post("/unread", func(c *app.Context) error { return c.String(200, "unread") })
	addr := serve(t, a)
	for _, c := range []struct {
		request string
		status  int
		body    string
		why     string
	}{
		{"POST /four\nContent-Length: 4\n\nabcd", 200, "abcd", "as much as may be"},
		{"POST /four\nContent-Length: 5\n\nabcde", 413, "", "one more, announced"},
		{"POST /four\nContent-Length: 5000000\n\n", 413, "", "announced and not even sent"},
		{"POST /four\nTransfer-Encoding: chunked\n\n4\r\nabcd\r\n0\r\n\r\n", 200, "abcd", "chunked, as much as may be"},
		{"POST /four\nTransfer-Encoding: chunked\n\n4\r\nabcd\r\n1\r\ne\r\n0\r\n\r\n", 413, "", "chunked, one more"},
		{"POST /none\nContent-Length: 0\n\n", 200, "", "no body where none is allowed"},
		{"POST /none\nContent-Length: 1\n\na", 413, "", "and one"},
		{"POST /less\nContent-Length: 3\n\nabc", 413, "", "the route's bound is lower, and stays"},
		{"POST /unread\nTransfer-Encoding: chunked\n\n5\r\nabcde\r\n0\r\n\r\n", 200, "unread", "an unread body is not counted"},
	} {
		resp, body := ask(t, addr, c.request)
		require.Equal(t, c.status, resp.StatusCode, c.why)
		if c.status == 200 {
			require.Equal(t, c.body, body, c.why)
		}
	}
	mustPanic(t, "must not be negative", "less than nothing", func() { BodyLimit(-1) })
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	inside := make(chan loop.Waker, 2)
	a := app.New(app.Options{Log: quiet})
	g := a.Group("", Concurrency(2))
	g.Get("/wait", func(c *app.Context) error {
		inside <- c.Task().Prepare()
		if err := c.Task().Park(); err != nil {
			return err
		}
		return c.String(200, "waited")
	})
	g.Get("/quick", func(c *app.Context) error { return c.String(200, "quick") })
	g.Get("/panic", func(*app.Context) error { panic("on purpose") })
	a.Group("", Concurrency(2)).Get("/other", func(c *app.Context) error { return c.String(200, "other") })
	addr := serve(t, a)

	one, two := begin(t, addr, "GET /wait"), begin(t, addr, "GET /wait")
	first, second := <-inside, <-inside
	resp, _ := ask(t, addr, "GET /quick")
	require.Equal(t, 503, resp.StatusCode, "a third, on another route of the same budget")
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	resp, _ = ask(t, addr, "GET /other")
	require.Equal(t, 200, resp.StatusCode, "another budget")

	first.Post()
	second.Post()
	_, body := finish(t, one, "GET /wait")
	require.Equal(t, "waited", body)
	_, body = finish(t, two, "GET /wait")
	require.Equal(t, "waited", body)
	for range 3 {
		resp, _ = ask(t, addr, "GET /panic")
		require.Equal(t, 500, resp.StatusCode, "a panic gives its place back: the third is admitted like the first")
	}
	resp, _ = ask(t, addr, "GET /quick")
	require.Equal(t, 200, resp.StatusCode, "there is room again")
	mustPanic(t, "above 0", "no request could be admitted", func() { Concurrency(0) })
}
