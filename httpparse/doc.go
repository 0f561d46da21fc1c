// Package httpparse parses and serializes HTTP/1 messages, and makes messages from the fields of HTTP/2. It does no I/O, reads no clock and starts no goroutine.
//
// A request head is processed by these files, in this order:
//
//	find.go           FindHead finds the end of the head; a later call resumes where the last one stopped
//	guard.go          one pass over the raw head rejects what RFC 9112 forbids
//	controlfields.go  records the fields that frame, route and control the message
//	parse.go          Request.Parse: validates the head; the fields are split by wildcat on first use
//	target.go         the four forms of a request target, and the syntax of a host
//	framing.go        how the body is delimited: one table for requests, one for responses
//
// The other files:
//
//	request.go response.go header.go   the parsed messages
//	body.go chunked.go                 incremental decoder of bodies, with the chunked coding and trailers
//	assemble.go                        messages from the fields of HTTP/2
//	edit.go                            changes of parsed heads
//	append.go date.go                  serialization that rejects header injection
//	path.go query.go                   percent-decoding, dot segments, query pairs
//	list.go                            list fields, over all of their lines
//	coding.go                          content codings and Accept-Encoding
//	scan.go                            character classes and word-at-a-time scans
//	percent.go                         percent-encoding
//	limits.go error.go                 all bounds and all errors
//
// A parsed message holds views into the bytes given to Parse. They are valid until those bytes change. Values of this
// package are not safe for concurrent use; functions without a receiver are.
package httpparse
