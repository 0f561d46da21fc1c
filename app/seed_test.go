package app

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

const seeds = 150

// Split, delayed and interleaved in whatever way, every connection gets what its requests ask for, in their order.
func TestWireUnderSeeds(t *testing.T) {
	var cases []wireCase
	for _, c := range wireCases {
		if !c.eof && !strings.Contains(c.want, "{id}") {
			cases = append(cases, c)
		}
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		l := looptest.New(t, looptest.Options{Seed: seed})
		a := wireApp()
		a.freeze()
		h := newLoopState(a, l.Loop, func() time.Time { return time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC) })
		random := rand.New(rand.NewPCG(seed, 1))
		peers, wants := make([]*looptest.Peer, 3), make([]strings.Builder, 3)
		for i := range peers {
			peers[i] = l.Open(h.open)
		}
		for range 5 {
			for i, p := range peers {
				c := cases[random.IntN(len(cases))]
				wants[i].WriteString(c.want)
				p.Send([]byte(c.send))
			}
		}
		for i, p := range peers {
			require.Equal(t, wants[i].String(), string(p.Received()), "seed %d, connection %d", seed, i)
			require.False(t, p.Ended(), "seed %d", seed)
		}
		l.Close()
		require.Zero(t, h.active)
		require.Empty(t, h.conns)
	}
}

// Whenever the client is cut off, nothing is left behind.
func TestDisconnects(t *testing.T) {
	a := wireApp()
	a.Post("/everything", func(c *Context) error {
		if err := c.Sleep(time.Millisecond); err != nil {
			return err
		}
		first := make([]byte, 2)
		if _, err := c.BodyReader().Read(first); err != nil {
			return err
		}
		body, err := c.Body()
		if err != nil {
			return err
		}
		s := c.Stream(200, "")
		if _, err := fmt.Fprintf(s, "%s%s", first, body); err != nil {
			return err
		}
		if err := s.Flush(); err != nil {
			return err
		}
		_, err = s.Write(bytes.Repeat(body, 50_000))
		return err
	})
	request := "POST /everything HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
	for _, seed := range []uint64{0, 1, 2, 3} {
		o := looptest.Options{Seed: seed, Limits: reactor.Limits{OutboundMax: 32 << 10}}
		looptest.Disconnects(t, o, func(t *testing.T, l *looptest.Loop) {
			p := l.Open(a.Opener(l.Loop))
			p.Send([]byte(request))
			p.Send([]byte("01234"))
			p.Stall()
			p.Send([]byte("56789" + request + "0123456789GET /plaintext" + get))
			l.Advance(time.Second)
			p.Resume()
			l.Advance(time.Second)
			if !l.Cut() {
				got := string(p.Received())
				require.Equal(t, 2, strings.Count(got, "0123456789"), "both bodies came back")
				require.Contains(t, got, hello)
			}
		})
	}
}

// FuzzCycle throws anything at a connection. However it is split, the bytes that come back are the same; nothing panics,
// hangs or is left behind.
func FuzzCycle(f *testing.F) {
	for _, c := range wireCases {
		f.Add([]byte(c.send), uint64(7))
	}
	for _, s := range hostile {
		f.Add([]byte(s), uint64(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		if bytes.Contains(bytes.ToLower(data), []byte("100-continue")) || len(data) > 100<<10 {
			return // whether it is asked to go on depends on what has arrived, and that is as it should be
		}
		random := rand.New(rand.NewPCG(seed, 1))
		whole, wholeEnded := fuzzRun(t, data, func() int { return len(data) })
		split, splitEnded := fuzzRun(t, data, func() int { return 1 + random.IntN(1+int(seed%64)) })
		require.Equal(t, whole, split)
		require.Equal(t, wholeEnded, splitEnded)
	})
}

func fuzzRun(t *testing.T, data []byte, piece func() int) (answers string, ended bool) {
	r := newRig(t, wireApp(), reactor.Limits{})
	copy(r.state.ids[:], "fuzzfuzz")
	p := r.dial()
	for len(data) > 0 {
		n := min(len(data), piece())
		p.send(string(data[:n]))
		data = data[n:]
	}
	ended = p.eof || p.closed
	answers = p.taken()
	// A fault may be found before the end of the message, and another fault first. The test requires a refusal, not a certain one.
	if last := strings.LastIndex(answers, "HTTP/1.1 "); last >= 0 && answers[last+len("HTTP/1.1 ")] >= '4' &&
		strings.Contains(answers[last:], "Connection: close\r\n") {
		answers = answers[:last] + "refused"
	}
	p.hangUp()
	r.advance(time.Hour)
	require.Zero(t, r.state.active)
	require.Empty(t, r.state.conns)
	return answers, ended
}
