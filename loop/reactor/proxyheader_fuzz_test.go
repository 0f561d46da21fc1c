package reactor

import "testing"

// FuzzProxyHeader checks that any input is read the same in one piece and byte by
// byte, without a panic.
func FuzzProxyHeader(f *testing.F) {
	for _, seed := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET", "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n", "GET / HTTP/1.1\r\n",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbbGET", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + string(make([]byte, 216)),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end, err := proxyHeaderEnd(b)
		first := 0
		for i := 1; i <= len(b); i++ {
			n, early := proxyHeaderEnd(b[:i])
			if early != nil {
				if err == nil {
					t.Fatalf("refused after %d bytes, and as a whole not", i)
				}
				return
			}
			if n > 0 {
				first = n
				break
			}
		}
		if err != nil || end != first {
			t.Fatalf("ends at %d in one piece (%v), at %d byte by byte", end, err, first)
		}
		if end > 0 {
			if end > len(b) {
				t.Fatal("ends behind what is there")
			}
			if a, err := proxySource(b[:end]); err == nil && a != nil && a.String() == "" {
				t.Fatal("an address without a name")
			}
		}
	})
}
