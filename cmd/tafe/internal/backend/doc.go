// Package backend has stand-ins for the systems that an edge server calls: a store with the memcached text protocol, and HTTP
// bidders that answer after a random delay. The demo, the tests and the benchmarks use them. They are built on net and net/http and
// import no other package of tafe.
//
//   - store.go: the items, their limits and their expiry
//   - protocol.go: the memcached text protocol over that store
//   - bidder.go: an HTTP bidder, its random delay and price
//   - backend.go: one store and several bidders on their listeners, and the profiles that the demo looks up
//
// They are not hardened for the open internet. Item count and size, line length, connections and delay are bounded.
package backend
