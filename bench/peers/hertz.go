package main

import (
	"context"
	"io"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/client"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/hertz/pkg/common/utils"
	"github.com/cloudwego/hertz/pkg/protocol"

	"tafe/bench/peers/work"
)

func serveHertz(o options) error {
	hlog.SetOutput(io.Discard)
	backend, err := client.NewClient(client.WithMaxConnsPerHost(4096))
	if err != nil {
		return err
	}
	url := "http://" + o.Backend + "/delay"
	plaintext := []byte(work.Plaintext)
	h := server.New(server.WithHostPorts(o.Listen), server.WithDisablePrintRoute(true), server.WithMaxRequestBodySize(8<<20))
	h.GET("/plaintext", func(_ context.Context, c *app.RequestContext) { c.Data(200, "text/plain", plaintext) })
	h.GET("/json", func(_ context.Context, c *app.RequestContext) {
		c.JSON(200, utils.H{"message": work.Plaintext})
	})
	h.POST("/echo", func(_ context.Context, c *app.RequestContext) {
		c.Data(200, string(c.ContentType()), c.Request.Body())
	})
	h.GET("/work", func(ctx context.Context, c *app.RequestContext) {
		for range work.Calls {
			if err := fetchHertz(ctx, backend, url); err != nil {
				c.String(502, err.Error())
				return
			}
		}
		finishHertz(c, o.Rounds)
	})
	h.GET("/hold", func(_ context.Context, c *app.RequestContext) { finishHertz(c, work.HoldMillis*o.Rounds) })
	return h.Run()
}

func fetchHertz(ctx context.Context, backend *client.Client, url string) error {
	req, resp := protocol.AcquireRequest(), protocol.AcquireResponse()
	defer protocol.ReleaseRequest(req)
	defer protocol.ReleaseResponse(resp)
	req.SetRequestURI(url)
	return backend.Do(ctx, req, resp)
}

func finishHertz(c *app.RequestContext, rounds int) {
	if work.Burn(rounds) == 0 {
		c.String(500, "zero")
		return
	}
	c.String(200, work.Done)
}
