package scenario

import (
	"fmt"
	"slices"

	"tafe/bench/load"
	"tafe/bench/run"
)

// weighing are all peers of the memory scenario; casting are those that send messages to many clients.
var (
	weighing = []string{"tafe", "gnet", "fasthttp", "nethttp", "hertz", "nbio", "gorilla", "nginx", "haproxy", "h2o", "gevent"}
	casting  = []string{"tafe", "nethttp", "gorilla", "nbio"}
)

// ofManyClients are the scenarios of clients that are there and ask nothing. Those of a hundred thousand are left out where the limit on
// descriptors is too low.
var ofManyClients = []Scenario{
	{
		Number: 11, Name: "memory", Title: "Memory of open connections",
		Question: "What does a client cost that is there and asks nothing, and one whose request waits?", Peers: weighing,
		Cases: []run.Case{
			idle("idle connections", 10_000, get("plaintext", "/plaintext", plaintextBytes), "tafe", "gnet", "fasthttp", "nethttp", "hertz", "nbio", "nginx", "gevent"),
			idle("idle connections", 100_000, get("plaintext", "/plaintext", plaintextBytes), "tafe", "gnet", "fasthttp", "nethttp", "nbio"),
			held("10,000 parked requests", run.RolePlain, run.Hold{Conns: 10_000, Request: get("sleep", "/sleep?ms=30000", -1)},
				"tafe", "fasthttp", "nethttp", "gevent"),
			idle("idle WebSockets", 10_000, upgrade("/ws"), "tafe", "nbio", "gorilla"),
			idle("idle WebSockets", 100_000, upgrade("/ws"), "tafe", "nbio", "gorilla"),
			events(10_000), events(100_000),
			held("2,000 idle TLS connections", run.RoleTLS, run.Hold{Conns: 2_000, TLS: true, Request: get("plaintext", "/plaintext", plaintextBytes)},
				"tafe", "nethttp", "nginx", "haproxy"),
			held("10,000 idle connections of HTTP/2", run.RolePlain, run.Hold{Conns: 10_000, Streams: 1, Until: load.Answered, Request: Short2()[0]},
				"tafe", "nethttp", "nginx", "h2o"),
			held("10,000 parked streams of HTTP/2, 100 on each connection", run.RolePlain,
				run.Hold{Conns: 100, Streams: 100, Request: get2("sleep", "/sleep?ms=30000", -1)}, "tafe", "nethttp"),
		},
	},
	{
		Number: 15, Name: "cast", Title: "One message to many clients at once",
		Question: "What does it cost to send a message of 64 bytes to each of many clients that wait for it, and when does the last one have it?", Peers: casting,
		Cases: []run.Case{
			cast("clients of server-sent events", 10_000, get("events", "/events", -1), "tafe", "nethttp"),
			cast("WebSockets", 10_000, upgrade("/feed"), "tafe", "gorilla", "nbio"),
			cast("clients of server-sent events", 100_000, get("events", "/events", -1), "tafe", "nethttp"),
			cast("WebSockets", 100_000, upgrade("/feed"), "tafe", "gorilla", "nbio"),
		},
	},
}

// thousands writes a number of connections.
func thousands(n int) string { return fmt.Sprintf("%d,000", n/1000) }

func idle(name string, conns int, request load.Request, peers ...string) run.Case {
	return held(thousands(conns)+" "+name, run.RolePlain, run.Hold{Conns: conns, Until: load.Answered, Request: request}, peers...)
}

func events(conns int) run.Case {
	return held(thousands(conns)+" idle clients of server-sent events", run.RoleCast,
		run.Hold{Conns: conns, Until: load.Begun, Request: get("events", "/events", -1)}, "tafe", "nethttp")
}

func held(name string, role run.Role, hold run.Hold, peers ...string) run.Case {
	return run.Case{Name: name, Role: role, Hold: &hold, Without: others(weighing, peers)}
}

func cast(name string, conns int, request load.Request, peers ...string) run.Case {
	return run.Case{Name: thousands(conns) + " " + name, Role: run.RoleCast, Without: others(casting, peers),
		Cast: &run.Cast{Conns: conns, Request: request, Publish: publish(), Mark: publishMark}}
}

// others are all without some.
func others(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(some, name) })
}

// without leaves peers out that cannot take part.
func without(c run.Case, peers ...string) run.Case {
	c.Without = peers
	return c
}
