package looptest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
)

// ask sends a line and reads one, as a synchronous client does.
func ask(dial func(context.Context, string, string) (net.Conn, error), line string) (string, error) {
	c, err := dial(context.Background(), "tcp", "backend:1")
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(answer), err
}

func shout(p *looptest.Peer) {
	p.OnReceive = func(p *looptest.Peer, b []byte) { p.Send([]byte(strings.ToUpper(string(b)))) }
}

func TestDial(t *testing.T) {
	for seed := range uint64(20) {
		l := looptest.New(t, looptest.Options{Seed: seed})
		l.Listen("backend:1", shout)
		answers := map[int]string{}
		for i := range 5 {
			l.Start(func(*loop.Task) { answers[i], _ = ask(l.DialContext, fmt.Sprint("question ", i)) })
		}
		l.Advance(time.Minute)
		require.Len(t, answers, 5)
		for i, a := range answers {
			require.Equal(t, fmt.Sprint("QUESTION ", i), a, "seed %d", seed)
		}
	}
}

func TestDialEndings(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tc := range []struct {
		why    string
		accept func(*looptest.Peer)
		ctx    context.Context
		check  func(error)
	}{
		{"no listener", nil, context.Background(), func(err error) { require.ErrorIs(t, err, syscall.ECONNREFUSED) }},
		{"a context that has ended", shout, cancelled, func(err error) { require.ErrorIs(t, err, context.Canceled) }},
		{"a backend that ends its stream", (*looptest.Peer).CloseWrite, context.Background(), func(err error) { require.ErrorIs(t, err, io.EOF) }},
		{"a backend that leaves, and answers what still comes with a reset", (*looptest.Peer).Close, context.Background(), func(err error) { require.Error(t, err) }},
		{"a backend that resets", (*looptest.Peer).Reset, context.Background(), func(err error) { require.ErrorIs(t, err, syscall.ECONNRESET) }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l := looptest.New(t, looptest.Options{})
			l.Listen("backend:1", tc.accept)
			l.Run(func(*loop.Task) {
				_, err := ask(func(_ context.Context, network, address string) (net.Conn, error) {
					return l.DialContext(tc.ctx, network, address)
				}, "hello")
				tc.check(err)
			})
		})
	}
	l := looptest.New(t, looptest.Options{})
	_, err := l.DialContext(context.Background(), "tcp", "backend:1")
	require.ErrorIs(t, err, loop.ErrForeignGoroutine)
}

func TestDialDisconnects(t *testing.T) {
	looptest.Disconnects(t, looptest.Options{Seed: 1}, func(t *testing.T, l *looptest.Loop) {
		l.Listen("backend:1", shout)
		var answer string
		var err error
		r := l.Start(func(*loop.Task) { answer, err = ask(l.DialContext, "hello") })
		l.Advance(time.Minute)
		require.True(t, r.Ended(), "whatever breaks, the task goes on")
		if !l.Cut() {
			require.NoError(t, err)
			require.Equal(t, "HELLO", answer)
		}
	})
}
