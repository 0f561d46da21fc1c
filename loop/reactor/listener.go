package reactor

// Listener is one address of an Engine.
type Listener struct {
	// Addr to listen on: "host:port", "unix:/path", "unix:@name" (abstract) or
	// "systemd:NAME". Port 0 picks a free one.
	Addr string
	// Proxy, if not nil, is expected before anything else.
	Proxy *ProxyProtocol
	// TLS, if not nil, is spoken on every connection.
	TLS *TLS
	// Open is called on the loop for each connection, of TLS after its handshake,
	// and returns its handler. nil: Config.Open.
	Open func(c *Conn) Handler
}
