package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// journal records what happened, in order.
type journal struct {
	mu   sync.Mutex
	seen []string
}

func (j *journal) add(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = append(j.seen, what)
}

func TestRun(t *testing.T) {
	broken := errors.New("broken")
	complete := []string{"start", "serving", "handler", "drain", "stop 2", "stop 1"}
	for _, c := range []struct {
		why  string
		life func(l *Life, j *journal)
		end  func(cancel context.CancelFunc)
		want []string
		err  error
	}{
		{"SIGTERM drains: the request in progress is answered", nil,
			func(context.CancelFunc) { _ = syscall.Kill(os.Getpid(), syscall.SIGTERM) }, complete, nil},
		{"so does SIGINT", nil, func(context.CancelFunc) { _ = syscall.Kill(os.Getpid(), syscall.SIGINT) }, complete, nil},
		{"and the end of the context", nil, func(cancel context.CancelFunc) { cancel() }, complete, nil},
		{"a hook fails: nothing is served, and what was made is ended", func(l *Life, j *journal) {
			l.OnStart(func(context.Context) error { return broken })
			l.OnStart(func(context.Context) error { j.add("not reached"); return nil })
		}, nil, []string{"start", "stop 2", "stop 1"}, broken},
		{"a signal during a hook cancels it", func(l *Life, j *journal) {
			l.OnStart(func(ctx context.Context) error {
				_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
				<-ctx.Done()
				return ctx.Err()
			})
		}, nil, []string{"start", "stop 2", "stop 1"}, context.Canceled},
	} {
		j := &journal{}
		draining := make(chan struct{})
		life := &Life{}
		life.OnStop(func() { j.add("stop 1") })
		life.OnStart(func(context.Context) error { j.add("start"); return nil })
		life.OnDrain(func() { j.add("drain"); close(draining) })
		life.OnStop(func() { j.add("stop 2") })
		if c.life != nil {
			c.life(life, j)
		}
		a := New(Options{Log: quiet})
		ctx, cancel := context.WithCancel(t.Context())
		a.Get("/", func(x *Context) error {
			j.add("handler")
			c.end(cancel)
			if _, err := Offload(x, func() (int, error) { <-draining; return 0, nil }); err != nil {
				return err
			}
			return x.String(200, "late")
		})
		answer := make(chan string, 1)
		err := Run(ctx, a, RunConfig{ServerConfig: ServerConfig{Addr: "127.0.0.1:0", Loops: 1}, Life: life, Serving: func(s *Server) {
			j.add("serving")
			go func() { answer <- fetched("http://" + s.Addr().String() + "/") }()
		}})
		cancel()
		require.Equal(t, c.want, j.seen, c.why)
		if c.err != nil {
			require.ErrorIs(t, err, c.err, c.why)
			continue
		}
		require.NoError(t, err, c.why)
		require.Equal(t, "late", <-answer, c.why)
	}
	http.DefaultClient.CloseIdleConnections()
}

// fetched returns the body of an answer, or an error as text.
func fetched(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func TestRunThatCannotListen(t *testing.T) {
	stopped := false
	life := &Life{}
	life.OnStop(func() { stopped = true })
	err := Run(t.Context(), New(Options{Log: quiet}), RunConfig{ServerConfig: ServerConfig{Addr: "127.0.0.1:none", Loops: 1}, Life: life})
	require.Error(t, err)
	require.True(t, stopped)
}

// A second signal ends the drain; an echo of the first does not, and neither does one that is taken otherwise.
func TestSecondSignalEndsTheDrain(t *testing.T) {
	a := New(Options{Log: quiet})
	began := make(chan struct{})
	a.Get("/", func(c *Context) error {
		close(began)
		return c.Sleep(time.Hour)
	})
	s, err := Listen(a, ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	defer a.Close()
	go fetched("http://" + s.Addr().String() + "/")
	<-began
	signals, others := make(chan os.Signal, 4), make(chan os.Signal, 4)
	signals <- syscall.SIGTERM // the echo
	signals <- syscall.SIGHUP
	end := make(chan error, 1)
	first := time.Now()
	go func() {
		end <- s.Shutdown(t.Context(), DrainOptions{Timeout: time.Hour, Signals: signals, Other: func(got os.Signal) bool {
			if got == syscall.SIGHUP {
				others <- got
			}
			return got == syscall.SIGHUP
		}})
	}()
	require.Equal(t, syscall.SIGHUP, <-others)
	for {
		select {
		case err := <-end:
			require.ErrorIs(t, err, context.Canceled)
			require.Greater(t, time.Since(first), signalEcho, "the echo has ended the drain")
			http.DefaultClient.CloseIdleConnections()
			return
		case signals <- syscall.SIGTERM:
		}
	}
}

// A hook that does not return is waited for until the timeout.
func TestDrainHookThatHangs(t *testing.T) {
	a := New(Options{Log: quiet})
	defer a.Close()
	s, err := Listen(a, ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	release := make(chan struct{})
	defer close(release)
	require.NoError(t, s.Shutdown(t.Context(), DrainOptions{Timeout: 10 * time.Millisecond, Hooks: func() { <-release }}))
	require.ErrorIs(t, s.Swap(t.Context(), a), loop.ErrClosed)
}
