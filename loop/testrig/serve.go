// A TCP server whose connections a function handles.

package testrig

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Serve listens on a free port of 127.0.0.1 and returns its address. It calls handle for each connection, on a goroutine of its own, and
// closes the connection when handle returns. At the end of the test it closes all connections and waits for the goroutines.
func Serve(t testing.TB, handle func(c net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ServeOn(t, ln, handle)
	return ln.Addr().String()
}

// ServeOn is Serve on a listener, which it closes.
func ServeOn(t testing.TB, ln net.Listener, handle func(c net.Conn)) {
	s := server{open: map[net.Conn]bool{}}
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if s.add(c) {
				s.wg.Go(func() {
					defer s.remove(c)
					handle(c)
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.end()
	})
}

// server has the open connections of a listener.
type server struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[net.Conn]bool // nil: the test is over
}

func (s *server) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		_ = c.Close()
		return false
	}
	s.open[c] = true
	return true
}

func (s *server) remove(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

func (s *server) end() {
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.open = nil
	s.mu.Unlock()
	s.wg.Wait()
}

// ReadHead reads the head of an HTTP message up to its empty line, and nothing after it.
func ReadHead(r io.Reader) (string, error) {
	var head strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); head.Write(b) {
		if _, err := io.ReadFull(r, b); err != nil {
			return head.String(), err
		}
	}
	return head.String(), nil
}
