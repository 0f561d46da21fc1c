package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/evanphx/wildcat"
	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/pool/goroutine"

	"tafe/bench/peers/work"
)

// bare is gnet with wildcat and nothing else: the floor of the loop that tafe runs on. It is the simplest server on
// the two that is right for the benchmark's requests. It has none of the checks that the internet asks for: wildcat
// alone must not face it.
type bare struct {
	gnet.BuiltinEventEngine
	date   atomic.Pointer[[]byte] // "Date: ...\r\n\r\n", renewed each second
	fresh  wildcat.HTTPParser
	client *http.Client
	url    string
	rounds int
	pool   *goroutine.Pool
}

// session is one connection's state.
type session struct {
	need int  // bytes of the message at the front of the buffer, once its head is known
	busy bool // a goroutine owes the next answer: nothing behind it may be answered
}

// message is what one turn of the loop uses again for each request.
type message struct {
	parser wildcat.HTTPParser
	length int
	close  bool
}

func serveGnet(o options) error {
	b := &bare{
		fresh: *wildcat.NewSizedHTTPParser(32), rounds: o.Rounds, pool: goroutine.Default(),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true}},
		url:    "http://" + o.Backend + "/delay",
	}
	b.setDate()
	return gnet.Run(b, "tcp://"+o.Listen, gnet.WithNumEventLoop(1), gnet.WithReuseAddr(true), gnet.WithTicker(true), gnet.WithTCPNoDelay(gnet.TCPNoDelay),
		gnet.WithReadBufferCap(64<<10))
}

func (b *bare) setDate() {
	d := time.Now().UTC().AppendFormat([]byte("Date: "), http.TimeFormat)
	d = append(d, "\r\n\r\n"...)
	b.date.Store(&d)
}

// OnTick renews the date.
func (b *bare) OnTick() (time.Duration, gnet.Action) {
	b.setDate()
	return time.Second, gnet.None
}

// OnOpen returns the connection its state.
func (b *bare) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	c.SetContext(&session{})
	return nil, gnet.None
}

// OnTraffic answers every whole message in the buffer and writes all answers at once.
func (b *bare) OnTraffic(c gnet.Conn) gnet.Action {
	s := c.Context().(*session)
	if s.busy || c.InboundBuffered() < s.need {
		return gnet.None
	}
	buf, err := c.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	m := message{parser: b.fresh}
	var out []byte
	used := 0
	for used < len(buf) && !m.close && !s.busy {
		head, err := m.parse(&b.fresh, buf[used:])
		if errors.Is(err, wildcat.ErrMissingData) {
			break
		}
		if err != nil {
			return gnet.Close
		}
		if s.need = head + m.length; len(buf)-used < s.need {
			break
		}
		body := buf[used+head : used+s.need]
		used += s.need
		s.need = 0
		out = b.answer(out, c, s, &m, body)
	}
	if len(out) > 0 {
		if _, err := c.Write(out); err != nil {
			return gnet.Close
		}
	}
	if used > 0 { // Discard(0) would drop the whole buffer
		_, _ = c.Discard(used)
	}
	if m.close && !s.busy {
		return gnet.Close
	}
	return gnet.None
}

var errMalformed = errors.New("malformed")

// parse resets the parser wholly (it would keep the last message's header slots), and reads the two fields that the
// connection needs.
func (m *message) parse(fresh *wildcat.HTTPParser, b []byte) (head int, err error) {
	headers := m.parser.Headers
	clear(headers)
	m.parser = *fresh
	m.parser.Headers = headers
	if head, err = m.parser.Parse(b); err != nil {
		return 0, err
	}
	m.length, m.close = 0, false
	for i := range headers {
		switch len(headers[i].Name) {
		case 14:
			if bytes.EqualFold(headers[i].Name, []byte("Content-Length")) {
				if m.length, err = strconv.Atoi(string(headers[i].Value)); err != nil || m.length < 0 {
					return 0, errMalformed
				}
			}
		case 10:
			if bytes.EqualFold(headers[i].Name, []byte("Connection")) {
				m.close = bytes.EqualFold(headers[i].Value, []byte("close"))
			}
		}
	}
	return head, nil
}

func (b *bare) answer(out []byte, c gnet.Conn, s *session, m *message, body []byte) []byte {
	switch string(m.parser.Path) {
	case "/plaintext":
		return b.respond(out, "text/plain", []byte(work.Plaintext))
	case "/json":
		j, err := json.Marshal(work.Message{Message: work.Plaintext})
		if err != nil {
			m.close = true
			return out
		}
		return b.respond(out, "application/json", j)
	case "/echo":
		return b.respond(out, "application/octet-stream", body)
	case "/work":
		b.later(c, s, b.work)
		return out
	case "/hold":
		b.later(c, s, func() error { return burn(work.HoldMillis * b.rounds) })
		return out
	}
	return append(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"...)
}

func (b *bare) respond(out []byte, contentType string, body []byte) []byte {
	out = append(out, "HTTP/1.1 200 OK\r\nServer: gnet\r\nContent-Type: "...)
	out = append(out, contentType...)
	out = append(out, "\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(body)), 10)
	out = append(out, "\r\n"...)
	out = append(out, *b.date.Load()...)
	return append(out, body...)
}

// later runs what waits or computes on a pooled goroutine, as gnet's documentation says, and answers from there.
func (b *bare) later(c gnet.Conn, s *session, run func() error) {
	s.busy = true
	err := b.pool.Submit(func() {
		out := []byte("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
		if err := run(); err == nil {
			out = b.respond(nil, "text/plain", []byte(work.Done))
		}
		_ = c.AsyncWrite(out, func(c gnet.Conn, err error) error {
			s.busy = false
			if err == nil && c.InboundBuffered() > 0 {
				return c.Wake(nil)
			}
			return nil
		})
	})
	if err != nil {
		_ = c.Close()
	}
}

func (b *bare) work() error {
	for range work.Calls {
		resp, err := b.client.Get(b.url)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return err
		}
	}
	return burn(b.rounds)
}

func burn(rounds int) error {
	if work.Burn(rounds) == 0 {
		return errors.New("zero")
	}
	return nil
}
