package main

import (
	"net/http"
	"sync"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"
)

func serveNbio(o options) error {
	logging.SetLevel(logging.LevelNone)
	echo := websocket.NewUpgrader()
	echo.OnMessage(func(c *websocket.Conn, kind websocket.MessageType, p []byte) { _ = c.WriteMessage(kind, p) })
	mux := http.NewServeMux()
	mux.Handle("/", routes(o, true))
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) { _, _ = echo.Upgrade(w, r, nil) })
	feed := newMembers()
	mux.HandleFunc("/feed", feed.serve)
	mux.HandleFunc("POST /publish", published(feed.publish))
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network: "tcp", Addrs: []string{o.Listen}, Handler: mux, NPoller: 1, MaxLoad: 200_000,
	})
	if err := engine.Start(); err != nil {
		return err
	}
	select {}
}

// members are the WebSockets that get each message.
type members struct {
	upgrader *websocket.Upgrader
	mu       sync.Mutex
	conns    map[*websocket.Conn]struct{}
}

func newMembers() *members {
	m := &members{upgrader: websocket.NewUpgrader(), conns: map[*websocket.Conn]struct{}{}}
	m.upgrader.OnOpen(func(c *websocket.Conn) {
		m.mu.Lock()
		m.conns[c] = struct{}{}
		m.mu.Unlock()
	})
	m.upgrader.OnClose(func(c *websocket.Conn, _ error) {
		m.mu.Lock()
		delete(m.conns, c)
		m.mu.Unlock()
	})
	return m
}

func (m *members) serve(w http.ResponseWriter, r *http.Request) { _, _ = m.upgrader.Upgrade(w, r, nil) }

func (m *members) publish(message []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		_ = c.WriteMessage(websocket.BinaryMessage, message)
	}
}
