package scenario

import (
	"slices"

	"tafe/bench/load"
	"tafe/bench/run"
)

// Scenario is one question, with the cases that answer it.
type Scenario struct {
	Number   int
	Name     string // as the command line takes it
	Title    string
	Question string
	Peers    []string // all that can take part
	Cases    []run.Case
	// OfCapacity, when set, plays each case open loop at these shares of what the same peer answers closed loop.
	OfCapacity []float64
	// Note is added to the description of the method.
	Note string
	// Quick names the cases that the short run takes; empty takes all.
	Quick []string
}

var allGo = []string{"tafe", "climit", "gnet", "fasthttp", "nethttp", "hertz", "nbio"}

// speaking are the peers that read requests: all but the C limit.
var speaking = []string{"tafe", "gnet", "fasthttp", "nethttp", "hertz", "nbio"}

const seed = 2011

func plain(name string, conns, depth int, r load.Request) run.Case {
	return run.Case{Name: name, Plan: load.Plan{Conns: conns, Depth: depth, Seed: seed, Requests: []load.Request{r}}}
}

// All are the scenarios in their order.
var All = number(slices.Concat([]Scenario{
	{
		Number: 1, Name: "plaintext", Title: "Plaintext, keep-alive",
		Question: "What does the shortest request cost, and what do long heads add?", Peers: allGo,
		Cases: []run.Case{
			plain("short head", 64, 1, get("plaintext", "/plaintext", plaintextBytes)),
			plain("412-byte browser head", 64, 1, browser()),
			plain("2 KB of cookies", 64, 1, cookies()),
		},
	},
	{
		Number: 2, Name: "pipelined", Title: "Plaintext, pipelined 16 deep",
		Question: "What does a request cost when the system calls are shared by sixteen?", Peers: allGo, Quick: []string{"short head", "412-byte browser head"},
		Cases: []run.Case{
			plain("short head", 64, 16, get("plaintext", "/plaintext", plaintextBytes)),
			plain("412-byte browser head", 64, 16, browser()),
			plain("2 KB of cookies", 64, 16, cookies()),
		},
	},
	{
		Number: 3, Name: "bodies", Title: "JSON and echo",
		Question: "What do bodies cost, and do large ones disturb?", Peers: speaking, Quick: []string{"json", "echo 64 KB"},
		Cases: []run.Case{
			plain("json", 64, 1, get("json", "/json", jsonBytes)),
			plain("echo 1 KB", 64, 1, echo(1<<10)),
			plain("echo 64 KB", 64, 1, echo(64<<10)),
			plain("echo 1 MB", 16, 1, echo(1<<20)),
		},
	},
	{
		Number: 4, Name: "connect", Title: "A new connection for each request",
		Question: "What does a connection cost?", Peers: speaking,
		Cases: []run.Case{{Name: "connect, ask, close", Plan: load.Plan{Conns: 64, Reconnect: true, Seed: seed, Requests: []load.Request{closing()}}}},
	},
	{
		Number: 5, Name: "seed", Title: "The seed experiment: three backend calls of 5 ms and 1 ms of work",
		Question: "How does each server hold up, at the median and in the tail, when many requests wait for backends?",
		Peers:    seedPeers, OfCapacity: []float64{0.3, 0.6, 0.9}, Quick: []string{"64 concurrent"},
		Note: "The dashed curves, limit, are simulated: a core without any cost beside 1 ms of work and four slices of 50 us, which handle the request and the three " +
			"responses. Queueing alone gives these latencies, if ready slices run in the order in which they became ready (FIFO), or light ones first.",
		Cases: []run.Case{
			waiting("16 concurrent", 16, get("work", "/work", doneBytes)),
			waiting("64 concurrent", 64, get("work", "/work", doneBytes)),
			waiting("256 concurrent", 256, get("work", "/work", doneBytes)),
			waiting("512 concurrent", 512, get("work", "/work", doneBytes)),
		},
	},
	{
		Number: 6, Name: "holders", Title: "The same, and one request in a hundred holds the CPU for 20 ms",
		Question: "What do the other ninety-nine pay?",
		Peers:    []string{"tafe", "tafe-yield", "tafe-offload", "nethttp", "fasthttp", "gevent", "apache"}, OfCapacity: []float64{0.3, 0.6},
		Cases: []run.Case{waiting("64 concurrent", 64, get("work", "/work", doneBytes), holder())},
	},
	{
		Number: 6, Name: "beside", Title: "Plaintext at 2,000 requests/s, one in a hundred takes 20 ms",
		Question: "What do the other ninety-nine pay, at the same rate for every server?",
		Peers:    []string{"tafe", "tafe-held", "nethttp", "fasthttp"},
		Cases: []run.Case{
			atRate("it computes", 2000, get("plaintext", "/plaintext", plaintextBytes), holder()),
			atRate("it sleeps, without telling the loop", 2000, get("plaintext", "/plaintext", plaintextBytes), share(0.01, get("nap", "/nap", doneBytes))),
		},
	},
	{
		Number: 13, Name: "mixed", Title: "Mixed work: 80% take 50 us, 20% take 3 ms",
		Question: "What do the light ones pay for the heavy ones, and the heavy ones for an order that prefers the light?",
		Peers:    []string{"tafe", "tafe-arrival", "tafe-held", "tafe-held-arrival", "nethttp", "fasthttp"}, OfCapacity: []float64{0.5, 0.7, 0.85},
		Cases: []run.Case{waiting("64 concurrent", 64, get("light", "/light", doneBytes), share(0.2, get("heavy", "/heavy", doneBytes)))},
	},
	{
		Number: 7, Name: "watchdog", Title: "The watchdog, on and off",
		Question: "What does it cost to be watched, and to be watched closely?", Peers: []string{"tafe", "tafe-unwatched", "tafe-plain", "tafe-5ms", "tafe-1ms"},
		Cases: []run.Case{
			plain("short head", 64, 1, get("plaintext", "/plaintext", plaintextBytes)),
			plain("412-byte browser head, pipelined 16 deep", 64, 16, browser()),
		},
	},
	{
		Number: 7, Name: "recorder", Title: "The flight recorder of the Go runtime, on and off",
		Question: "What would it cost to know at any time what ended a wait?", Peers: []string{"tafe-yield", "tafe-recorded"},
		Cases: []run.Case{plain("short head", 64, 1, get("plaintext", "/plaintext", plaintextBytes))},
	},
	{
		Number: 8, Name: "fan", Title: "Fan-out: bidders in parallel under a deadline of 50 ms",
		Question: "What does it cost to ask many at once, and how late is the answer when one is too slow? The floor is 5 ms, the bidders' delay; 50 ms, the deadline, where one is too slow.",
		Peers:    []string{"tafe", "nethttp", "fasthttp"}, OfCapacity: []float64{0.7},
		Cases: []run.Case{
			fan("3 bidders", 64, "/fan?n=3"), fan("10 bidders", 64, "/fan?n=10"), fan("30 bidders", 64, "/fan?n=30"),
			fan("10 bidders, one too slow", 256, "/fan?n=10&slow=1"),
		},
	},
	{
		Number: 9, Name: "proxy", Title: "Reverse proxy to one upstream",
		Question: "What does it cost to pass a request on?", Peers: []string{"tafe", "nethttp", "nginx", "haproxy"},
		Cases: []run.Case{
			{Name: "1 KB", Role: run.RoleProxy, Plan: load.Plan{Conns: 64, Seed: seed, Requests: []load.Request{get("1 KB", "/1k", 1<<10)}}},
			{Name: "1 MB", Role: run.RoleProxy, Plan: load.Plan{Conns: 16, Seed: seed, Requests: []load.Request{get("1 MB", "/1m", 1<<20)}}},
		},
	},
	{
		Number: 10, Name: "tls", Title: "TLS 1.3",
		Question: "What does a handshake cost, full and resumed, and what does a request over TLS?", Peers: []string{"tafe", "nethttp", "nginx", "haproxy"},
		Cases: []run.Case{
			overTLS("full handshake and one request", load.TLSFull), overTLS("resumed handshake and one request", load.TLSResumed),
			overTLS("keep-alive requests", load.TLSKept),
		},
	},
	{
		Number: 15, Name: "websocket", Title: "WebSocket echo",
		Question: "What does a message cost?", Peers: []string{"tafe", "tafe-task", "gorilla", "nbio"},
		Cases: []run.Case{socket("64 bytes", 64, 64), socket("1 KB", 64, 1<<10), socket("64 KB", 16, 64<<10)},
	},
	{
		Number: 12, Name: "static", Title: "Static files",
		Question: "What does a file cost?", Peers: []string{"tafe", "nethttp", "nginx"},
		Cases: []run.Case{
			static("1 KB", 64, "1k.bin"), static("100 KB", 64, "100k.bin"), static("10 MB", 16, "10m.bin"),
		},
	},
}, overHTTP2, ofManyClients))

