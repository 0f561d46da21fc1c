// The backend command: its flags and output. The backends are in internal/backend.

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"tafe/app/edge"
	"tafe/cmd/tafe/internal/backend"
)

func runBackend(ctx context.Context, args []string, stdout, _ io.Writer) error {
	config, err := backendConfig(args, stdout)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	set, err := backend.Start(config)
	if err != nil {
		return edge.ListenError("", err)
	}
	fmt.Fprintf(stdout, "store %s\n", set.StoreAddr)
	for i, addr := range set.BidderAddrs {
		fmt.Fprintf(stdout, "%s %s\n", backend.BidderName(i), addr)
	}
	failure := set.Wait(ctx)
	if err := set.Close(); failure == nil {
		failure = err
	}
	return failure
}

func backendConfig(args []string, stdout io.Writer) (backend.Config, error) {
	var c backend.Config
	var bidders string
	fs := flag.NewFlagSet("backend", flag.ContinueOnError)
	fs.StringVar(&c.Store, "store", "127.0.0.1:9211", "`address` of the memcached-protocol store")
	fs.StringVar(&bidders, "bidders", "127.0.0.1:9221,127.0.0.1:9222,127.0.0.1:9223", "`addresses` of the HTTP bidders, separated by commas")
	fs.DurationVar(&c.Delay.Mean, "delay", 5*time.Millisecond, "mean response time of a bidder (log-normal)")
	fs.DurationVar(&c.Delay.Deviation, "jitter", 2*time.Millisecond, "standard deviation of the response time")
	fs.Uint64Var(&c.Seed, "seed", 1, "`seed` of the random delays and prices")
	if err := edge.ParseFlags(fs, args, stdout); err != nil {
		return c, err
	}
	if err := edge.CheckAddress(c.Store); err != nil {
		return c, edge.Usagef("--store: %v", err)
	}
	var err error
	if c.Bidders, err = splitAddresses(bidders); err != nil {
		return c, edge.Usagef("--bidders: %v", err)
	}
	if err := c.Delay.Check(); err != nil {
		return c, edge.Usagef("%v", err)
	}
	return c, nil
}

// splitAddresses splits a list of addresses at commas. An empty list is an error.
func splitAddresses(list string) ([]string, error) {
	var addresses []string
	for address := range strings.SplitSeq(list, ",") {
		address = strings.TrimSpace(address)
		if err := edge.CheckAddress(address); err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}
