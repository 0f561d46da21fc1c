package websocket

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

// straight runs f as the handler of a connection.
func (r *rig) straight(f func(t *loop.Task)) *looptest.Run {
	return r.loop.Start(f)
}

func TestReadAndWrite(t *testing.T) {
	for seed := range uint64(5) {
		r := newRig(t, Options{}, looptest.Options{Seed: seed})
		var got []string
		run := r.straight(func(*loop.Task) {
			for {
				kind, data, err := r.conn.Read()
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
					require.Equal(t, `websocket: closed by the client with code 4000 ("bye")`, err.Error())
					_, _, again := r.conn.Read()
					require.Equal(t, err, again)
					require.Equal(t, err, r.conn.Write(Text, []byte("late")))
					return
				}
				got = append(got, string(data))
				require.NoError(t, r.conn.Write(kind, []byte(strings.ToUpper(string(data)))))
			}
		})
		r.peer.Send(text("a"))
		r.peer.Send(join(text("b"), blob("c")))
		require.Equal(t, []string{"text A", "text B", "binary C"}, r.frames())
		require.False(t, run.Ended())
		r.peer.Send(closing(4000, "bye"))
		require.True(t, run.Ended())
		require.NoError(t, run.Err())
		require.Equal(t, []string{"close 4000"}, r.frames())
		require.Equal(t, []string{"a", "b", "c"}, got)
		require.Equal(t, Stats{In: 3, Out: 3}, r.set.Stats())
	}
}

// Messages stay whole and in order when the handler loses its loop or its client at any point.
func TestEchoWithHandoffs(t *testing.T) {
	looptest.Handoffs(t, looptest.Options{}, func(t *testing.T, l *looptest.Loop) {
		set := NewSet(SetConfig{Loop: l.Loop})
		var c *Conn
		peer := l.Open(func(conn *reactor.Conn) reactor.Handler {
			c = set.Accept(Accepted{Conn: conn, Options: Options{}.WithDefaults()})
			return c
		})
		run := l.Start(func(*loop.Task) {
			for {
				kind, data, err := c.Read()
				if err != nil || c.Write(kind, data) != nil {
					return
				}
			}
		})
		peer.Send(join(text("one"), text("two")))
		peer.Send(text("three"))
		peer.Send(closing(1000, ""))
		r := &rig{t: t, peer: peer}
		require.Equal(t, []string{"text one", "text two", "text three", "close 1000"}, r.frames())
		require.True(t, run.Ended())
	})
}

func TestServe(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{})
	var ended []error
	r.loop.On(func() {
		require.NoError(t, r.conn.Serve(func(m *Message) error {
			if string(m.Data) == "wait" {
				return m.Task().Sleep(time.Second)
			}
			return m.Conn().Write(m.Kind, m.Data)
		}, func(_ *Conn, err error) { ended = append(ended, err) }))
	})
	require.Zero(t, r.loop.Stats().TasksAlive, "a client that sends nothing has no task")
	r.peer.Send(join(text("a"), text("wait"), text("b"), ping("p")))
	require.Equal(t, []string{"text a"}, r.frames(), "one message at a time, and at most one is read ahead")
	r.peer.Send(closing(1000, ""))
	require.Empty(t, ended)
	r.loop.Advance(time.Second + time.Millisecond)
	require.Equal(t, []string{"pong p", "text b", "close 1000"}, r.frames(), "messages before a close frame are served")
	require.Len(t, ended, 1)
	require.Equal(t, &CloseError{Code: 1000}, ended[0])
	require.Zero(t, r.loop.Stats().TasksAlive)
	_, _, err := r.conn.Read()
	require.ErrorIs(t, err, loop.ErrForeignGoroutine)
}

func TestServeEndsAmongTooManyTasks(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{Limits: reactor.Limits{Limits: loop.Limits{TaskMax: 1}}})
	ended := 0
	r.loop.On(func() {
		require.NoError(t, r.conn.Serve(func(*Message) error { return nil }, func(*Conn, error) { ended++ }))
		for {
			if _, err := r.loop.StartReserved(sleeper{}); err != nil {
				require.ErrorIs(t, err, loop.ErrTooManyTasks)
				break
			}
		}
	})
	r.peer.Send(closing(1000, ""))
	require.Zero(t, ended, "no task is left")
	r.loop.Advance(2 * time.Second)
	require.Equal(t, 1, ended)
	r.loop.Advance(time.Second)
	require.Equal(t, 1, ended)
}

