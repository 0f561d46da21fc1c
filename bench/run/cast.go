package run

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"tafe/bench/load"
)

// Cast opens connections that wait for messages, and has the server send messages to all of them, one after the other.
type Cast struct {
	Conns   int
	Request load.Request // sent once on each connection: it subscribes
	// Publish is an HTTP/1 request to the server, whose body is the message, and Mark the message's last byte, which occurs nowhere
	// else in what a client gets.
	Publish load.Request
	Mark    byte
}

const (
	castMessages = 3 // that are measured; one before them is not
	castMax      = 10 * time.Second
)

func (k *Cast) play(server *Server, addr netip.AddrPort, settle time.Duration) (Sample, error) {
	held, err := load.Hold(load.Holding{Addr: addr, Conns: k.Conns, Request: k.Request, Until: load.Begun, Limit: holdLimit(k.Conns)})
	if err != nil {
		return Sample{}, fmt.Errorf("hold: %w", err)
	}
	defer held.Close()
	publisher, err := net.DialTimeout("tcp", addr.String(), time.Second)
	if err != nil {
		return Sample{}, err
	}
	defer publisher.Close()
	answers := bufio.NewReader(publisher)
	time.Sleep(settle)
	var sum *load.Result
	var used time.Duration
	for i := range 1 + castMessages {
		before, err := server.CPU()
		if err != nil {
			return Sample{}, err
		}
		_ = publisher.SetDeadline(time.Now().Add(castMax))
		res, err := held.Deliver(k.Mark, func() error {
			_, err := publisher.Write(k.Publish.Raw)
			return err
		}, castMax)
		if err != nil {
			return Sample{}, err
		}
		after, err := server.CPU()
		if err != nil {
			return Sample{}, err
		}
		if err := accepted(answers); err != nil {
			return Sample{}, fmt.Errorf("publish: %w", err)
		}
		switch {
		case i == 0:
			continue
		case sum == nil:
			sum = res
		default:
			sum.Join(res)
		}
		used += after - before
	}
	s := newSample(sum, 0, used)
	s.RSS, err = server.RSS()
	return s, err
}

// accepted reads the answer to Publish.
func accepted(answers *bufio.Reader) error {
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// holdLimit is the time in which that many connections must open.
func holdLimit(conns int) time.Duration { return holdMax * time.Duration(1+conns/20_000) }
