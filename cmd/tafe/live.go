// /events and /ws of the demo: events to many clients by a hub, and a WebSocket. Both serve clients that send nothing without a task.

package main

import (
	"context"
	"strconv"
	"time"

	"tafe/app"
	"tafe/app/edge"
	"tafe/app/hub"
	"tafe/app/websocket"
)

// clock publishes an event every second.
type clock struct {
	hub  *hub.Hub
	stop chan struct{}
	done chan struct{}
}

// newEvents makes the handler of /events.
func newEvents(_ *struct{}, env *edge.Env) (app.Handler, error) {
	c := &clock{hub: hub.New(hub.Options{}), stop: make(chan struct{}), done: make(chan struct{})}
	started := false
	env.OnStart(func(context.Context) error {
		started = true
		go c.run()
		return nil
	})
	env.OnDrain(c.hub.Close)
	env.OnStop(func() {
		close(c.stop)
		if started {
			<-c.done
		}
	})
	return c.hub.ServeSSE, nil
}

func (c *clock) run() {
	defer close(c.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case now := <-tick.C:
			// The event is valid, and the hub is open.
			_ = c.hub.Publish(hub.Message{Event: app.Event{ID: strconv.Itoa(n), Data: now.UTC().Format(time.RFC3339)}})
		case <-c.stop:
			return
		}
	}
}

// echoMessages sends every message back.
func echoMessages(c *app.Context) error {
	ws, err := c.WebSocket(websocket.Options{Origins: []string{"*"}, Compress: true})
	if err != nil {
		return err
	}
	return ws.Serve(func(m *websocket.Message) error { return m.Conn().Write(m.Kind, m.Data) }, nil)
}
