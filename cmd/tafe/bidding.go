// /bid, the demo's representative request: it reads a profile from a store, then asks every bidder in parallel under a deadline.
// It shows three ways to wait: an ordinary synchronous client on connections of the loop, the loop's own HTTP client, and child tasks.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"tafe/app"
	"tafe/app/client"
	"tafe/app/edge"
	"tafe/cmd/tafe/internal/backend"
	"tafe/loop"
)

const (
	bidDeadline    = 50 * time.Millisecond
	bidAnswerMax   = 16 << 10    // bytes of a bidder's body
	bidLate        = time.Second // a late response is read for so long, to keep the connection
	storeTimeout   = 250 * time.Millisecond
	storeIdleMax   = 64 // connections kept for each loop
	userBytesMax   = 100
	unknownSegment = "unknown"
)

// bidder is the name and address of a bidder.
type bidder struct{ name, address string }

// bidConfig is the table of the handler bid.
type bidConfig struct {
	// Address of a memcached-protocol store. Unset: one is started.
	Store edge.Address `toml:"store"`
	// Addresses of HTTP bidders. Unset: three are started.
	Bidders []edge.Address `toml:"bidders"`
}

// bidding answers /bid. All loops share it; stores and the pools of the client are per loop.
type bidding struct {
	log      *slog.Logger
	backends *backend.Set // for those that the configuration does not name; nil: none
	bidders  []bidder
	client   *client.Client
	stores   []*memcache.Client // by loop: a connection belongs to the loop that dialed it
}

// newBid makes the handler of /bid.
func newBid(c *bidConfig, env *edge.Env) (app.Handler, error) {
	b := &bidding{log: env.Log, client: client.New(client.Options{Dial: env.Dialer.DialContext, LateTimeout: bidLate})}
	env.OnStart(func(context.Context) error { return b.start(c, env) })
	env.OnStop(b.stop)
	return b.handle, nil
}

// start starts the backends that c does not name.
func (b *bidding) start(c *bidConfig, env *edge.Env) error {
	store := string(c.Store)
	for _, address := range c.Bidders {
		b.bidders = append(b.bidders, bidder{string(address), string(address)})
	}
	if store == "" || len(b.bidders) == 0 {
		own := backend.Config{Store: "127.0.0.1:0", Seed: 1, Delay: backend.Delay{Mean: 5 * time.Millisecond, Deviation: 2 * time.Millisecond}}
		if len(b.bidders) == 0 {
			own.Bidders = []string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}
		}
		set, err := backend.Start(own)
		if err != nil {
			return edge.ListenError("", err)
		}
		b.backends = set
	}
	if store == "" {
		store = b.backends.StoreAddr
	}
	if len(b.bidders) == 0 {
		for i, address := range b.backends.BidderAddrs {
			b.bidders = append(b.bidders, bidder{backend.BidderName(i), address})
		}
	}
	b.stores = make([]*memcache.Client, env.Loops)
	for i := range b.stores {
		b.stores[i] = memcache.New(store)
		b.stores[i].Timeout = storeTimeout
		b.stores[i].MaxIdleConns = storeIdleMax
		b.stores[i].DialContext = env.Dialer.DialContext
	}
	return nil
}

func (b *bidding) stop() {
	b.client.Close()
	if b.backends == nil {
		return
	}
	if err := b.backends.Close(); err != nil {
		b.log.Warn("a backend of the demo has failed", "error", err)
	}
}

// bidReply is the response of /bid.
type bidReply struct {
	User    string        `json:"user"`
	Segment string        `json:"segment"`
	Winner  string        `json:"winner"`
	Price   float64       `json:"price"`
	Bidders []bidderReply `json:"bidders"`
}

type bidderReply struct {
	Name   string  `json:"name"`
	Status string  `json:"status"` // ok, late or error
	MS     float64 `json:"ms"`
	price  float64
}

func (b *bidding) handle(c *app.Context) error {
	user := c.Query("user")
	if user == "" || len(user) > userBytesMax || strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return app.Error(http.StatusBadRequest, fmt.Sprintf("user must have 1 to %d bytes, and none of them blank", userBytesMax))
	}
	segment, err := b.segment(c, user)
	if err != nil {
		return err
	}
	reply := bidReply{User: user, Segment: segment}
	if reply.Bidders, err = b.askAll(c.Task(), user); err != nil {
		return err
	}
	for _, r := range reply.Bidders {
		if r.Status == "ok" && r.price > reply.Price {
			reply.Winner, reply.Price = r.Name, r.price
		}
	}
	return c.JSON(http.StatusOK, reply)
}

// segment looks up the segment of the user. Users that are not in the store have an unknown segment; if the store does not
// answer, the request fails.
func (b *bidding) segment(c *app.Context, user string) (string, error) {
	it, err := b.stores[c.Loop().ID()].Get(backend.ProfileKey(user))
	if errors.Is(err, memcache.ErrCacheMiss) {
		return unknownSegment, nil
	}
	if err == nil {
		var profile backend.Profile
		if err = json.Unmarshal(it.Value, &profile); err == nil {
			return profile.Segment, nil
		}
	}
	if gone := c.Err(); gone != nil {
		return "", gone
	}
	return "", &app.HTTPError{Status: http.StatusServiceUnavailable, Message: "the profile store does not answer", Err: err}
}

// askAll asks every bidder in a task of its own and waits until all have answered or the deadline passes. The error is that of
// t: its client has disconnected.
func (b *bidding) askAll(t *loop.Task, user string) ([]bidderReply, error) {
	replies := make([]bidderReply, len(b.bidders))
	g := t.Group()
	g.SetDeadline(bidDeadline)
	for i := range replies {
		reply := &replies[i]
		reply.Name, reply.Status = b.bidders[i].name, "error"
		err := g.Go(func(t *loop.Task) error {
			b.askOne(t, b.bidders[i].address, user, reply)
			return nil
		})
		if err != nil {
			b.log.Warn("a bidder was not asked", "bidder", reply.Name, "error", err)
		}
	}
	_, err := g.Settle()
	return replies, err
}

// askOne asks one bidder and records the result in reply.
func (b *bidding) askOne(t *loop.Task, address, user string, reply *bidderReply) {
	started := t.Loop().Clock()
	bid, err := b.ask(t, address, user)
	reply.MS = math.Round(float64(t.Loop().Clock()-started)/1e5) / 10
	switch {
	case err == nil:
		reply.Status, reply.price = "ok", bid.Price
	case errors.Is(err, context.DeadlineExceeded):
		reply.Status = "late"
	default:
		b.log.Warn("a bidder failed", "bidder", reply.Name, "error", err)
	}
}

func (b *bidding) ask(t *loop.Task, address, user string) (bid backend.Bid, err error) {
	var response client.Response
	request := client.Request{URL: "http://" + address + "/bid?user=" + url.QueryEscape(user)}
	if err := b.client.Do(t, nil, &request, &response); err != nil {
		return bid, err
	}
	defer response.Close()
	body, err := response.ReadAll(bidAnswerMax)
	if err != nil {
		return bid, err
	}
	if response.Status != http.StatusOK {
		return bid, fmt.Errorf("%s answered %d", address, response.Status)
	}
	return bid, json.Unmarshal(body, &bid)
}
