package reactor

// These types stand in for the real ones until the merge.

type (
	// ProxyProtocol is a placeholder.
	ProxyProtocol struct{}
	// TLS is a placeholder.
	TLS struct{}
	// Conn is a placeholder.
	Conn struct{}
	// Handler is a placeholder.
	Handler interface{}
)