// sleeper is a task of a second.
type sleeper struct{}

func (sleeper) Run(t *loop.Task)       { _ = t.Sleep(time.Second) }
func (sleeper) Done(*loop.Task, error) {}

func TestServeFails(t *testing.T) {
	for _, tc := range []struct {
		why    string
		serve  func(m *Message) error
		want   []string
		failed string
	}{
		{"an error", func(*Message) error { return errors.New("broken") }, []string{"close 1011"}, "broken"},
		{"a panic", func(*Message) error { panic("boom") }, []string{"close 1011"}, "loop: task panicked: boom"},
		{"a close by the handler", func(m *Message) error { m.Conn().Close(4001, "go"); return nil }, []string{"close 4001"}, ""},
		{"and its error", func(m *Message) error { m.Conn().Close(4001, "go"); return m.Conn().Write(Text, nil) }, []string{"close 4001"}, ""},
	} {
		t.Run(tc.why, func(t *testing.T) {
			r := newRig(t, Options{}, looptest.Options{})
			r.serve(tc.serve)
			r.peer.Send(join(text("a"), text("b")))
			require.Equal(t, tc.want, r.frames(), "the second message is not served")
			if tc.failed == "" {
				require.Empty(t, r.errs)
			} else {
				require.Len(t, r.errs, 1)
				require.Equal(t, tc.failed, r.errs[0].Error())
			}
			require.False(t, r.peer.Ended(), "the client's close frame is waited for")
			r.peer.Send(closing(1011, ""))
			require.True(t, r.peer.Ended())
		})
	}
}

// A handler that is busy is told that its client has left.
func TestClientLeavesBusyHandler(t *testing.T) {
	for _, tc := range []struct {
		why   string
		leave func(r *rig)
	}{
		{"a reset", func(r *rig) { r.peer.Reset() }},
		{"the end of the stream, without a close frame", func(r *rig) { r.peer.CloseWrite() }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			r := newRig(t, Options{}, looptest.Options{})
			var err error
			r.serve(func(m *Message) error {
				err = m.Task().Sleep(time.Hour)
				return err
			})
			r.peer.Send(text("a"))
			require.NoError(t, err)
			tc.leave(r)
			var closed *CloseError
			require.ErrorAs(t, err, &closed)
			require.Equal(t, Abnormal, closed.Code)
			require.Empty(t, r.errs, "this is no failure of the handler")
			require.Zero(t, r.set.Stats().Open)
		})
	}
}

func TestWriteOnly(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{})
	var err error
	run := r.loop.Start(func(task *loop.Task) {
		r.conn.task = task
		r.conn.WriteOnly()
		_, _, readErr := r.conn.Read()
		require.ErrorIs(t, readErr, ErrServing)
		for err == nil {
			if err = r.conn.Write(Text, []byte("tick")); err == nil {
				err = task.Sleep(time.Second)
			}
		}
	})
	for range 1000 {
		r.peer.Send(text("ignored"))
	}
	r.loop.Advance(1500 * time.Millisecond)
	require.Equal(t, []string{"text tick", "text tick"}, r.frames())
	require.Nil(t, r.conn.msg)
	r.peer.Send(closing(1001, ""))
	require.True(t, run.Ended(), "its wait has ended")
	require.Equal(t, &CloseError{Code: 1001}, err)
	require.Equal(t, []string{"close 1001"}, r.frames())
}

func TestPings(t *testing.T) {
	r := newRig(t, Options{PingEvery: 10 * time.Second}, looptest.Options{})
	r.echo()
	r.loop.Advance(9 * time.Second)
	require.Empty(t, r.frames())
	r.peer.Send(text("a"))
	require.Equal(t, []string{"text a"}, r.frames())
	r.loop.Advance(9 * time.Second)
	require.Empty(t, r.frames(), "a client that talks is not asked")
	r.loop.Advance(2 * time.Second)
	require.Equal(t, []string{"ping "}, r.frames())
	r.peer.Send(frameOf(ws.OpPong, true, 0, ""))
	r.loop.Advance(11 * time.Second)
	require.Equal(t, []string{"ping "}, r.frames(), "and asked again")
	require.Empty(t, r.reasons)
	r.loop.Advance(11 * time.Second)
	require.Equal(t, map[string]int{ReasonSilent: 1}, r.reasons)
	require.True(t, r.peer.Gone())

	off := newRig(t, Options{PingEvery: -1}, looptest.Options{})
	off.echo()
	off.loop.Advance(time.Hour)
	require.Empty(t, off.frames())
	require.False(t, off.peer.Gone())
}

