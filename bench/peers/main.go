// Command peer runs one of the Go servers that tafe is compared with, each set up as its own experts would: the
// defaults and documented fast paths of its project, no timeouts, no logs, no prefork.
//
//	peer nethttp|fasthttp|gnet|hertz|nbio|gorilla --listen 127.0.0.1:8080 [--backend 127.0.0.1:9000] [--rounds N]
//	peer proxy --listen 127.0.0.1:8080 --backend 127.0.0.1:9000      httputil.ReverseProxy
//	peer files --listen 127.0.0.1:8080 --root DIR                    http.FileServer
//	peer tls --listen 127.0.0.1:8443 --cert FILE --key FILE          net/http over crypto/tls
//	peer delay --listen 127.0.0.1:9000 --ms 5
//	peer calls --listen 127.0.0.1:9000                               an upstream that answers unary calls, over HTTP/1.1 and HTTP/2
//
// Every server answers GET /plaintext, GET /json, POST /echo, GET /work (three backend calls in turn, each by the
// server's own idiomatic client, and a millisecond of computation), GET /hold (twenty milliseconds of computation), and
// those that park a request GET /sleep (half a minute). gorilla serves /ws alone, and nbio too: a WebSocket that sends messages back.
// net/http, gorilla and nbio send each message of POST /publish to their clients: /events or, on WebSockets, /feed.
// The process ends with SIGTERM, at once.
package main

import (
	"flag"
	"fmt"
	"os"

	"tafe/bench/peers/work"
)

// options are what each server is started with.
type options struct {
	Listen  string // host:port
	Backend string // host:port of the delay backend, for /work
	Rounds  int    // rounds of work.Burn that make a millisecond
	Millis  int    // delay: how long an answer waits
	Root    string // files: the folder to serve
	Cert    string // tls: certificate and key, PEM files
	Key     string
	// HTTP2 and UpstreamHTTP2: net/http, HTTP/2 alone, without TLS except with tls.
	HTTP2, UpstreamHTTP2 bool
}

var servers = map[string]func(options) error{
	"nethttp":  serveNetHTTP,
	"fasthttp": serveFastHTTP,
	"gnet":     serveGnet,
	"hertz":    serveHertz,
	"nbio":     serveNbio,
	"gorilla":  serveGorilla,
	"proxy":    serveProxy,
	"files":    serveFiles,
	"tls":      serveTLS,
	"delay":    serveDelay,
	"calls":    serveCalls,
}

func main() {
	if len(os.Args) < 2 || servers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peer nethttp|fasthttp|gnet|hertz|nbio|gorilla|proxy|files|tls|delay|calls --listen ADDR ...")
		os.Exit(2)
	}
	var o options
	flags := flag.NewFlagSet("peer "+os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "address to serve")
	flags.StringVar(&o.Backend, "backend", "127.0.0.1:9000", "address of the delay backend, for /work")
	flags.IntVar(&o.Rounds, "rounds", 0, "rounds of computation that make a millisecond; 0 measures")
	flags.IntVar(&o.Millis, "ms", 5, "delay: milliseconds before an answer")
	flags.StringVar(&o.Root, "root", ".", "files: folder to serve")
	flags.StringVar(&o.Cert, "cert", "", "tls: certificate, PEM file")
	flags.StringVar(&o.Key, "key", "", "tls: key, PEM file")
	flags.BoolVar(&o.HTTP2, "http2", false, "nethttp, proxy, files, tls: speak HTTP/2")
	flags.BoolVar(&o.UpstreamHTTP2, "upstream-http2", false, "proxy: speak HTTP/2 to the backend")
	_ = flags.Parse(os.Args[2:])
	if o.Rounds == 0 {
		o.Rounds = work.RoundsPerMilli()
	}
	if err := servers[os.Args[1]](o); err != nil {
		fmt.Fprintf(os.Stderr, "peer %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
