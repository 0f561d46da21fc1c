package reactor

import (
	"crypto/tls"
	"net"
)
import "tafe/loop"

type tlsState uint8

const tlsOpen tlsState = 2

type tlsStream struct{ state tlsState }

func (s *tlsStream) readable()                            {}
func (c *Conn) startTLS(t *TLS, open func(*Conn) Handler) {}
func (c *Conn) awaitPreface(l *listening)                 {}

type TLS struct {
	Config *tls.Config
	Failed func(l *loop.Loop, remote string, err error)
	NotTLS []byte
}
type ProxyProtocol struct {
	Failed func(l *loop.Loop, remote string, err error)
}

func sendFile(t *loop.Task, c *Conn, f File, offset, n int64) (sent int64, err error) {
	return 0, nil
}

type File interface{ Fd() uintptr }

func Cached(f File, offset, n int64) bool { return true }

type Dialer struct{}

func NewNetConn(c *Conn) net.Conn { return nil }

func (c *Conn) TLS() *tls.ConnectionState { return nil }
func (c *Conn) Secure() bool              { return c.tls != nil }

var ErrHandshakeTimeout, ErrHandshakesMax, ErrProxyTimeout, ErrUntrusted error
