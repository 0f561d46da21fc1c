// Command tafe is an HTTP edge application server. "tafe serve" runs it; "tafe help" lists the other commands.
package main

import "tafe/app/edge"

func main() {
	edge.Main(
		edge.Command{Name: "backend", Summary: "run the backends of the demo: a memcached-protocol store and HTTP bidders", Run: runBackend},
		edge.WithDemo(&demo{}),
	)
}
