// Package backend has stand-ins for the foreign systems that an edge server waits on: a store that speaks the
// memcached text protocol, and HTTP bidders that take their time. They exist to be waited for: by the demo, by
// the tests and by the benchmarks. They are built on net and net/http and import nothing of tafe, as a foreign
// system would.
//
//   - store.go: the items, their limits and their life times
//   - protocol.go: the memcached text protocol over that store
//   - bidder.go: an HTTP bidder and its two random numbers, the delay and the price
//   - backend.go: one store and several bidders on their listeners, and the profiles that the demo looks up
//
// Nothing here is hardened for the open internet. It is bounded all the same: item count and size, line length,
// connections, delay.
package backend
