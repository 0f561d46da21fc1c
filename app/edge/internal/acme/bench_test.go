package acme

import (
	"crypto/tls"
	"fmt"
	"testing"
)

// BenchmarkCertificate finds the certificate of a handshake among many, by its name and by a wildcard.
func BenchmarkCertificate(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		m := &Manager{}
		for i := range n {
			e := &entry{name: fmt.Sprintf("www%d.example", i)}
			e.served.Store(&tls.Certificate{})
			m.entries.Store(e.name, e)
		}
		wild := &entry{name: "*.wild.example"}
		wild.served.Store(&tls.Certificate{})
		m.entries.Store(wild.name, wild)
		for _, name := range []string{"www0.example", "x.wild.example", "none.example"} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				hello := &tls.ClientHelloInfo{ServerName: name}
				for b.Loop() {
					_, _ = m.Certificate(hello)
				}
			})
		}
	}
}