func TestCloseHandshake(t *testing.T) {
	for _, tc := range []struct {
		why   string
		after func(r *rig)
	}{
		{"the client answers", func(r *rig) { r.peer.Send(closing(1000, "")) }},
		{"the client sends messages first", func(r *rig) { r.peer.Send(join(text(strings.Repeat("x", 100_000)), closing(1000, ""))) }},
		{"the client is silent", func(r *rig) { r.loop.Advance(8 * time.Second) }},
		{"the client leaves", func(r *rig) { r.peer.Close() }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			r := newRig(t, Options{}, looptest.Options{})
			run := r.straight(func(*loop.Task) {
				r.conn.Close(4002, strings.Repeat("é", 100))
				_, _, err := r.conn.Read()
				var closed *CloseError
				require.ErrorAs(t, err, &closed)
				require.True(t, closed.Local)
			})
			require.True(t, run.Ended(), "Close does not wait")
			f, err := ws.ReadFrame(strings.NewReader(string(r.peer.Received())))
			require.NoError(t, err)
			code, reason := ws.ParseCloseFrameData(f.Payload)
			require.EqualValues(t, 4002, code)
			require.Equal(t, strings.Repeat("é", 61), reason, "cut between characters")
			require.False(t, r.peer.Ended())
			tc.after(r)
			require.True(t, r.peer.Ended() || r.peer.Gone())
			require.Zero(t, r.set.Stats().In, "what the client sent after that is dropped")
			r.loop.Advance(3 * time.Second)
			require.Zero(t, r.loop.Stats().Timers)
			require.Zero(t, r.set.Stats().Open)
			require.Empty(t, r.reasons)
		})
	}
}

func TestGoAway(t *testing.T) {
	t.Run("an idle one is closed at once", func(t *testing.T) {
		r := newRig(t, Options{}, looptest.Options{})
		r.echo()
		r.loop.On(r.set.GoAway)
		r.loop.Settle()
		require.Equal(t, []string{"close 1001"}, r.frames())
		r.peer.Send(closing(1001, ""))
		require.True(t, r.peer.Ended())
	})
	t.Run("a task in Read ends", func(t *testing.T) {
		r := newRig(t, Options{}, looptest.Options{})
		run := r.straight(func(*loop.Task) {
			_, _, err := r.conn.Read()
			require.Equal(t, &CloseError{Code: GoingAway, Reason: "the server is shutting down", Local: true}, err)
		})
		r.loop.On(r.set.GoAway)
		r.loop.Settle()
		require.True(t, run.Ended())
		require.Equal(t, []string{"close 1001"}, r.frames())
	})
	t.Run("a message is served before", func(t *testing.T) {
		r := newRig(t, Options{}, looptest.Options{})
		r.serve(func(m *Message) error {
			if err := m.Task().Sleep(goAwayGrace / 2); err != nil {
				return err
			}
			return m.Conn().Write(m.Kind, m.Data)
		})
		r.peer.Send(text("a"))
		r.loop.On(r.set.GoAway)
		r.loop.Settle()
		require.Empty(t, r.frames())
		r.loop.Advance(goAwayGrace/2 + time.Millisecond)
		require.Equal(t, []string{"text a", "close 1001"}, r.frames())
	})
	t.Run("a handler that does not read is closed after a while", func(t *testing.T) {
		r := newRig(t, Options{}, looptest.Options{})
		var err error
		run := r.straight(func(task *loop.Task) {
			for err == nil {
				_ = task.Sleep(100 * time.Millisecond)
				err = r.conn.Write(Text, []byte("tick"))
			}
		})
		r.loop.On(r.set.GoAway)
		r.loop.Settle()
		r.loop.Advance(goAwayGrace + 200*time.Millisecond)
		require.True(t, run.Ended())
		frames := r.frames()
		require.Equal(t, "close 1001", frames[len(frames)-1])
		require.Equal(t, "text tick", frames[0])
	})
}

