// Set: the connections of one loop, for counters, shared buffers and the drain.

package websocket

import (
	"bytes"

	"tafe/loop"
)

// Set holds the WebSockets of one loop. Only that loop's goroutine, and its tasks after Task.Enter, may use it, except for Stats.
type Set struct {
	config SetConfig
	conns  []*Conn
	stats  Stats
	in     bytes.Reader // over the input that is being parsed
	out    appender     // of the frame that is being written
	codecs codecs
}

// SetConfig has what a Set needs of its server.
type SetConfig struct {
	Loop *loop.Loop
	// Count counts a connection that ended for one of the reasons below. On the loop.
	Count func(reason string)
	// Failed reports that a function of Serve has failed or panicked. On the loop.
	Failed func(c *Conn, err error)
}

// The reasons for which connections end other than by a close handshake of the client or the handler. They are counted by SetConfig.Count.
const (
	ReasonProtocol = "websocket-protocol" // the client broke the protocol
	ReasonTooBig   = "websocket-too-big"  // a message above Options.MessageMax
	ReasonSilent   = "websocket-silent"   // no answer to a ping
	ReasonSlow     = "slow-client"        // it did not read what was sent
)

// Stats are the counters of a Set, and the gauge Open.
type Stats struct {
	Open    int
	In, Out uint64 // messages received and sent
}

// Add adds the counters of o.
func (s *Stats) Add(o Stats) {
	s.Open += o.Open
	s.In += o.In
	s.Out += o.Out
}

// NewSet returns an empty Set.
func NewSet(config SetConfig) *Set { return &Set{config: config} }

// Stats returns the current counters. Any goroutine: the words may be of slightly different times.
//
//go:norace
func (s *Set) Stats() Stats {
	stats := s.stats
	stats.Open = len(s.conns)
	return stats
}

// GoAway closes all connections with code 1001, for a drain. A connection whose handler is busy is closed when the handler reads again,
// when its function of Serve returns, or after goAwayGrace.
func (s *Set) GoAway() {
	for i := len(s.conns) - 1; i >= 0; i-- {
		s.conns[i].goAway()
	}
}

func (s *Set) add(c *Conn) {
	c.pos = len(s.conns)
	s.conns = append(s.conns, c)
}

func (s *Set) remove(c *Conn) {
	last := len(s.conns) - 1
	s.conns[c.pos] = s.conns[last]
	s.conns[c.pos].pos = c.pos
	s.conns[last] = nil
	s.conns = s.conns[:last]
}

// appender is an io.Writer that appends.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
