// Package hub sends each message to many clients: streams of server-sent events and WebSockets, on all loops.
//
// A [Hub] is one topic: a feed, a chat room. [Hub.Publish] encodes a message once and posts to each loop that has clients once, however many
// messages and clients there are. Each loop then writes to its clients, some at a time, so that other work runs between them.
//
// The messages that were published last are kept, for clients that are behind and for those that reconnect with Last-Event-ID. Every
// client has a position in them. Only a stream that is written by the task of its handler also has a queue.
//
//	hub.go      Hub, Options, Publish, Close
//	join.go     ServeSSE and Join: how clients come and go
//	shard.go    the clients of one loop
//	client.go   the kinds of clients
package hub

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/app/websocket"
	"tafe/loop"
)

// SlowPolicy says what happens to a client that is further behind than the messages that are kept.
type SlowPolicy uint8

// The policies for slow clients.
const (
	SlowDrop  SlowPolicy = iota // it misses the messages that are not kept any more; Stats.Dropped counts them
	SlowClose                   // it is disconnected; Stats.Disconnected counts it. A client of events reconnects with the ID of its last one
)

// Options configure a Hub. Zero fields take their defaults.
type Options struct {
	// QueueMax and QueueBytesMax bound the published messages that are kept, by their number, default 256, and the bytes of their data, default 1 MiB.
	// The last message is kept in any case.
	QueueMax, QueueBytesMax int
	// UnsentMax is how many bytes of one client may be unsent until it waits for its next message; default 64 KiB.
	UnsentMax int
	Slow      SlowPolicy
	// Heartbeat and Retry are those of app.SSEOptions.
	Heartbeat, Retry time.Duration
}

// Message is what a Hub sends. A client of events gets the Event, a WebSocket a text message with its Data.
type Message struct {
	app.Event
	// Binary, if not nil, is sent to WebSockets in place of Data, as a binary message. A message without Data is then not sent to clients of
	// events.
	Binary []byte
}

// ErrClosed is returned by Publish, ServeSSE and Join after Close.
var ErrClosed = errors.New("hub: closed")

// Hub is a set of clients that all get the same messages. Any goroutine may use it. The zero Hub is not usable; see New.
type Hub struct {
	options Options

	mu      sync.Mutex
	kept    []*message // the last one has the number last
	last    uint64     // number of messages that were published
	bytes   int        // of kept
	shards  map[*loop.Loop]*shard
	closed  bool
	clients atomic.Int64

	dropped, disconnected atomic.Uint64
}

// message is a Message in its encoded forms. It does not change.
type message struct {
	id     string
	bytes  int
	event  *app.EncodedEvent // nil: not for clients of events
	socket *websocket.Encoded
}

// New returns a Hub. It has no goroutines, and needs no Close if it is not used any more and has no clients.
func New(o Options) *Hub {
	for _, f := range []struct {
		field *int
		value int
	}{{&o.QueueMax, 256}, {&o.QueueBytesMax, 1 << 20}, {&o.UnsentMax, 64 << 10}} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return &Hub{options: o, shards: map[*loop.Loop]*shard{}}
}

// Stats are the counters of a Hub, and the gauge Clients.
type Stats struct {
	Clients      int
	Published    uint64
	Dropped      uint64 // messages that a slow client has missed, by SlowDrop
	Disconnected uint64 // slow clients, by SlowClose
}

// Stats returns the current counters.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Stats{int(h.clients.Load()), h.last, h.dropped.Load(), h.disconnected.Load()}
}

// Publish sends a message to all clients that have joined. It does not wait. Messages of one goroutine arrive in the order of the calls. The
// error is that of an invalid event, or ErrClosed.
func (h *Hub) Publish(m Message) error {
	encoded := &message{id: m.ID, bytes: len(m.Data) + len(m.Binary)}
	if m.Binary == nil || m.Data != "" {
		event, err := app.EncodeEvent(&m.Event)
		if err != nil {
			return err
		}
		encoded.event = event
	}
	if m.Binary != nil {
		encoded.socket = websocket.Encode(websocket.Binary, m.Binary)
	} else {
		encoded.socket = websocket.Encode(websocket.Text, []byte(m.Data))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.keep(encoded)
	for l, s := range h.shards {
		if !s.wake() {
			delete(h.shards, l)
		}
	}
	return nil
}

// keep appends a message and forgets the oldest ones beyond the bounds. mu is held. Elements of kept are not overwritten, because shards
// read it without mu.
func (h *Hub) keep(m *message) {
	h.kept = append(h.kept, m)
	h.last++
	h.bytes += m.bytes
	n := 0
	for len(h.kept)-n > 1 && (len(h.kept)-n > h.options.QueueMax || h.bytes > h.options.QueueBytesMax) {
		h.bytes -= h.kept[n].bytes
		n++
	}
	h.kept = h.kept[n:]
}

// after returns the number of the message with the given ID, from which a client continues; 0 and false if it is not kept. mu is held.
func (h *Hub) after(id string) (number uint64, ok bool) {
	for i := len(h.kept) - 1; i >= 0 && id != ""; i-- {
		if h.kept[i].id == id {
			return h.last - uint64(len(h.kept)-1-i), true
		}
	}
	return 0, false
}

// Close ends the streams of all clients, WebSockets with code 1000. It does not wait.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, s := range h.shards {
		s.loop.PostUnbounded(s.endAll)
	}
}
