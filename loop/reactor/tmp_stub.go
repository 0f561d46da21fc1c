package reactor

import "os"
import "tafe/loop"

type tlsState uint8

const tlsOpen tlsState = 2

type tlsStream struct{ state tlsState }

func (s *tlsStream) readable()                            {}
func (c *Conn) startTLS(t *TLS, open func(*Conn) Handler) {}
func (c *Conn) awaitPreface(l *listening)                 {}

type TLS struct{}
type ProxyProtocol struct{}

func sendFile(t *loop.Task, c *Conn, f *os.File, offset, n int64) (sent int64, err error) {
	return 0, nil
}
