// Package testrig has what the tests of several packages need: servers of raw connections, a buffer for logs, and the programs and ports of
// real servers. Only tests import it.
//
//	serve.go    a TCP server whose connections a function handles
//	program.go  programs that a test needs, and ports for them
//	buffer.go   a buffer for several goroutines
package testrig
