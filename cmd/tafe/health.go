// health.go owns the two questions that a load balancer asks: does every loop turn, and are new requests welcome. It answers
// on goroutines of its own, so that it answers while every loop is stuck.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"tafe/app"
)

// A loop that has not turned for turnMax is stuck. It is asked every turnPeriod.
const (
	turnMax    = 5 * time.Second
	turnPeriod = time.Second
)

// poster is a loop as the pulse sees it.
type poster interface{ Post(func()) bool }

// pulse knows when each loop last turned. Any goroutine.
type pulse struct {
	loops []poster
	beats []beat
}

type beat struct {
	last    atomic.Int64 // Unix nanoseconds
	pending atomic.Bool  // asked, not yet answered: a stuck loop is asked once
}

func newPulse(loops []poster, now time.Time) *pulse {
	p := &pulse{loops: loops, beats: make([]beat, len(loops))}
	for i := range p.beats {
		p.beats[i].last.Store(now.UnixNano())
	}
	return p
}

// ask has every loop note the time when it next turns.
func (p *pulse) ask(clock func() time.Time) {
	for i, l := range p.loops {
		b := &p.beats[i]
		if b.pending.Swap(true) {
			continue
		}
		posted := l.Post(func() {
			b.last.Store(clock().UnixNano())
			b.pending.Store(false)
		})
		if !posted {
			b.pending.Store(false)
		}
	}
}

// stuck names the loops that have not turned for turnMax.
func (p *pulse) stuck(now time.Time) (numbers []int) {
	for i := range p.beats {
		if now.UnixNano()-p.beats[i].last.Load() > int64(turnMax) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

func (p *pulse) run(ctx context.Context) {
	ticker := time.NewTicker(turnPeriod)
	defer ticker.Stop()
	for {
		p.ask(time.Now)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// healthRoutes are /healthz and /readyz.
func healthRoutes(p *pulse, draining func() bool) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if stuck := p.stuck(time.Now()); len(stuck) > 0 {
			http.Error(w, fmt.Sprintf("loops %v have not turned for %v", stuck, turnMax), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if draining() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// adminListener serves the health routes on net/http.
type adminListener struct {
	listener net.Listener
	server   *http.Server
	stop     context.CancelFunc
	ended    chan struct{}
}

func listenAdmin(address string) (*adminListener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return &adminListener{listener: l, ended: make(chan struct{})}, nil
}

func (a *adminListener) addr() string { return a.listener.Addr().String() }

// serve answers until close.
func (a *adminListener) serve(s *app.Server, log *slog.Logger) {
	var loops []poster
	for _, l := range s.Engine().Loops() {
		loops = append(loops, l)
	}
	p := newPulse(loops, time.Now())
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	go p.run(ctx)
	a.server = &http.Server{
		Handler:           healthRoutes(p, s.Draining),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(a.ended)
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin listener ended", "error", err)
		}
	}()
}

// close ends the listener and what it serves at once.
func (a *adminListener) close() error {
	if a.server == nil {
		return a.listener.Close()
	}
	a.stop()
	err := a.server.Close()
	<-a.ended
	return err
}
