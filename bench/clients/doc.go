// Package clients has tests only. They run the usual Go clients of databases and services against the real servers, in 500 tasks on two
// loops, and measure what that costs beside the same code in plain goroutines:
//
//	go test -race ./clients                                              all clients; pools that are smaller than their load
//	go test ./clients -run Cost -v -rounds 5 -window 1s                  the table of docs/cooperative.md
//
// clients_test.go has the clients, stores_test.go and services_test.go the code of each, servers_test.go the servers, crowd_test.go the
// tasks and goroutines, loops_test.go the tests, and cost_test.go the measurement.
package clients
