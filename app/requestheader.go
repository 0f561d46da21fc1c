// Changes to the request headers, by middlewares.

package app

// RemoveRequestHeader removes the request headers with that name for the handlers that follow, as if the client had not sent them; '_' is equal
// to '-' there, because gateways to CGI and its relatives do not distinguish the two. What Context has taken from headers already, such as
// Host, does not change.
func (c *Context) RemoveRequestHeader(name string) { c.req.RemoveHeaders(name) }

// SetRequestHeader replaces the request headers with that name for the handlers that follow; see RemoveRequestHeader. The strings are copied.
func (c *Context) SetRequestHeader(name, value string) {
	c.req.RemoveHeaders(name)
	c.AddRequestHeader(name, value)
}

// AddRequestHeader adds a request header for the handlers that follow. The strings are copied.
func (c *Context) AddRequestHeader(name, value string) {
	c.req.AddHeader([]byte(name), []byte(value))
}
