package main

import (
	"net/http"

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
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network: "tcp", Addrs: []string{o.Listen}, Handler: mux, NPoller: 1, MaxLoad: 200_000,
	})
	if err := engine.Start(); err != nil {
		return err
	}
	select {}
}
