// Package reactor runs event loops on sockets. It has the poller of each loop,
// listeners, connections, TLS, the PROXY protocol, outbound connections, and the
// handover of listening sockets between processes. Package loop has the tasks and
// timers that run on the loops; HTTP is in package app.
//
// [Start] opens the listeners and returns an [Engine], which runs one [Reactor] for
// each loop. A [Conn] is one connection of a loop: a [Handler] receives its events,
// and [Conn.Write] queues its output. A task that connects to another server calls
// [Dialer.DialContext]; the connection is a [net.Conn] whose Read and Write park the
// task. [NewNetConn] makes such a net.Conn of an accepted connection.
//
// # The parts, in reading order
//
//	engine.go       Engine: the reactors of a process and their common limits
//	reactor.go      Reactor: the poller of one loop and what its connections share
//	heap.go         the garbage collector while the heap is small
//	handoff.go      the goroutines that own loops and take them over
//	listen.go       Listener: opening the listening sockets
//	accept.go       accepting connections
//	proxyheader.go  the PROXY protocol
//	conn.go         Conn: input, timeouts, and the table of its states
//	output.go       Conn: output, write timeout, backpressure
//	close.go        Conn: closing
//	sendfile.go     SendFile
//	socket.go       the Transport of a plain socket
//	tls.go          TLS: configuration and handshake
//	stream.go       the Transport of a TLS connection
//	tlsbelow.go     the net.Conn below a TLS session
//	buffer.go       recycled buffers
//	arrival.go      when data arrived on a socket
//	dial.go         Dialer: its API
//	resolve.go      Dialer: addresses and name lookup
//	connect.go      Dialer: connecting
//	netconn.go      NewNetConn: events, deadlines, closing
//	netread.go      NewNetConn: Read
//	netwrite.go     NewNetConn: Write
//	outbound.go     dialed connections of protocols that handle the events themselves
//	take.go         Take: an accepted connection for such a protocol
//	stacked.go      what protocols need that carry several streams on a Conn
//	inherit.go      listening sockets of systemd or of a predecessor
//	handover.go     handing the listening sockets to a new process
//	handover_message.go  the messages of a handover
//	limits.go       how file descriptors are divided
//
// # The thread rule
//
// A Reactor and its connections belong to their loop: only the goroutine that owns
// the loop may touch them, and the task that the loop is running, after
// [loop.Task.Enter]. The methods of an Engine and a Dialer, and of the net.Conns, may
// be called by any goroutine. Other functions that any goroutine may call say so.
package reactor
