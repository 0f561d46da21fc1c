// The parsed request head. Parse is in parse.go, and Assemble, its counterpart for HTTP/2, in assemble.go.

package httpparse

import (
	"iter"

	"github.com/evanphx/wildcat"
)

// Request is a parsed request head. The zero value is ready for Parse. Reuse it, because it keeps its arrays. All
// slices are read-only views into the head given to Parse and are valid until those bytes change. It is not safe for
// concurrent use.
type Request struct {
	Method []byte // a token; case matters (RFC 9110 section 9.1)
	Target []byte // the request target as received

	// Path and Query are the parts of the target, not decoded. Query excludes the '?'; HasQuery distinguishes "/a?"
	// from "/a". For an absolute target they are the parts of its URI, and an empty path is "/". For "*" Path is "*".
	// For CONNECT both are empty.
	Path, Query []byte
	HasQuery    bool

	// Host is the authority of an absolute or CONNECT target, or else the Host field (RFC 9112 section 3.2.2). It may
	// contain a port. It is empty only in HTTP/1.0 and for "*".
	Host []byte

	Major     uint8 // major version, 1 or 2
	Minor     uint8 // minor version, 0 or 1; higher ones are processed as 1 (RFC 9110 section 2.5); 0 in HTTP/2
	KeepAlive bool  // the connection persists after the response (RFC 9112 section 9.3)
	Expect100 bool  // the client waits for 100 Continue before it sends the body (RFC 9110 section 10.1.1); false without a body and in HTTP/1.0
	Upgrade   bool  // HTTP/1.1 with both Connection: upgrade and Upgrade (RFC 9110 section 7.8), or Extended
	Extended  bool  // an extended CONNECT of HTTP/2 for WebSocket; see Assemble

	Framing       Framing // how the body is delimited; FramingClose in HTTP/2 only, where it is the end of the stream
	ContentLength int64   // body length in bytes; 0 without a body, -1 if unknown

	Priority []byte // value of the Priority field of HTTP/2, not parsed, or nil (RFC 9218)

	Traceparent []byte // value of the first traceparent field (W3C Trace Context), not validated, or nil

	wildcatParser wildcat.HTTPParser
	guard         guard
	head          []byte   // as given to Parse
	headers       []Header // set by splitFields
	isSplit       bool
}

// Headers returns the fields in the order received. The first call splits the head, so a handler that reads no field
// does not pay for it.
func (r *Request) Headers() []Header {
	r.splitFields()
	return r.headers
}

// Header returns the value of the first field with this name, case-insensitively, or nil. The value of an empty field
// is not nil.
func (r *Request) Header(name string) []byte { return findHeader(r.Headers(), name) }

// Values yields the value of each field with this name, in the order received.
func (r *Request) Values(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) { // inlined, so that it allocates nothing
		for _, h := range r.Headers() {
			if sameName(h.Name, name) && !yield(h.Value) {
				return
			}
		}
	}
}

// fieldsKeptMax is the number of fields up to which Reset keeps the arrays.
const fieldsKeptMax = 256

// Reset drops all views into the last head and keeps arrays of up to fieldsKeptMax fields. Parse calls it. Call it
// before r is pooled, so that r does not retain the buffer of a connection.
func (r *Request) Reset() {
	headers, slots := r.headers, r.wildcatParser.Headers
	if r.isSplit {
		clear(headers)
		clear(slots[:min(r.guard.fields, len(slots))])
	}
	if len(slots) > fieldsKeptMax { // an unusually large request
		headers, slots = nil, nil
	}
	*r = Request{headers: headers[:0]}
	r.wildcatParser.Headers, r.wildcatParser.TotalHeaders = slots, len(slots)
}
