package httpparse

// This file owns what a parsed request offers. It refuses to know how it came about: that is parse.go.

import (
	"iter"

	"github.com/evanphx/wildcat"
)

// Request is one parsed request head. The zero value is ready for Parse, and one Request should be parsed into again
// and again: its arrays are kept. Every slice is a view into the head given to Parse and must not be written to; it is
// valid while those bytes are. Not safe for concurrent use.
type Request struct {
	Method []byte // a token; case matters (RFC 9110 section 9.1)
	Target []byte // the request target as it came

	// Path and Query are the target's parts, not percent-decoded. Query excludes its '?'; HasQuery tells "/a?" from "/a".
	// An absolute target gives those of its URI, "/" where it names no path. "*" is its own Path. CONNECT has neither.
	Path, Query []byte
	HasQuery    bool

	// Host is the Host field, or the authority of an absolute or CONNECT target, which overrules it (RFC 9112 section 3.2.2).
	// It may hold a port, and is empty only in HTTP/1.0 and for "*".
	Host []byte

	Minor     uint8 // of HTTP/1.x: 0 or 1; higher minor versions are processed as 1 (RFC 9110 section 2.5)
	KeepAlive bool  // the client will keep the connection after this exchange (RFC 9112 section 9.3)
	Expect100 bool  // the client may wait for 100 Continue before it sends its body; never without one, never on 1.0
	Upgrade   bool  // Connection: upgrade beside Upgrade, on 1.1 (RFC 9110 section 7.8)

	ContentLength int64 // of the body in bytes: 0 when there is none, -1 when chunked
	Chunked       bool  // the body comes in the chunked coding: decode it with a Chunked

	Traceparent []byte // the value of the first such field (W3C Trace Context), whatever it is; nil if there is none

	wildcatParser wildcat.HTTPParser
	guard         guard
	head          []byte   // as it was given to Parse
	headers       []Header // cut when first asked for
	isSplit       bool
}

// Headers are the fields in the order they came. They are cut by the first call: a server that needs none of them does
// not pay for them, whereas what steers the message is known from Parse on.
func (r *Request) Headers() []Header {
	r.splitFields()
	return r.headers
}

// Header returns the value of the first field with that name, in any case of its letters: nil if there is none, empty
// but not nil if its value is empty.
func (r *Request) Header(name string) []byte { return findHeader(r.Headers(), name) }

// Values yields the value of every field with that name, in the order they came.
func (r *Request) Values(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) { // small enough to be inlined: it allocates nothing
		for _, h := range r.Headers() {
			if sameName(h.Name, name) && !yield(h.Value) {
				return
			}
		}
	}
}

// fieldsKeptMax is up to how many fields the arrays of a Request have room for when it is reset.
const fieldsKeptMax = 256

// Reset drops every view into the last head and keeps the arrays, up to fieldsKeptMax. Parse resets by itself; a Request that will rest in a
// pool should not hold on to a connection's buffer.
func (r *Request) Reset() {
	headers, slots := r.headers, r.wildcatParser.Headers
	if r.isSplit {
		clear(headers)
		clear(slots[:min(r.guard.fields, len(slots))])
	}
	if len(slots) > fieldsKeptMax { // of one request among many
		headers, slots = nil, nil
	}
	*r = Request{headers: headers[:0]}
	r.wildcatParser.Headers, r.wildcatParser.TotalHeaders = slots, len(slots)
}
