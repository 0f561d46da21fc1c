// A set of backends: one store and several bidders, each on its own listener, started and stopped together.

package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Config lists the addresses and parameters of a Set.
type Config struct {
	Store   string   // address of the store; port 0 picks one
	Bidders []string // an address for each bidder
	Delay   Delay
	Seed    uint64
}

// Profile is the value of a user in the store, as JSON under ProfileKey.
type Profile struct {
	Segment string `json:"segment"`
}

// ProfilesCount is the number of users with a profile at the start; their IDs are 1 to ProfilesCount.
const ProfilesCount = 1000

// ProfileKey returns the key of a user in the store.
func ProfileKey(user string) string { return "profile:" + user }

// Set is a running store with its bidders.
type Set struct {
	StoreAddr   string
	BidderAddrs []string

	listeners []net.Listener
	store     *storeServer
	bidders   []*http.Server
	failed    chan error
	running   int
}

// BidderName returns the name of the bidder with the given index: bidder-1, bidder-2.
func BidderName(index int) string { return fmt.Sprintf("bidder-%d", index+1) }

// Start listens on every address of c and serves on its own goroutines until Close. If it fails, nothing is left running.
func Start(c Config) (*Set, error) {
	if err := c.Delay.Check(); err != nil {
		return nil, err
	}
	store, err := storeWithProfiles()
	if err != nil {
		return nil, err
	}
	s := &Set{store: newStoreServer(store), failed: make(chan error, 1+len(c.Bidders))}
	for _, addr := range append([]string{c.Store}, c.Bidders...) {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			s.closeListeners()
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	s.StoreAddr = s.listeners[0].Addr().String()
	s.run(func() error { return s.store.serve(s.listeners[0]) })
	for i, l := range s.listeners[1:] {
		s.BidderAddrs = append(s.BidderAddrs, l.Addr().String())
		server := &http.Server{
			Handler:           NewBidder(BidderName(i), c.Delay, c.Seed),
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			// Clients that disconnect during a request are expected, and not logged.
			ErrorLog: log.New(io.Discard, "", 0),
		}
		s.bidders = append(s.bidders, server)
		s.run(func() error { return server.Serve(l) })
	}
	return s, nil
}

func (s *Set) run(serve func() error) {
	s.running++
	go func() { s.failed <- serve() }()
}

// Wait returns nil when ctx ends, or the error of a listener that fails before.
func (s *Set) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		s.running--
		return err
	}
}

// Close closes listeners and connections at once. It returns when the accept loops and the connections of the store have ended;
// a request at a bidder ends when it notices that its client is gone. Call it once.
func (s *Set) Close() error {
	var errs []error
	for _, server := range s.bidders {
		errs = append(errs, server.Close())
	}
	s.closeListeners()
	s.store.close()
	for ; s.running > 0; s.running-- {
		if err := <-s.failed; !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Set) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

func storeWithProfiles() (*Store, error) {
	segments := []string{"sports", "travel", "news", "garden", "music"}
	store := NewStore(nil)
	for id := 1; id <= ProfilesCount; id++ {
		profile, err := json.Marshal(Profile{Segment: segments[id%len(segments)]})
		if err != nil {
			return nil, err
		}
		if err := store.Set(ProfileKey(fmt.Sprint(id)), profile); err != nil {
			return nil, err
		}
	}
	return store, nil
}
