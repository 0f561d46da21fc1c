// Trailers, which are forwarded in both directions like other fields.

package proxy

import (
	"strings"

	"tafe/app"
	"tafe/httpparse"
)

// requestTrailers returns the trailers of the request for the server. It runs on the loop.
func (x *forward) requestTrailers() []httpparse.Header {
	all := x.c.Trailers()
	kept := make([]httpparse.Header, 0, len(all))
	for _, f := range all {
		if name := httpparse.ViewString(f.Name); !hopByHop(name) && !computed(name) && !isForwardingField(name) && !contains(x.connectionOptions, name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// announceTrailers prepares the response to the client for trailers, if it takes any: a body of known length has none over HTTP/1. A head
// of HTTP/2 that ends the response stays the end, because for gRPC it then holds what are trailers otherwise.
func (x *forward) announceTrailers() {
	c, resp := x.c, &x.resp
	announced := httpparse.ListOf(resp.Headers, "Trailer")
	switch {
	case resp.Complete() && len(resp.Trailers()) == 0:
		if resp.Major == 2 && resp.ContentLength == 0 && httpparse.BodyAllowed(resp.Status) {
			c.SetHeader("Content-Length", "0")
		}
	case x.req.AcceptTrailers && announced != "":
		c.PassHeader("Trailer", announced)
		c.DelHeader("Content-Length")
	case resp.Major == 2 && resp.ContentLength == 0:
		c.DelHeader("Content-Length") // only trailers can follow
	}
}

// passTrailers adds the trailers of the response to that of the client. Those that must not be trailers are dropped.
func (x *forward) passTrailers(out *app.Stream) {
	for _, f := range x.resp.Trailers() {
		if name := httpparse.ViewString(f.Name); x.passes(name) && !computed(name) {
			_ = out.AddTrailer(strings.Clone(name), httpparse.ViewString(f.Value))
		}
	}
}
