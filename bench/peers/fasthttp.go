package main

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"tafe/bench/peers/work"
)

func serveFastHTTP(o options) error {
	client := &fasthttp.HostClient{Addr: o.Backend, MaxConns: 4096}
	url := "http://" + o.Backend + "/delay"
	plaintext := []byte(work.Plaintext)
	server := &fasthttp.Server{
		Name:               "fasthttp",
		MaxRequestBodySize: 8 << 20,
		Handler: func(ctx *fasthttp.RequestCtx) {
			switch string(ctx.Path()) {
			case "/plaintext":
				ctx.SetContentType("text/plain")
				ctx.SetBody(plaintext)
			case "/json":
				ctx.SetContentType("application/json")
				b, err := json.Marshal(work.Message{Message: work.Plaintext})
				if err != nil {
					ctx.Error(err.Error(), fasthttp.StatusInternalServerError)
					return
				}
				ctx.Response.SetBodyRaw(b)
			case "/echo":
				ctx.SetContentTypeBytes(ctx.Request.Header.ContentType())
				ctx.SetBody(ctx.PostBody())
			case "/work":
				for range work.Calls {
					if err := fetchFast(client, url); err != nil {
						ctx.Error(err.Error(), fasthttp.StatusBadGateway)
						return
					}
				}
				finishFast(ctx, o.Rounds)
			case "/hold":
				finishFast(ctx, work.HoldMillis*o.Rounds)
			case "/light":
				finishFast(ctx, work.Light(o.Rounds))
			case "/heavy":
				finishFast(ctx, work.Heavy(o.Rounds))
			case "/nap":
				time.Sleep(work.Nap)
				finishFast(ctx, 1)
			case "/fan":
				fanFast(ctx, client, o.Backend)
			case "/sleep":
				time.Sleep(work.SleepMax)
				ctx.SetBodyString(work.Done)
			default:
				ctx.Error("not found", fasthttp.StatusNotFound)
			}
		},
	}
	return server.ListenAndServe(o.Listen)
}

func fetchFast(client *fasthttp.HostClient, url string) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(url)
	return client.Do(req, resp)
}

// fanFast asks all bidders at once, each on a goroutine, under one deadline.
func fanFast(ctx *fasthttp.RequestCtx, client *fasthttp.HostClient, backend string) {
	urls, err := work.Fan(backend, string(ctx.QueryArgs().Peek("n")), string(ctx.QueryArgs().Peek("slow")))
	if err != nil {
		ctx.Error(err.Error(), fasthttp.StatusBadRequest)
		return
	}
	deadline := time.Now().Add(work.FanDeadline)
	var answered atomic.Int64
	var all sync.WaitGroup
	for _, url := range urls {
		all.Go(func() {
			req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
			defer fasthttp.ReleaseRequest(req)
			defer fasthttp.ReleaseResponse(resp)
			req.SetRequestURI(url)
			if client.DoDeadline(req, resp, deadline) == nil {
				answered.Add(1)
			}
		})
	}
	all.Wait()
	ctx.SetContentType("text/plain")
	ctx.SetBodyString(work.FanDone(int(answered.Load()), len(urls)))
}

func finishFast(ctx *fasthttp.RequestCtx, rounds int) {
	if work.Burn(rounds) == 0 {
		ctx.Error("zero", fasthttp.StatusInternalServerError)
		return
	}
	ctx.SetContentType("text/plain")
	ctx.SetBodyString(work.Done)
}
