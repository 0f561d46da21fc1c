package reactor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// ownCertificate returns a self-signed certificate for localhost.
var ownCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// secureEcho sends everything back.
type secureEcho struct{}

func (secureEcho) Data(c *reactor.Conn) {
	c.Write(c.Input())
	c.Consume(len(c.Input()))
	if c.InputEnded() {
		c.Close()
	}
}
func (secureEcho) Timeout(c *reactor.Conn)     { c.Close() }
func (secureEcho) Closed(*reactor.Conn, error) {}

type failures struct {
	mu  sync.Mutex
	all []error
}

func (f *failures) add(_ *loop.Loop, _ string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func (f *failures) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

// first is the first failure.
func (f *failures) first() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[0]
}

func secureEngine(t testing.TB, loops int, terms reactor.TLS) (*reactor.Engine, string, *failures) {
	failed := &failures{}
	if terms.Config == nil {
		terms.Config = &tls.Config{Certificates: []tls.Certificate{ownCertificate()}}
	}
	terms.Failed = failed.add
	e, err := reactor.Start(reactor.Config{
		Loops: loops, Log: slog.New(slog.DiscardHandler),
		Open: func(*reactor.Conn) reactor.Handler { return secureEcho{} },
		Listeners: []reactor.Listener{
			{Addr: "127.0.0.1:0", TLS: &terms},
			{Addr: "127.0.0.1:0"},
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	})
	return e, e.Addrs()[0].String(), failed
}

func clientConfig() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
}

func echoes(t testing.TB, c net.Conn, size int) {
	t.Helper()
	out := make([]byte, size)
	_, _ = rand.Read(out)
	go func() { _, _ = c.Write(out) }()
	in := make([]byte, size)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := io.ReadFull(c, in)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(out), sha256.Sum256(in))
}

func TestTLSEcho(t *testing.T) {
	e, addr, failed := secureEngine(t, 2, reactor.TLS{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := clientConfig()
		config.MinVersion, config.MaxVersion = version, version
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for _, resumed := range []bool{false, true} {
			c, err := tls.Dial("tcp", addr, config)
			require.NoError(t, err)
			for _, size := range []int{1, 100, 16 << 10, 100 << 10, 900 << 10} {
				echoes(t, c, size)
			}
			require.Equal(t, resumed, c.ConnectionState().DidResume)
			require.NoError(t, c.CloseWrite())
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			_ = c.Close()
		}
	}
	plain, err := net.Dial("tcp", e.Addrs()[1].String())
	require.NoError(t, err)
	defer func() { _ = plain.Close() }()
	echoes(t, plain, 100) // the listener beside it
	require.Zero(t, failed.count())
	require.Eventually(t, func() bool { return stat(e, func(s reactor.Stats) uint64 { return s.Handshakes }) == 4 }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, 2, stat(e, func(s reactor.Stats) uint64 { return s.HandshakesResumed }))
}

func stat(e *reactor.Engine, of func(reactor.Stats) uint64) (sum uint64) {
	for _, l := range e.Loops() {
		got := make(chan uint64)
		l.Post(func() { got <- of(reactor.Of(l).Stats()) })
		sum += <-got
	}
	return sum
}

// A client's bytes make the same connection in pieces of any size.
func TestTLSByteByByte(t *testing.T) {
	_, addr, _ := secureEngine(t, 1, reactor.TLS{})
	for _, step := range []int{1, 3, 100} {
		raw, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		c := tls.Client(&trickle{raw, step}, clientConfig())
		echoes(t, c, 2000)
		_ = c.Close()
	}
}

// trickle writes in steps.
type trickle struct {
	net.Conn
	step int
}

func (t *trickle) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = t.Conn.Write(p[n:min(n+t.step, len(p))])
		n += m
	}
	return n, err
}

func TestTLSRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		send string
		want string
		why  string
	}{
		{"http", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "speak TLS", "a client that means well is told"},
		{"garbage", "\x16\x03\x01\x00\x05hello", "", "an alert and the end"},
		{"flood", "\x16\x03\x01\xff\xff" + string(make([]byte, 200<<10)), "", "no more than a record is kept"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, addr, failed := secureEngine(t, 1, reactor.TLS{NotTLS: []byte("speak TLS")})
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, c.send)
			got, _ := io.ReadAll(conn)
			require.Contains(t, string(got), c.want, c.why)
			require.Eventually(t, func() bool {
				return failed.count() == 1 && stat(e, func(s reactor.Stats) uint64 { return s.HandshakesFailed }) == 1
			}, 10*time.Second, time.Millisecond)
		})
	}
}

func TestTLSSlowHandshakes(t *testing.T) {
	e, addr, failed := secureEngine(t, 1, reactor.TLS{HandshakeTimeout: 50 * time.Millisecond, HandshakesMax: 2})
	silent, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	begun, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = begun.Close() }()
	_, err = begun.Write([]byte{0x16, 3, 1})
	require.NoError(t, err)
	for _, c := range []net.Conn{silent, begun} {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = io.ReadAll(c)
		require.False(t, timedOut(err), "closed by the server")
	}
	require.Eventually(t, func() bool { return failed.count() == 2 }, 10*time.Second, time.Millisecond)
	for _, err := range failed.all {
		require.ErrorIs(t, err, reactor.ErrHandshakeTimeout)
	}
	require.Eventually(t, func() bool { return e.Conns() == 0 }, 10*time.Second, time.Millisecond)
}

