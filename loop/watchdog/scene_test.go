// The stage of the scenario tests: an engine with real sockets. A connection sends one word, the
// name of a route, and gets its response.

package watchdog

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

const testBudget = 10 * time.Millisecond

// stage is a running engine with a watchdog.
type stage struct {
	t       testing.TB
	engine  *reactor.Engine
	steward *loop.Steward
	dog     *Watchdog
	log     *testrig.Buffer
	addr    string
	base    time.Time
	routes  map[string]func(*loop.Task)
	names   map[string]*string

	procs   int // GOMAXPROCS before
	stopped bool
}

func newStage(t testing.TB, loops int, config Config, routes map[string]func(*loop.Task)) *stage {
	t.Helper()
	return openStage(t, loops, -1, config, routes, true)
}

// newHandoffStage is newStage with handoff.
func newHandoffStage(t testing.TB, config Config, routes map[string]func(*loop.Task)) *stage {
	t.Helper()
	return openStage(t, 1, loop.HandoffTime, config, routes, true)
}

func openStage(t testing.TB, loops int, handoff time.Duration, config Config, routes map[string]func(*loop.Task), watched bool) *stage {
	t.Helper()
	// One P for each loop, the watchdog, the clients and timers. An engine with handoff raises
	// GOMAXPROCS further.
	procs := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(max(procs, loops+3))
	s := &stage{t: t, base: time.Now(), log: &testrig.Buffer{}, routes: routes, names: map[string]*string{}, procs: procs}
	for name := range routes {
		s.names[name] = &name
	}
	config.Log = slog.New(slog.NewTextHandler(s.log, nil))
	s.steward = loop.NewSteward()
	config.Steward = s.steward
	s.dog = New(config)
	observe := s.dog.Observe
	if !watched {
		observe = nil
	}
	var err error
	s.engine, err = reactor.Start(reactor.Config{Handoff: handoff,
		Addr: "127.0.0.1:0", Loops: loops, Log: config.Log, Observe: observe, Steward: s.steward,
		Limits: reactor.Limits{Limits: loop.Limits{SliceBudget: testBudget}},
		Open:   func(*reactor.Conn) reactor.Handler { return &line{stage: s} },
	})
	require.NoError(t, err)
	s.addr = s.engine.Addr().String()
	if watched {
		s.dog.Start()
	}
	if watched || handoff > 0 {
		s.steward.Start()
	}
	t.Cleanup(s.stop)
	return s
}

func (s *stage) stop() {
	s.dog.Stop()
	if s.stopped {
		return
	}
	s.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(s.t, s.engine.Stop(ctx))
	s.steward.Stop()
	runtime.GOMAXPROCS(s.procs)
}

// line is one connection; a request is "route id\n".
type line struct {
	stage *stage
	c     *reactor.Conn
	route string
	id    string
}

func (h *line) Data(c *reactor.Conn) {
	if c.InputEnded() {
		c.Close()
		return
	}
	for end := 0; end >= 0; {
		in := c.Input()
		if end = bytes.IndexByte(in, '\n'); end < 0 {
			return
		}
		route, id, _ := strings.Cut(string(in[:end]), " ")
		c.Consume(end + 1)
		if _, err := c.Loop().Start(&line{stage: h.stage, c: c, route: route, id: id}); err != nil {
			c.Close()
		}
	}
}
func (h *line) Timeout(c *reactor.Conn)     { c.Close() }
func (h *line) Closed(*reactor.Conn, error) {}

var getMethod = "GET"

func (h *line) Run(t *loop.Task) {
	t.Describe(h.stage.names[h.route], &getMethod, []byte("/"+h.route), []byte(h.id), nil, h.c.Label())
	if run := h.stage.routes[h.route]; run != nil {
		t.Outside(func() { run(t) })
	}
	d := t.Observe().Delayed()
	h.c.Write(fmt.Appendf(nil, "%s %d %d %d\n", h.id, d.Total, d.Overrun, time.Since(h.stage.base)))
}

func (h *line) Done(*loop.Task, error) {}

// call makes one request on a connection of its own and waits for the answer.
func (s *stage) call(route, id string) string {
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, route+" "+id+"\n")
	require.NoError(s.t, err)
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	answer, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(s.t, err)
	return strings.TrimSpace(answer)
}

// callOften calls a route every other millisecond until stop is closed.
func (s *stage) callOften(route string, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
			s.call(route, fmt.Sprint(route, i))
		}
	}
}

// callUntilBlamed calls a route until one of its overruns is closed and blamed. On a busy machine the
// watchdog may miss the first ones, and captures that stopped the process for long use up their credit
// for many seconds.
func (s *stage) callUntilBlamed(route string) {
	s.t.Helper()
	s.callUntil(route, func(o Overrun) bool { return o.Blamed })
}

// callUntilJudged is callUntilBlamed for one verdict. The matrix in docs/watchdog.md shows how often the
// verdict is another.
func (s *stage) callUntilJudged(route string, v Verdict) {
	s.t.Helper()
	s.callUntil(route, func(o Overrun) bool { return o.Blamed && o.Verdict == v })
}

func (s *stage) callUntil(route string, ok func(Overrun) bool) {
	s.t.Helper()
	s.until(route, func() { s.call(route, route) }, func(o Overrun) bool { return o.Route == route && ok(o) })
}

// until repeats hold, which causes an overrun that what names, until a closed record of it is as wanted.
func (s *stage) until(what string, hold func(), wanted func(Overrun) bool) {
	s.t.Helper()
	for limit := time.Now().Add(2 * time.Minute); time.Now().Before(limit); {
		hold()
		if slices.ContainsFunc(s.dog.Recent(), func(o Overrun) bool { return o.Final && wanted(o) }) {
			return
		}
	}
	var lines strings.Builder
	for _, o := range s.dog.Recent() {
		lines.WriteString(o.Line() + "\n")
	}
	s.t.Fatalf("%s was never judged like that:\n%s", what, lines.String())
}

// settled waits until the overruns that have ended are closed records.
func (s *stage) settled() []Overrun {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		for _, ln := range s.dog.watchedLoops() {
			ln.mu.Lock()
			open := len(ln.ended)+len(ln.beside) > 0
			for _, e := range ln.ledger.entries {
				open = open || !e.settled
			}
			ln.mu.Unlock()
			if open {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
	s.dog.Stop()
	return s.dog.Recent()
}
