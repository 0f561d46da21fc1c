// The configuration of the demo, with the flags that name other backends for /bid.

package main

import (
	_ "embed"
	"flag"
	"fmt"

	"tafe/app/edge"
)

//go:embed demo.toml
var demoConfig string

// demoFlags are the flags of the demo. Empty: the backends are embedded.
type demoFlags struct{ store, bidders string }

func (d *demoFlags) embedded() edge.Embedded { return edge.Embedded{Config: d.config, Flags: d.add} }

func (d *demoFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&d.store, "store", "", "`address` of a memcached-protocol store for /bid (default: embedded)")
	fs.StringVar(&d.bidders, "bidders", "", "`addresses` of HTTP bidders for /bid, separated by commas (default: embedded)")
}

// config returns the configuration. The table of the last route gets the addresses of the flags.
func (d *demoFlags) config() (string, error) {
	text := demoConfig
	if d.bidders != "" {
		addresses, err := splitAddresses(d.bidders)
		if err != nil {
			return "", edge.Usagef("--bidders: %v", err)
		}
		text += "config.bidders = ["
		for _, address := range addresses {
			text += fmt.Sprintf("%q, ", address)
		}
		text += "]\n"
	}
	if d.store != "" {
		if err := edge.CheckAddress(d.store); err != nil {
			return "", edge.Usagef("--store: %v", err)
		}
		text += fmt.Sprintf("config.store = %q\n", d.store)
	}
	return text, nil
}
