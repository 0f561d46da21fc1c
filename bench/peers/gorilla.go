package main

import (
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// serveGorilla echoes messages on gorilla/websocket, with a write pool as its documentation recommends for many connections.
func serveGorilla(o options) error {
	var writeBuffers sync.Pool
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferPool: &writeBuffers}
	http.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, p, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, p) != nil {
				return
			}
		}
	})
	messages := newTopic()
	http.HandleFunc("/feed", messages.feed(&upgrader))
	http.HandleFunc("POST /publish", published(messages.publish))
	return http.ListenAndServe(o.Listen, nil)
}
