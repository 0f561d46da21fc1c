package main

import (
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
)

func serveNbio(o options) error {
	logging.SetLevel(logging.LevelNone)
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network: "tcp", Addrs: []string{o.Listen}, Handler: routes(o, true), NPoller: 1, MaxLoad: 200_000,
	})
	if err := engine.Start(); err != nil {
		return err
	}
	select {}
}
