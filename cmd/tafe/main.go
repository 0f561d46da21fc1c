// Command tafe is an HTTP edge application server. "tafe serve" runs it; "tafe help" lists the other commands.
package main

import (
	"os"

	"tafe/app/edge"
)

func main() {
	if isVettool(os.Args[1:]) {
		runVettool()
		return
	}
	edge.Main(
		edge.Handlers{"plaintext": plaintext, "json": hello, "echo": echo, "sleep": sleep, "hog": hog, "ws": echoMessages},
		edge.Handler("front_page", frontPage),
		edge.Handler("bid", newBid),
		edge.Handler("events", newEvents),
		(&demoFlags{}).embedded(),
		edge.Command{Name: "new", Summary: "write the project of a program with handlers of its own: tafe new DIR", Run: runNew},
		edge.Command{Name: "vet", Summary: "report calls that block, in handlers: tafe vet ./...", Run: runVet},
		edge.Command{Name: "backend", Summary: "run the backends of the demo: a memcached-protocol store and HTTP bidders", Run: runBackend},
	)
}
