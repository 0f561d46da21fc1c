package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tafe/bench/load"
	"tafe/bench/run"
)

// Method says in some sentences how the scenario is measured.
func (s Scenario) Method() string {
	var text []string
	add := func(sentence string) {
		if !slices.Contains(text, sentence) {
			text = append(text, sentence)
		}
	}
	for _, c := range s.Cases {
		add(loadOf(c))
	}
	if len(s.OfCapacity) > 0 {
		var shares []string
		for _, share := range s.OfCapacity {
			shares = append(shares, strconv.Itoa(int(100*share)))
		}
		add(fmt.Sprintf("The rate that a server answers in the closed loop is its capacity; it is then asked at %s%% of that, by arrivals at random times. "+
			"A latency counts from when its request was due, so that a stalled server cannot hide it. The rate beside a name is what that server was asked.",
			strings.Join(shares, ", ")))
	}
	if s.Note != "" {
		add(s.Note)
	}
	return strings.Join(text, " ")
}

// loadOf describes the load of a case.
func loadOf(c run.Case) string {
	switch p := c.Plan; {
	case c.Hold != nil:
		return "Connections are opened, asked once and left open. The figure is the growth of the server's resident memory divided by their number, or by that of the " +
			"streams of HTTP/2. Some others are opened and closed before."
	case c.Cast != nil:
		return "Clients connect and wait. One request then makes the server send a message to each of them. CPU and time count from that request until the last client " +
			"has the message. Three messages are measured, after one that is not."
	case p.Rate > 0:
		return fmt.Sprintf("Requests are due at random times, %.0f a second for every server. A latency counts from when its request was due.", p.Rate)
	case c.TLS == load.TLSFull, c.TLS == load.TLSResumed:
		return fmt.Sprintf("Closed loop: clients connect with a %s handshake, send a request, read the response, and connect again.", c.TLS)
	case p.Reconnect:
		return "Closed loop: clients connect, send a request, read the response, and connect again."
	case p.HTTP2:
		return "Closed loop: the streams of each connection that are answered make room for the next requests. Later requests of a connection refer to the fields of its " +
			"first one, and flow control of the client limits no server."
	case p.Upgrade != nil:
		return "Closed loop: each WebSocket sends its next message when the last one has come back."
	case p.Depth > 1:
		return fmt.Sprintf("Closed loop: each connection sends %d requests in one write, and the next ones when all are answered.", p.Depth)
	}
	return "Closed loop: each connection sends its next request when the last one is answered."
}
