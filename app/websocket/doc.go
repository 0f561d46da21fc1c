// Package websocket serves WebSocket connections (RFC 6455, permessage-deflate of RFC 7692) on event loops. app.Context.WebSocket makes a
// [Conn] of a request. Frames are parsed and checked by github.com/gobwas/ws.
//
// A handler reads and writes straight-line: [Conn.Read] gives the loop back until a message is there. With [Conn.Serve] the handler
// returns instead, and each message starts a task; a client that sends nothing then costs no task. Pings, pongs and close frames are
// handled by the loop in both cases, also while the handler does something else.
//
//	conn.go       Conn: Read, Write, Close; its states and timeouts
//	serve.go      Serve: a task for each message
//	receive.go    frames of the client: parsing, limits, control frames
//	closing.go    the close handshake, close codes, CloseError
//	write.go      frames to the client, and Encoded, a message for many clients
//	deflate.go    permessage-deflate
//	handshake.go  the rules of the opening handshake; package app reads the request and writes the response
//	set.go        Set: what the connections of one loop share, counters, drain
package websocket
