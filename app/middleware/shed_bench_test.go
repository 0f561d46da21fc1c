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

// BenchmarkOverload offers twice what one loop can do, on a schedule, by 1,000 connections, with and without shedding, and reports what became
// of the requests that were due in the third second and later: how many were answered well each second, and how long after they were
// due. The generator has another core.
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
				const rate, seconds = 2000, 8
				r := rand.New(rand.NewPCG(1, 2))
				start := time.Now()
				for at := start; at.Sub(start) < seconds*time.Second; {
					at = at.Add(time.Duration(r.ExpFloat64() * float64(time.Second) / rate))
					time.Sleep(time.Until(at))
					o.due <- at
				}
				o.from, o.until = start.Add(2*time.Second), time.Now()
				close(o.due)
				conns.Wait()
				o.report(b)
			}
		})
	}
}

// offered is a schedule and what became of it.
type offered struct {
	due         chan time.Time
	from, until time.Time // what is reported

	mu   sync.Mutex
	good []answer
	shed []answer
}

type answer struct{ due, at time.Time }

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
		if a := (answer{at, time.Now()}); resp.StatusCode == 200 {
			o.good = append(o.good, a)
		} else {
			o.shed = append(o.shed, a)
		}
		o.mu.Unlock()
	}
}

func (o *offered) report(b *testing.B) {
	for name, answers := range map[string][]answer{"good": o.good, "refused": o.shed} {
		var took []time.Duration
		ended := 0
		for _, a := range answers {
			if a.due.After(o.from) {
				took = append(took, a.at.Sub(a.due))
			}
			if a.at.After(o.from) && a.at.Before(o.until) {
				ended++
			}
		}
		slices.Sort(took)
		b.ReportMetric(float64(ended)/o.until.Sub(o.from).Seconds(), name+"/s")
		for _, q := range []int{50, 99} {
			if len(took) > 0 {
				b.ReportMetric(took[q*(len(took)-1)/100].Seconds()*1000, fmt.Sprintf("%s-p%d-ms", name, q))
			}
		}
	}
}
