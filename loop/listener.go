package loop

// Listener: one address that an Engine listens on, and what is spoken there. It
// does not accept; gnet does.

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

// Listener is one address of an Engine.
type Listener struct {
	// Addr to listen on: "host:port" or "unix:/path". Port 0 picks a free one.
	Addr string
	// Proxy, if not nil, is expected before anything else.
	Proxy *ProxyProtocol
	// TLS, if not nil, is spoken on every connection.
	TLS *TLS
	// Open is called on the loop for each connection, of TLS after its handshake,
	// and returns its handler. nil: Config.Open.
	Open func(c *Conn) Handler
}

// listening is a Listener and the address that it got.
type listening struct {
	Listener
	addr  net.Addr
	proto string // as gnet spells it
}

// listeners are those of the Config, claimed.
func (c *Config) listeners() (all []*listening, err error) {
	wanted := c.Listeners
	if len(wanted) == 0 {
		wanted = []Listener{{Addr: c.Addr}}
	}
	for _, l := range wanted {
		if l.Open == nil {
			l.Open = c.Open
		}
		addr, proto, err := claim(l.Addr, c.Shared)
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.proto == proto {
				return nil, fmt.Errorf("listen %s: twice", l.Addr)
			}
			if (other.addr.Network() == "unix") != (addr.Network() == "unix") {
				return nil, errors.New("loop: unix sockets and TCP cannot share an engine")
			}
		}
		all = append(all, &listening{l, addr, proto})
	}
	return all, nil
}

// claim finds out early and in plain words whether the address can be had.
// gnet listens with SO_REUSEPORT, which would silently share a taken port. It
// also turns port 0 into a number, because every loop has a listener.
func claim(addr string, shared bool) (net.Addr, string, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = conn.Close()
			return nil, "", fmt.Errorf("listen unix %s: %w", path, syscall.EADDRINUSE)
		}
		return &net.UnixAddr{Name: path, Net: "unix"}, "unix://" + path, nil
	}
	if shared {
		got, err := claimShared(addr)
		if err != nil {
			return nil, "", err
		}
		return got, "tcp://" + got.String(), nil
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr(), "tcp://" + ln.Addr().String(), nil
}
