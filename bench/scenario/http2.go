package scenario

import (
	"tafe/bench/load"
	"tafe/bench/run"
)

// overHTTP2 are the scenarios of HTTP/2. Without TLS it is spoken by prior knowledge.
var overHTTP2 = []Scenario{
	{
		Number: 14, Name: "http2", Title: "Plaintext over HTTP/2",
		Question: "What does a stream cost, and what is shared by the streams of a connection?",
		Peers:    []string{"tafe", "nethttp", "nginx", "haproxy", "h2o"}, OfCapacity: []float64{0.6}, Quick: []string{"10 streams on each of 16 connections"},
		Cases: []run.Case{
			streams("1 stream on each of 64 connections", 64, 1, run.RolePlain, Short2()[0]),
			streams("10 streams on each of 16 connections", 16, 10, run.RolePlain, Short2()[0]),
			streams("100 streams on each of 4 connections", 4, 100, run.RolePlain, Short2()[0]),
		},
	},
	{
		Number: 14, Name: "http2-tls", Title: "Plaintext over HTTP/2 and TLS 1.3",
		Question: "And over TLS, as browsers speak it?", Peers: []string{"tafe", "nethttp", "nginx", "haproxy", "h2o"},
		Cases: []run.Case{
			streams("1 stream on each of 16 connections", 16, 1, run.RoleTLS, Short2()[0]),
			streams("10 streams on each of 16 connections", 16, 10, run.RoleTLS, Short2()[0]),
		},
	},
	{
		Number: 14, Name: "http2-file", Title: "A file of 1 MB over HTTP/2",
		Question: "What does flow control cost?", Peers: []string{"tafe", "nethttp", "nginx", "h2o"},
		Cases: []run.Case{
			streams("4 streams on each of 4 connections", 4, 4, run.RoleStatic, get2("1m.bin", "/1m.bin", int64(run.StaticFiles["1m.bin"]))),
		},
	},
	{
		Number: 14, Name: "http2-proxy", Title: "HTTP/2 through a proxy to an upstream of HTTP/1.1",
		Question: "What does it cost to pass the streams of a connection on as requests of HTTP/1.1?", Peers: []string{"tafe", "nethttp", "nginx", "haproxy"},
		Cases: []run.Case{
			streams("1 KB, 10 streams on each of 16 connections", 16, 10, run.RoleProxy, get2("1 KB", "/1k", 1<<10)),
			streams("1 MB, 4 streams on each of 4 connections", 4, 4, run.RoleProxy, get2("1 MB", "/1m", 1<<20)),
		},
	},
	{
		Number: 14, Name: "grpc", Title: "Unary calls of gRPC through a proxy",
		Question: "What does it cost to pass a call on, with its trailers?", Peers: []string{"tafe", "nethttp", "nginx", "haproxy"},
		Cases: []run.Case{
			streams("to an upstream of HTTP/2", 16, 10, run.RoleCalls, call()),
			without(streams("to an upstream of HTTP/1.1", 16, 10, run.RoleCalls1, call()), "nginx"), // it drops trailers of HTTP/1.1
		},
	},
}

func streams(name string, conns, depth int, role run.Role, request load.Request) run.Case {
	c := run.Case{Name: name, Role: role, Plan: load.Plan{Conns: conns, Depth: depth, HTTP2: true, Seed: seed, Requests: []load.Request{request}}}
	if role == run.RoleTLS {
		c.TLS = load.TLSKept
	}
	return c
}
