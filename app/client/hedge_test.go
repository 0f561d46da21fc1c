package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// duel is a peer that answers at once until it is armed; then the test answers each request.
type duel struct {
	*peer
	armed  chan bool // closed: armed
	shots  chan *shot
	closed chan int // ids of connections that ended while armed
}

type shot struct {
	w    *wire
	done chan string // what to send; "" closes
}

func newDuel(t *testing.T) *duel {
	d := &duel{armed: make(chan bool), shots: make(chan *shot, 10), closed: make(chan int, 10)}
	d.peer = serve(t, func(w *wire) {
		for {
			if req, _ := w.request(); req == nil {
				break
			}
			reply := hello
			select {
			case <-d.armed:
				s := &shot{w, make(chan string, 1)}
				d.shots <- s
				select {
				case reply = <-s.done:
				case <-w.stop:
					return
				}
			default:
			}
			if reply == "" {
				return
			}
			w.send(reply)
		}
		select {
		case d.closed <- w.id:
		default:
		}
	})
	return d
}

// hedging returns a client that has measured d and hedges after 2 ms.
func hedging(t *testing.T, d *duel) *Client {
	c := newClient(t, Options{Hedge: Hedge{SamplesMin: 10, BudgetPercent: 100, DelayMin: 2 * time.Millisecond}})
	for range 10 {
		var resp Response
		require.NoError(t, c.Do(nil, nil, &Request{URL: d.url("/"), Hedge: true}, &resp))
		resp.Close()
	}
	return c
}

type outcome struct {
	body   string
	hedged bool
	tries  int
	err    error
}

func (d *duel) ask(c *Client, ctx context.Context) <-chan outcome {
	done := make(chan outcome, 1)
	close(d.armed)
	go func() {
		var resp Response
		var o outcome
		defer func() {
			resp.Close()
			done <- o
		}()
		if o.err = c.Do(nil, ctx, &Request{URL: d.url("/"), Hedge: true}, &resp); o.err == nil {
			var b []byte
			b, o.err = resp.ReadAll(100)
			o.body, o.hedged, o.tries = string(b), resp.Hedged, resp.Tries
		}
	}()
	return done
}

const (
	fromFirst  = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
	fromSecond = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
)

func TestHedge(t *testing.T) {
	tests := []struct {
		why           string
		first, second string // in this order; "-" is no answer at all
		secondBefore  bool
		want          outcome
	}{
		{"the second is faster", "-", fromSecond, false, outcome{"second", true, 2, nil}},
		{"the first is faster", fromFirst, "-", false, outcome{"first", false, 1, nil}},
		{"the first breaks", "nonsense", fromSecond, false, outcome{"second", true, 2, nil}},
		{"the second breaks before the first answers", fromFirst, "nonsense", true, outcome{"first", false, 1, nil}},
		{"both break", "nonsense", "nonsense", false, outcome{err: errAny}},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			d := newDuel(t)
			c := hedging(t, d)
			before := c.Stats().Hedges
			done := d.ask(c, nil)
			first, second := <-d.shots, <-d.shots
			fire := func(s *shot, reply string) {
				if reply != "-" {
					s.done <- reply
				}
			}
			if tt.secondBefore {
				fire(second, tt.second)
				<-d.closed // by the client, which has seen it
				fire(first, tt.first)
			} else {
				fire(first, tt.first)
				fire(second, tt.second)
			}
			got := <-done
			if tt.want.err != nil {
				requireKind(t, got.err, KindProtocol, StageHead)
				got.err = tt.want.err
			}
			assert.Equal(t, tt.want, got)
			assert.Equal(t, before+1, c.Stats().Hedges)
			eventually(t, "the loser is gone", func() bool { return c.Stats().Open == c.Stats().Idle })
		})
	}
}

var errAny = errors.New("any")

func TestHedgeIsCancelledAsAWhole(t *testing.T) {
	d := newDuel(t)
	c := hedging(t, d)
	ctx, cancel := context.WithCancel(context.Background())
	done := d.ask(c, ctx)
	<-d.shots
	<-d.shots
	cancel()
	o := <-done
	assert.ErrorIs(t, requireKind(t, o.err, KindCancelled, StageHead), context.Canceled)
	eventually(t, "both are gone", func() bool { return c.Stats().Open == c.Stats().Idle })
}

// The body is read from the winner, under the caller's context.
func TestHedgedBodyIsCancelled(t *testing.T) {
	d := newDuel(t)
	c := hedging(t, d)
	close(d.armed)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-d.shots
		(<-d.shots).done <- "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
	}()
	var resp Response
	require.NoError(t, c.Do(nil, ctx, &Request{URL: d.url("/"), Hedge: true}, &resp))
	require.True(t, resp.Hedged)
	cancel()
	_, err := resp.ReadAll(100)
	assert.ErrorIs(t, requireKind(t, err, KindCancelled, StageBody), context.Canceled)
	resp.Close()
}

func TestNoHedge(t *testing.T) {
	tests := []struct {
		why string
		o   Hedge
		req Request
	}{
		{"not allowed", Hedge{SamplesMin: 5, BudgetPercent: 100}, Request{}},
		{"not idempotent", Hedge{SamplesMin: 5, BudgetPercent: 100}, Request{Hedge: true, Method: "POST"}},
		{"nothing known of the host yet", Hedge{SamplesMin: 1000, BudgetPercent: 100}, Request{Hedge: true}},
		{"no budget", Hedge{SamplesMin: 5, BudgetPercent: 1}, Request{Hedge: true}},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			d := newDuel(t)
			tt.o.DelayMin = time.Microsecond
			c := newClient(t, Options{Hedge: tt.o})
			req := tt.req
			req.URL = d.url("/")
			for range 10 {
				var resp Response
				require.NoError(t, c.Do(nil, nil, &req, &resp))
				resp.Close()
			}
			close(d.armed)
			done := make(chan error)
			go func() {
				var resp Response
				req.Timeout = 100 * time.Millisecond // long after any hedge
				err := c.Do(nil, nil, &req, &resp)
				resp.Close()
				done <- err
			}()
			requireTimeout(t, <-done, StageHead)
			assert.LessOrEqual(t, len(d.shots), 1)
			assert.Zero(t, c.Stats().Hedges)
		})
	}
}

func TestHedgeBudget(t *testing.T) {
	p := &pool{client: New(Options{})}
	x := &call{pool: p, host: &host{}}
	hedges := 0
	for range 10000 {
		p.hedgeDelay(x.host)
		if p.allowHedge(x) {
			hedges++
		}
	}
	assert.InDelta(t, 500, hedges, 1)
	for range 10000 {
		p.hedgeDelay(x.host)
	}
	burst := 0
	for p.allowHedge(x) {
		burst++
	}
	assert.Equal(t, hedgeBurst, burst)
	assert.False(t, func() bool { p.hedgeDelay(x.host); x.queued = true; p.hedgeTokens = 5; return p.allowHedge(x) }(), "a queued request is not hedged")
}
