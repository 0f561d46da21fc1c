// Package httpparse turns bytes into HTTP/1 messages and messages into bytes. It opens no socket, reads no clock and
// starts no goroutine: everything it knows was handed to it, and everything it returns is a value or a view.
//
// The way of a request head through the package:
//
//	find.go     FindHead finds where the head ends, resuming where the last call stopped
//	guard.go    one word-at-a-time pass over the raw head refuses what RFC 9112 refuses and notes the fields that steer
//	parse.go    Request.Parse: guard, then a wholly reset wildcat cuts exactly that slice, then both must agree
//	target.go   the four forms of a request target, and what a host may look like
//	framing.go  where the body ends: one table for requests, one for responses
//
// and beside it:
//
//	request.go response.go header.go   what a parsed message offers
//	chunked.go                         an incremental decoder of the chunked coding, trailers included
//	append.go date.go                  building messages: nothing that could inject a line is ever appended
//	path.go query.go                   percent-decoding, dot segments, query pairs
//	list.go                            fields that are lists, over all of their lines
//	coding.go                          content codings, and Accept-Encoding
//	scan.go                            byte classes, and the word-at-a-time scans built on them
//	limits.go error.go                 every bound, every refusal
//
// Parsed messages are views into the bytes given to Parse: they live as long as those bytes stay untouched. Nothing in
// the package is safe for use by two goroutines at once, except the functions that take no receiver.
package httpparse
