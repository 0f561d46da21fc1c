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

// passTrailers adds the trailers of the response to that of the client. Those that must not be trailers are dropped.
func (x *forward) passTrailers(out *app.Stream) {
	for _, f := range x.resp.Trailers() {
		if name := httpparse.ViewString(f.Name); x.passes(name) && !computed(name) {
			_ = out.AddTrailer(strings.Clone(name), httpparse.ViewString(f.Value))
		}
	}
}
