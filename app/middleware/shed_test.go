package middleware

import (
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

func TestShedAdmits(t *testing.T) {
	const late, good = 40 * time.Millisecond, time.Millisecond
	v := newValve(nil, 20*time.Millisecond)
	period := func(lags ...time.Duration) float64 {
		for i := 0; ; i++ {
			if v.sample(lags[i%len(lags)]); v.n == 0 {
				return v.admit
			}
		}
	}
	require.EqualValues(t, 1, period(good))
	require.EqualValues(t, 1, period(late, good), "now and then late is not overloaded")
	require.EqualValues(t, 1, period(time.Second, good, good), "nor is one that held its loop")
	once := math.Pow(0.7, 1.5) // three samples of 10 and 40 ms
	require.InDelta(t, once, period(late), 1e-9)
	require.InDelta(t, once*once, period(late), 1e-9)
	require.InDelta(t, once*once+0.05, period(late, late, good), 1e-9, "one in time is enough")
	v.admit = 1
	require.InDelta(t, 0.25, period(time.Second), 1e-9, "the later, the less, but in steps")
	for range 100 {
		period(late)
	}
	require.InDelta(t, shedAdmitMin, v.admit, 1e-9, "never zero")
	for range 100 {
		period(good)
	}
	require.EqualValues(t, 1, v.admit, "and never more than all")

	v.busy, v.admit = true, 0.25
	admitted := 0
	for range 1000 {
		if v.enter(nil) {
			admitted++
		}
	}
	require.InDelta(t, 250, admitted, 1, "by turns")
}

// An overloaded server refuses a part of what comes, and all are let in again once it is over.
func TestShedUnderOverload(t *testing.T) {
	a := app.New(app.Options{Log: quiet})
	a.Use(Shed(ShedOptions{}))
	a.Get("/", func(c *app.Context) error {
		time.Sleep(2 * time.Millisecond) // holds the loop as computing would, and leaves the CPU to the clients
		return c.String(200, "ok")
	}, app.Handoff(-1))
	addr := "http://" + serve(t, a) + "/"
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
	defer client.CloseIdleConnections()
	get := func() int {
		resp, err := client.Get(addr)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		if resp.StatusCode == 503 && resp.Header.Get("Retry-After") != "1" {
			return 0
		}
		return resp.StatusCode
	}
	var counts sync.Map
	count := func(status int) int64 {
		n, _ := counts.LoadOrStore(status, new(atomic.Int64))
		return n.(*atomic.Int64).Load()
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 128 { // twice 64 x 2 ms are due at any time
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status := get()
				n, _ := counts.LoadOrStore(status, new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				if status == 503 {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	require.Eventually(t, func() bool { return count(503) > 20 && count(200) > 20 }, patience, 10*time.Millisecond, "503: %d", count(503))
	close(stop)
	clients.Wait()
	require.Zero(t, count(0), "every answer is one of the two")
	inARow := 0
	require.Eventually(t, func() bool {
		if get() == 200 {
			inARow++
		} else {
			inARow = 0
		}
		return inARow >= 50
	}, patience, time.Millisecond)
}

// One handler that overruns now and then delays other requests, but none is refused.
func TestShedLeavesSingleOverrunsAlone(t *testing.T) {
	a := app.New(app.Options{Log: quiet})
	a.Use(Shed(ShedOptions{}))
	a.Get("/", func(c *app.Context) error { return c.String(200, "ok") })
	a.Get("/hog", func(c *app.Context) error {
		time.Sleep(60 * time.Millisecond)
		return c.String(200, "ok")
	})
	addr := "http://" + serve(t, a)
	for range 4 {
		for _, path := range []string{"/hog", "/", "/", "/", "/", "/"} {
			resp, err := http.Get(addr + path)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, 200, resp.StatusCode)
			time.Sleep(20 * time.Millisecond)
		}
	}
}