func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Handshakes beyond HandshakesPerSecond wait for their turn.
func TestTLSHandshakesPerSecond(t *testing.T) {
	_, addr, failed := secureEngine(t, 1, reactor.TLS{HandshakesPerSecond: 100})
	var wg sync.WaitGroup
	var done atomic.Int64
	began := time.Now()
	for range 40 {
		wg.Go(func() {
			c, err := tls.Dial("tcp", addr, clientConfig())
			if err == nil {
				done.Add(1)
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 40, done.Load())
	require.Zero(t, failed.count())
	require.Greater(t, time.Since(began), 250*time.Millisecond, "ten at once, then one every 10 ms: it cannot be faster")
}

func TestTLSManyOnTwoLoops(t *testing.T) {
	e, addr, failed := secureEngine(t, 2, reactor.TLS{})
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			c, err := tls.Dial("tcp", addr, clientConfig())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_, err = io.WriteString(c, "hello")
			if err == nil {
				_, err = io.ReadFull(c, make([]byte, 5))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.count())
	require.Eventually(t, func() bool { return e.Conns() == 0 }, 10*time.Second, time.Millisecond)
}

// A callback of tls.Config may wait in the task that calls it.
func TestTLSCallbackWaits(t *testing.T) {
	var e atomic.Pointer[reactor.Engine]
	var calls atomic.Int32
	terms := reactor.TLS{Config: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if calls.Add(1) == 1 {
			if err := e.Load().Current().Sleep(50 * time.Millisecond); err != nil {
				return nil, err
			}
			if h.Conn.RemoteAddr().String() == h.Conn.LocalAddr().String() {
				return nil, errors.New("no addresses")
			}
		}
		own := ownCertificate()
		return &own, nil
	}}}
	started, addr, failed := secureEngine(t, 1, terms)
	e.Store(started)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			c, err := tls.Dial("tcp", addr, clientConfig())
			if err != nil {
				t.Error(err)
				return
			}
			echoes(t, c, 1000)
			_ = c.Close()
		})
	}
	wg.Wait()
	require.Zero(t, failed.count())
}

// A callback finds the task of its handshake, and so a pool on whose goroutines it may block.
func TestTLSHandshakeTask(t *testing.T) {
	pool := loop.NewPool(1, 1)
	defer pool.Close()
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	terms := reactor.TLS{Config: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		own := ownCertificate()
		if h.ServerName != "slow.example" {
			return &own, nil
		}
		return loop.Offload(reactor.HandshakeTask(h), pool, func() (*tls.Certificate, error) {
			entered <- struct{}{}
			<-release
			return &own, nil
		})
	}}}
	_, addr, failed := secureEngine(t, 1, terms)
	slow := make(chan error, 1)
	go func() {
		config := clientConfig()
		config.ServerName = "slow.example"
		c, err := tls.Dial("tcp", addr, config)
		if err == nil {
			_ = c.Close()
		}
		slow <- err
	}()
	<-entered
	c, err := tls.Dial("tcp", addr, clientConfig())
	require.NoError(t, err, "the loop goes on")
	echoes(t, c, 1000)
	require.NoError(t, c.Close())
	close(release)
	require.NoError(t, <-slow)
	require.Zero(t, failed.count())
	require.Nil(t, reactor.HandshakeTask(&tls.ClientHelloInfo{}))
}

// A connection with the protocol of HandshakeOnly ends with its handshake; others do not.
func TestTLSHandshakeOnly(t *testing.T) {
	const only = "acme-tls/1"
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		e, addr, failed := secureEngine(t, 1, reactor.TLS{HandshakeOnly: only, Config: &tls.Config{
			Certificates: []tls.Certificate{ownCertificate()}, NextProtos: []string{"http/1.1", only},
		}})
		config := clientConfig()
		config.MaxVersion, config.NextProtos = version, []string{only}
		c, err := tls.Dial("tcp", addr, config)
		require.NoError(t, err)
		require.Equal(t, only, c.ConnectionState().NegotiatedProtocol)
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = c.Write([]byte("hello"))
		rest, err := io.ReadAll(c)
		require.NoError(t, err, "closed with close_notify")
		require.Empty(t, rest)
		_ = c.Close()
		config = clientConfig()
		config.NextProtos = []string{"http/1.1"}
		c, err = tls.Dial("tcp", addr, config)
		require.NoError(t, err)
		echoes(t, c, 100)
		_ = c.Close()
		require.Zero(t, failed.count())
		require.Eventually(t, func() bool { return e.Opening() == 0 && e.Conns() == 0 }, 20*time.Second, time.Millisecond)
	}
}

func TestTLSHandshakesMax(t *testing.T) {
	_, addr, failed := secureEngine(t, 1, reactor.TLS{HandshakesMax: 2})
	for range 2 {
		_, err := dial(t, addr).Write([]byte{0x16, 3, 1})
		require.NoError(t, err)
	}
	require.Zero(t, failed.count())
	third := dial(t, addr)
	_, err := third.Write([]byte{0x16, 3, 1})
	require.NoError(t, err)
	_, err = io.ReadAll(third)
	require.NoError(t, err, "closed with close_notify")
	require.Equal(t, 1, failed.count())
	require.ErrorIs(t, failed.first(), reactor.ErrHandshakesMax)
}

// secureServer runs an engine of one loop with TLS until the caller stops it.
func secureServer(t testing.TB, open func(*reactor.Conn) reactor.Handler) (*reactor.Engine, string) {
	e, err := reactor.Start(reactor.Config{
		Loops: 1, Log: slog.New(slog.DiscardHandler), Open: open,
		Listeners: []reactor.Listener{{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{ownCertificate()}}}}},
	})
	require.NoError(t, err)
	return e, e.Addr().String()
}

func dialTLS(t testing.TB, addr string) *tls.Conn {
	c, err := tls.Dial("tcp", addr, clientConfig())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
