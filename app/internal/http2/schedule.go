// Which stream sends next (RFC 9218), and the Priority field. Lower urgency first. Within one urgency, incremental
// streams take turns; the non-incremental ones share one turn, lowest number first. A request without a priority is
// incremental, so that no answer waits for the end of another.

package http2

import "slices"

const (
	urgencyDefault = 3
	urgencyMax     = 7
	priorityMax    = 64 // bytes of a Priority field that is kept
)

// SetPriority sets the priority of a stream from a Priority field (RFC 9218 section 4). What is missing or not valid
// has its default.
func (s *Stream) SetPriority(field []byte) {
	s.urgency, s.incremental = urgencyDefault, false
	for len(field) > 0 {
		var member []byte
		member, field = cutMember(field)
		switch {
		case len(member) == 3 && member[0] == 'u' && member[1] == '=' && member[2] >= '0' && member[2] <= '0'+urgencyMax:
			s.urgency = member[2] - '0'
		case string(member) == "i" || string(member) == "i=?1":
			s.incremental = true
		case string(member) == "i=?0":
			s.incremental = false
		}
	}
}

// early is a priority that has arrived before its stream.
type early struct {
	stream uint32
	field  string
}

// keepPriority keeps the Priority field of a PRIORITY_UPDATE frame for a stream that the client has not opened yet. One
// that is later or longer than a client has reason to send is dropped (RFC 9218 section 7.1).
func (c *Conn) keepPriority(stream uint32, field []byte) {
	c.early = slices.DeleteFunc(c.early, func(e early) bool { return e.stream == stream || e.stream <= c.lastPeer })
	if len(c.early) < c.streamsMax && len(field) <= priorityMax {
		c.early = append(c.early, early{stream, string(field)})
	}
}

// applyPriority gives a new stream the priority that was kept for it, in place of the one of its request.
func (c *Conn) applyPriority(s *Stream) {
	for i, e := range c.early {
		if e.stream == s.id {
			c.early = slices.Delete(c.early, i, i+1)
			s.SetPriority([]byte(e.field))
			return
		}
	}
}

// cutMember returns the first member of a dictionary without its parameters, and the rest.
func cutMember(field []byte) (member, rest []byte) {
	if i := slices.Index(field, ','); i >= 0 {
		field, rest = field[:i], field[i+1:]
	}
	if i := slices.Index(field, ';'); i >= 0 {
		field = field[:i]
	}
	for len(field) > 0 && (field[0] == ' ' || field[0] == '\t') {
		field = field[1:]
	}
	for len(field) > 0 && (field[len(field)-1] == ' ' || field[len(field)-1] == '\t') {
		field = field[:len(field)-1]
	}
	return field, rest
}

// setReady adds the stream to Conn.ready if it has output and window, and removes it otherwise.
func (s *Stream) setReady() {
	c := s.conn
	want := s.Queued() > 0 && s.room > 0 && !s.gone
	switch {
	case want && s.readyAt == 0:
		c.ready = append(c.ready, s)
		s.readyAt = len(c.ready)
	case !want && s.readyAt != 0:
		last := c.ready[len(c.ready)-1]
		c.ready[s.readyAt-1] = last
		last.readyAt = s.readyAt
		c.ready[len(c.ready)-1] = nil
		c.ready = c.ready[:len(c.ready)-1]
		s.readyAt = 0
	}
}

// pick returns the ready stream that sends next.
func (c *Conn) pick() *Stream {
	var best, sequel *Stream // the best incremental one, and the best of the others
	urgency := uint8(urgencyMax + 1)
	for _, s := range c.ready {
		switch {
		case s.urgency > urgency:
			continue
		case s.urgency < urgency:
			urgency, best, sequel = s.urgency, nil, nil
		}
		if s.incremental {
			if best == nil || s.served < best.served {
				best = s
			}
		} else if sequel == nil || s.id < sequel.id {
			sequel = s
		}
	}
	if best == nil || sequel != nil && sequel.served <= best.served {
		best = sequel
	}
	return best
}

// pump sends from the queues while the windows are open and the output of the connection is short.
func (c *Conn) pump() {
	if len(c.ready) == 0 || c.closed || c.rc.Closed() {
		return
	}
	before := c.queued
	for len(c.ready) > 0 && c.room > 0 && c.rc.Unsent() < outputMax && !c.closed {
		s := c.pick()
		c.turn++
		s.served = c.turn
		s.sendFrame()
	}
	c.awaitDrained()
	if c.queued < before && !c.closed {
		c.handler.Progress(c)
	}
}

// awaitDrained arranges for pump to be called when the output of the connection has become short, if that is what the
// ready streams wait for.
func (c *Conn) awaitDrained() {
	if !c.waiting && len(c.ready) > 0 && c.room > 0 {
		c.waiting = true
		c.rc.WhenDrained(outputMax/2, c.drained)
	}
}

func (c *Conn) drained() {
	c.waiting = false
	c.pump()
}