// A client that does not read: Write waits, its pings are not answered without end, and the write timeout ends the connection.
func TestSlowClient(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{Limits: reactor.Limits{OutboundMax: 10_000, WriteTimeout: 10 * time.Second}})
	r.peer.Stall()
	written := 0
	var err error
	run := r.straight(func(*loop.Task) {
		for err == nil {
			if err = r.conn.Write(Binary, make([]byte, 1000)); err == nil {
				written++
			}
		}
	})
	require.Positive(t, written)
	for range 3 {
		r.peer.Send(ping("x"))
	}
	before := written
	r.loop.Advance(time.Second)
	require.Equal(t, before, written, "it waits")
	r.loop.Advance(30 * time.Second)
	require.True(t, run.Ended())
	var closed *CloseError
	require.ErrorAs(t, err, &closed)
	require.ErrorIs(t, err, reactor.ErrWriteTimeout)
	require.Equal(t, map[string]int{ReasonSlow: 1}, r.reasons)

	flood := newRig(t, Options{}, looptest.Options{})
	flood.echo()
	flood.peer.Stall()
	for range 20 {
		flood.peer.Send([]byte(strings.Repeat(string(ping(strings.Repeat("p", 125))), 100)))
	}
	flood.loop.On(func() { require.LessOrEqual(t, flood.conn.Unsent(), pongsMax+200) })
}

// A message that does not fit waits for the handler: the client is slowed down, and nothing grows.
func TestBackpressure(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{})
	for range 1000 {
		r.peer.Send(blob(strings.Repeat("x", 1000)))
	}
	r.loop.On(func() {
		require.True(t, r.conn.ready)
		require.Less(t, len(r.conn.conn.Input()), 2*readAheadMax)
	})
	got := 0
	r.straight(func(*loop.Task) {
		for {
			if _, data, err := r.conn.Read(); err != nil || len(data) != 1000 {
				return
			}
			got++
		}
	})
	require.Equal(t, 1000, got)
}

func TestReadIsForOneTask(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{})
	first := r.straight(func(*loop.Task) {
		_, data, err := r.conn.Read()
		require.NoError(t, err)
		require.Equal(t, "a", string(data))
	})
	second := r.straight(func(*loop.Task) {
		_, _, err := r.conn.Read()
		require.ErrorIs(t, err, ErrReading)
	})
	require.True(t, second.Ended())
	cancelled := newRig(t, Options{}, looptest.Options{})
	run := cancelled.straight(func(*loop.Task) {
		_, _, err := cancelled.conn.Read()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, cancelled.conn.Err(), "the connection stays open")
	})
	run.Cancel(context.DeadlineExceeded)
	require.True(t, run.Ended())
	r.peer.Send(text("a"))
	require.True(t, first.Ended())
}

// Goroutines that are not tasks may write too.
func TestWriteFromGoroutine(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{})
	r.echo()
	wrote := make(chan error)
	go func() {
		for range 3 {
			if err := r.conn.Write(Text, []byte("from beside")); err != nil {
				wrote <- err
				return
			}
		}
		r.conn.Close(Normal, "")
		wrote <- nil
	}()
	run := r.loop.Start(func(task *loop.Task) {
		w := task.Prepare()
		go func() { require.NoError(t, <-wrote); w.Post() }()
		_ = task.Park()
	})
	require.NoError(t, r.loop.Await(run))
	require.Equal(t, []string{"text from beside", "text from beside", "text from beside", "close 1000"}, r.frames())
}

func TestSend(t *testing.T) {
	r := newRig(t, Options{Compress: true, CompressMin: 100}, looptest.Options{})
	plain := newRig(t, Options{}, looptest.Options{})
	short, long := Encode(Text, []byte("hello")), Encode(Text, []byte(strings.Repeat("hello ", 100)))
	for _, one := range []*rig{r, plain} {
		one.echo()
		one.loop.On(func() {
			require.True(t, one.conn.Send(short))
			require.True(t, one.conn.Send(long))
		})
	}
	require.Equal(t, []string{"text hello", "text 600 bytes"}, plain.frames())
	frames := r.frames()
	require.Equal(t, "text hello", frames[0])
	require.True(t, strings.HasPrefix(frames[1], "text* "), frames[1])
	closed := 0
	r.loop.On(func() {
		r.conn.WhenClosed(func() { closed++ })
		r.conn.CloseSlow()
	})
	require.Equal(t, 1, closed)
	require.Equal(t, map[string]int{ReasonSlow: 1}, r.reasons)
	r.loop.On(func() {
		require.False(t, r.conn.Send(short))
		r.conn.WhenClosed(func() { closed++ })
	})
	require.Equal(t, 2, closed)
}