// seedPeers are those of the seed experiment: the successor, Go's own servers, and the two that the original compared.
var seedPeers = []string{"tafe", "nethttp", "fasthttp", "gevent", "apache"}

func waiting(name string, conns int, requests ...load.Request) run.Case {
	return run.Case{Name: name, Role: run.RoleWork, Plan: load.Plan{Conns: conns, Seed: seed, Requests: requests}}
}

// atRate is open loop at the same rate for every server.
func atRate(name string, rate float64, requests ...load.Request) run.Case {
	c := waiting(name, 256, requests...)
	c.Plan.Rate = rate
	return c
}

func overTLS(name string, mode load.TLSMode) run.Case {
	request := get("plaintext", "/plaintext", plaintextBytes)
	return run.Case{Name: name, Role: run.RoleTLS, TLS: mode, Plan: load.Plan{Conns: 16, Seed: seed, Requests: []load.Request{request}}}
}

// fan is answered in eight bytes: how many of how many bidders.
func fan(name string, conns int, path string) run.Case {
	return waiting(name, conns, get("fan", path, 8))
}

// socket is an echo of messages on WebSockets.
func socket(name string, conns, bytes int) run.Case {
	return run.Case{Name: name, Plan: load.Plan{Conns: conns, Seed: seed, Upgrade: upgrade("/ws").Raw, Requests: []load.Request{message(bytes)}}}
}

func static(name string, conns int, file string) run.Case {
	request := get(file, "/"+file, int64(run.StaticFiles[file]))
	return run.Case{Name: name, Role: run.RoleStatic, Plan: load.Plan{Conns: conns, Seed: seed, Requests: []load.Request{request}}}
}

// number writes each scenario's name into its cases.
func number(all []Scenario) []Scenario {
	for i := range all {
		for j := range all[i].Cases {
			all[i].Cases[j].Scenario = all[i].Name
		}
	}
	return all
}

// Find returns the scenario of that name.
func Find(name string) (Scenario, bool) {
	for _, s := range All {
		if s.Name == name {
			return s, true
		}
	}
	return Scenario{}, false
}
