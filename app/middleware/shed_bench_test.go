package middleware

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"tafe/app"
)

// BenchmarkOverload offers twice what one loop can do, on a schedule, for four seconds each with and without shedding. It reports what was
// answered well each second, and how long after it was due (the generator has another core).
//
//	go test ./app/middleware -run '^$' -bench Overload -benchtime 1x
func BenchmarkOverload(b *testing.B) {
	for _, shed := range []bool{false, true} {
		b.Run(fmt.Sprintf("shed=%t", shed), func(b *testing.B) {
			a := app.New(app.Options{Log: quiet})
			if shed {
				a.Use(Shed(ShedOptions{}))
			}
			a.Get("/", func(c *app.Context) error {
				for start := time.Now(); time.Since(start) < time.Millisecond; {
				}
				return c.String(200, "ok")
			})
			addr := serveOn(b, a, 1)
			for b.Loop() {
				o := &offered{due: make(chan time.Time, 1<<20)}
				var conns sync.WaitGroup
				for range 1000 {
					conns.Go(func() { o.ask(b, addr) })
				}
				const rate, seconds = 2000, 4
				r := rand.New(rand.NewPCG(1, 2))
				start := time.Now()
				for at := start; at.Sub(start) < seconds*time.Second; {
					at = at.Add(time.Duration(r.ExpFloat64() * float64(time.Second) / rate))
					time.Sleep(time.Until(at))
					o.due <- at
				}
				close(o.due)
				conns.Wait()
				o.report(b, seconds)
			}
		})
	}
}

// offered is a schedule and what became of it.
type offered struct {
	due chan time.Time

	mu   sync.Mutex
	good []time.Duration
	shed []time.Duration
}

func (o *offered) ask(b *testing.B, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for at := range o.due {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			b.Error(err)
			return
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		o.mu.Lock()
		if took := time.Since(at); resp.StatusCode == 200 {
			o.good = append(o.good, took)
		} else {
			o.shed = append(o.shed, took)
		}
		o.mu.Unlock()
	}
}

func (o *offered) report(b *testing.B, seconds int) {
	slices.Sort(o.good)
	slices.Sort(o.shed)
	ms := func(sorted []time.Duration, q float64) float64 {
		if len(sorted) == 0 {
			return 0
		}
		return sorted[int(q*float64(len(sorted)-1))].Seconds() * 1000
	}
	b.ReportMetric(float64(len(o.good))/float64(seconds), "good/s")
	b.ReportMetric(float64(len(o.shed))/float64(seconds), "refused/s")
	b.ReportMetric(ms(o.good, 0.5), "good-p50-ms")
	b.ReportMetric(ms(o.good, 0.99), "good-p99-ms")
	b.ReportMetric(ms(o.shed, 0.99), "refused-p99-ms")
}
