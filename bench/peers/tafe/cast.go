package main

import (
	"net/http"

	"tafe/app"
	"tafe/app/hub"
	"tafe/app/websocket"
)

// addFeed adds the streams that get each message of POST /publish: server-sent events at /events, WebSockets at /feed.
func addFeed(a *app.App) {
	feed := hub.New(hub.Options{})
	a.Get("/events", feed.ServeSSE)
	a.Get("/feed", func(c *app.Context) error {
		ws, err := c.WebSocket(websocket.Options{})
		if err != nil {
			return err
		}
		if _, err := feed.Join(ws); err != nil {
			return err
		}
		return ws.Serve(func(*websocket.Message) error { return nil }, nil)
	})
	a.Post("/publish", func(c *app.Context) error {
		message, err := c.Body()
		if err != nil {
			return err
		}
		if err := feed.Publish(hub.Message{Event: app.Event{Data: string(message)}}); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
}
