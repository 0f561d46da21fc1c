package reactor

// Listener is one address of an Engine.
type Listener struct {
	// Addr to listen on: "host:port", "unix:/path", "unix:@name" (abstract) or
	// "systemd:NAME". Port 0 picks a free one.
	Addr  string
	Proxy *ProxyProtocol
	TLS   *TLS
	Open  func(c *Conn) Handler
}
