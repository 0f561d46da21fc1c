package reactor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"iter"
	"math/big"
	mathrand "math/rand"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// testCertificate is self-signed.
var testCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// tlsPeer is a TLS client of a memory stream, on the test's goroutine. Its
// handshake is a coroutine.
type tlsPeer struct {
	net.Conn // nil: what is not used
	s        *memory
	client   *tls.Conn
	got      int // of s.sent
	yield    func(struct{}) bool
	step     int // bytes delivered, and taken, at once; 0: all there are
}

func (p *tlsPeer) Read(b []byte) (int, error) {
	for p.got == len(p.s.sent) {
		switch {
		case p.s.ended || p.s.closed:
			return 0, io.EOF
		case p.yield == nil:
			return 0, errNoBytes
		}
		p.yield(struct{}{})
	}
	n := copy(b, p.s.sent[p.got:])
	p.got += n
	return n, nil
}

func (p *tlsPeer) Write(b []byte) (int, error) {
	for len(b) > 0 {
		n := len(b)
		if p.step > 0 {
			n = min(n, p.step)
		}
		p.s.deliver(string(b[:n]))
		b = b[n:]
	}
	return len(b), nil
}

func (p *tlsPeer) SetWriteDeadline(time.Time) error { return nil }

// dial performs the handshake.
func (p *tlsPeer) dial() (err error) {
	p.client = tls.Client(p, &tls.Config{InsecureSkipVerify: true})
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		err = p.client.Handshake()
		p.yield = nil
	})
	defer stop()
	for range 10000 {
		if _, more := next(); !more {
			return err
		}
		if p.step > 0 {
			p.s.take(p.step)
		}
		p.s.m.advance(time.Millisecond)
	}
	return io.ErrNoProgress
}

// readAll returns what can be decrypted now.
func (p *tlsPeer) readAll() (all []byte, err error) {
	b := make([]byte, 64<<10)
	for err == nil {
		var n int
		n, err = p.client.Read(b)
		all = append(all, b[:n]...)
	}
	return all, err
}

func (m *manual) openTLS(h Handler, terms TLS) (*Conn, *tlsPeer) {
	terms.Config = &tls.Config{Certificates: []tls.Certificate{testCertificate()}}
	c, s := m.open(nil)
	m.on(func() { c.startTLS(&terms, func(*Conn) Handler { return h }) })
	return c, &tlsPeer{s: s}
}

// requireNoBuffers fails if an idle connection holds buffers of the loop.
func requireNoBuffers(t *testing.T, c *Conn) {
	t.Helper()
	require.Nil(t, c.in)
	require.Nil(t, c.out)
	require.Nil(t, c.tls.out)
	require.Nil(t, c.tls.tlsBelow.early)
	require.Nil(t, c.tls.recordBuf)
	require.Zero(t, bufferOf(c.tls.session, rawInputAt).Cap())
	require.Zero(t, bufferOf(c.tls.session, handAt).Cap())
}

func echo(c *Conn) {
	c.Write(c.Input())
	c.Consume(len(c.Input()))
}

func TestTLSStream(t *testing.T) {
	for _, step := range []int{0, 1, 700} {
		m := newManual(t, Limits{})
		h := &spy{data: echo}
		c, p := m.openTLS(h, TLS{})
		if p.step = step; step > 0 {
			p.s.room = 0
		}
		require.NoError(t, p.dial())
		p.s.room = 1 << 30
		p.s.events()
		requireNoBuffers(t, c)
		require.Zero(t, m.stats().Timers)
		for _, size := range []int{1, 1000, 16 << 10, 50000} {
			if step == 1 && size > 1000 {
				continue
			}
			want := bytes.Repeat([]byte("0123456789"), size/10+1)
			_, err := p.client.Write(want)
			require.NoError(t, err)
			got, err := p.readAll()
			require.Equal(t, errNoBytes, err)
			require.True(t, bytes.Equal(want, got), "%d bytes of %d", len(got), len(want))
			requireNoBuffers(t, c)
		}
		require.NotNil(t, c.TLS())
		require.NoError(t, p.client.CloseWrite())
		require.True(t, c.InputEnded())
		require.Empty(t, h.closed, "the peer may still read")
		m.on(func() { c.Write([]byte("bye")); c.Close() })
		got, err := p.readAll()
		require.Equal(t, "bye", string(got))
		require.Equal(t, io.EOF, err)
		require.Equal(t, []error{nil}, h.closed)
		require.EqualValues(t, 1, m.stats().Handshakes)
	}
}

// The encrypted, unsent bytes are bounded, whatever is written.
func TestTLSOutputIsBounded(t *testing.T) {
	m := newManual(t, Limits{})
	c, p := m.openTLS(&spy{}, TLS{})
	require.NoError(t, p.dial())
	p.s.room = 10
	want := bytes.Repeat([]byte("0123456789"), 100<<10)
	m.on(func() { c.Write(want); c.Close() })
	require.LessOrEqual(t, cap(c.tls.out), 64<<10)
	require.GreaterOrEqual(t, c.Unsent(), len(want))
	var got []byte
	for !p.s.ended {
		p.s.take(9999)
		require.LessOrEqual(t, cap(c.tls.out), 64<<10)
		part, err := p.readAll()
		got = append(got, part...)
		if !p.s.ended {
			require.Equal(t, errNoBytes, err)
		}
	}
	require.True(t, bytes.Equal(want, got))
	require.Zero(t, c.Unsent())
	require.Equal(t, connLingering, c.state)
	requireNoBuffers(t, c)
}

// If the socket does not accept close_notify, it is sent later, and then FIN.
func TestTLSCloseNotifyWaitsForRoom(t *testing.T) {
	for _, ended := range []bool{false, true} {
		m := newManual(t, Limits{})
		h := &spy{}
		c, p := m.openTLS(h, TLS{})
		require.NoError(t, p.dial())
		if ended {
			require.NoError(t, p.client.CloseWrite())
		}
		before := len(p.s.sent)
		p.s.room = 0
		m.on(func() { c.Write([]byte("x")) })
		p.s.room = c.tls.Unsent()
		m.on(func() { c.Close(); c.Writable() })
		require.Zero(t, p.s.room)
		require.Positive(t, c.Unsent(), "close_notify")
		require.True(t, p.s.write)
		require.False(t, p.s.ended)
		require.Empty(t, h.closed)
		p.s.take(5)
		require.False(t, p.s.ended)
		p.s.take(1000)
		require.True(t, p.s.ended)
		got, err := p.readAll()
		require.Equal(t, "x", string(got))
		require.Equal(t, io.EOF, err)
		require.Greater(t, len(p.s.sent), before)
		require.Equal(t, ended, p.s.closed, "lingering waits for the peer's FIN")
		if !ended {
			p.s.finish()
		}
		require.Equal(t, []error{nil}, h.closed)
	}
}

// A paused connection has decrypted bytes in its session, which no event reports
// when it resumes.
func TestTLSPause(t *testing.T) {
	const most = 5000
	m := newManual(t, Limits{InboundMax: most})
	c, p := m.openTLS(&spy{}, TLS{})
	require.NoError(t, p.dial())
	want := bytes.Repeat([]byte("0123456789"), 10000)
	_, err := p.client.Write(want)
	require.NoError(t, err)
	require.Len(t, c.Input(), most)
	var got []byte
	for len(got) < len(want) {
		n := len(c.Input())
		require.Positive(t, n, "after %d bytes", len(got))
		require.LessOrEqual(t, n, most)
		got = append(got, c.Input()...)
		m.on(func() { c.Consume(n) })
		m.settle()
		p.s.events()
	}
	require.True(t, bytes.Equal(want, got))
	requireNoBuffers(t, c)

	m.on(c.Pause)
	_, err = p.client.Write(want[:100])
	require.NoError(t, err)
	require.NoError(t, p.client.CloseWrite())
	require.Empty(t, c.Input())
	m.on(c.Resume)
	m.settle()
	p.s.events()
	require.Equal(t, want[:100], c.Input())
	require.True(t, c.InputEnded())
}

// A handshake that waits for its turn, with unread bytes, does not cause repeated
// events. A client that closes meanwhile is noticed afterwards.
func TestTLSHandshakeWaitingForTurn(t *testing.T) {
	m := newManual(t, Limits{})
	var failures []error
	terms := TLS{HandshakesPerSecond: 1, Failed: func(_ *loop.Loop, _ string, err error) { failures = append(failures, err) }}
	_, first := m.openTLS(&spy{}, terms)
	require.NoError(t, first.dial())
	h := &spy{data: echo}
	c, p := m.openTLS(h, terms)
	p.step = 100
	_, left := m.openTLS(&spy{}, terms)
	left.s.deliver("\x16\x03\x01")
	left.s.fin = true
	left.s.events()
	require.NoError(t, p.dial())
	require.Greater(t, m.now, int64(900*time.Millisecond))
	require.True(t, p.s.read)
	_, err := p.client.Write([]byte("hello"))
	require.NoError(t, err)
	got, _ := p.readAll()
	require.Equal(t, "hello", string(got))
	requireNoBuffers(t, c)
	m.advance(3 * time.Second)
	left.s.events()
	require.Equal(t, []error{io.ErrUnexpectedEOF}, failures)
	require.Equal(t, 2, m.stats().Conns)
}

func TestTLSHandshakeFailures(t *testing.T) {
	for _, tc := range []struct {
		why   string
		do    func(m *manual, p *tlsPeer)
		count int
		want  error
		sent  string
	}{
		{"silence, then the client closes", func(_ *manual, p *tlsPeer) { p.s.finish() }, 0, nil, ""},
		{"silence, then a reset", func(_ *manual, p *tlsPeer) { p.s.fail(syscall.ECONNRESET) }, 0, nil, ""},
		{"silence for too long", func(m *manual, _ *tlsPeer) { m.advance(11 * time.Second) }, 1, ErrHandshakeTimeout, ""},
		{"too slow", func(m *manual, p *tlsPeer) { p.s.deliver("\x16"); m.advance(11 * time.Second) }, 1, ErrHandshakeTimeout, ""},
		{"the client leaves", func(_ *manual, p *tlsPeer) { p.s.deliver("\x16\x03"); p.s.finish() }, 1, io.ErrUnexpectedEOF, ""},
		{"a reset", func(_ *manual, p *tlsPeer) { p.s.deliver("\x16\x03"); p.s.fail(syscall.ECONNRESET) }, 1, syscall.ECONNRESET, ""},
		{"no TLS", func(_ *manual, p *tlsPeer) { p.s.deliver("GET / HTTP/1.1\r\n\r\n") }, 1, nil, "speak TLS"},
		{"no TLS, and the socket is full", func(_ *manual, p *tlsPeer) {
			p.s.room = 3
			p.s.deliver("GET / HTTP/1.1\r\n\r\n")
			p.s.take(3)
			p.s.take(100)
		}, 1, nil, "speak TLS"},
		{"endless hellos", func(_ *manual, p *tlsPeer) {
			p.s.deliver("\x16\x03\x01\x40\x00\x01\x00\xff\xff" + strings.Repeat(strings.Repeat("x", 16380)+"\x16\x03\x01\x3f\xfc", 20))
		}, 1, nil, ""},
		{"the loop ends", func(m *manual, p *tlsPeer) {
			p.s.deliver("\x16\x03")
			m.on(func() { m.r.loop.Drive().Shutdown(); m.r.loop.Drive().Close() })
		}, 1, loop.ErrShutdown, ""},
	} {
		t.Run(tc.why, func(t *testing.T) {
			m := newManual(t, Limits{})
			var failures []error
			c, p := m.openTLS(&spy{}, TLS{NotTLS: []byte("speak TLS"), Failed: func(_ *loop.Loop, _ string, err error) { failures = append(failures, err) }})
			tc.do(m, p)
			require.Len(t, failures, tc.count)
			require.EqualValues(t, tc.count, m.stats().HandshakesFailed)
			if tc.want != nil {
				require.ErrorIs(t, failures[0], tc.want)
			}
			if tc.sent != "" {
				require.Equal(t, tc.sent, string(p.s.sent))
				require.True(t, p.s.ended)
				require.False(t, p.s.closed, "it may still be sending: no reset")
			}
			p.s.finish()
			require.Equal(t, connEnded, c.state)
			require.Zero(t, m.r.handshakes)
			require.Zero(t, m.stats().TasksAlive)
			require.Zero(t, m.stats().Timers)
			require.Nil(t, c.tls.out)
			require.Nil(t, c.TLS())
		})
	}
}

// The responses to key updates are bounded.
func TestTLSUnreadKeyUpdates(t *testing.T) {
	m := newManual(t, Limits{})
	c, p := m.openTLS(&spy{}, TLS{})
	require.NoError(t, p.dial())
	p.s.room = 0
	var err error
	m.on(func() {
		for err == nil {
			_, err = c.tls.tlsBelow.Write(make([]byte, 1000))
		}
	})
	require.Equal(t, errUnreadAnswers, err)
	require.Less(t, c.Unsent(), 2*sealedMax)
}

// The echo is identical whatever the sizes in which bytes are moved.
func TestTLSAnyChunkSizes(t *testing.T) {
	for seed := range int64(30) {
		random := mathrand.New(mathrand.NewSource(seed))
		m := newManual(t, Limits{InboundMax: 1 + random.Intn(40000)})
		h := &spy{data: echo}
		if random.Intn(2) == 0 {
			h.data = func(c *Conn) {
				if len(c.Input()) > 0 {
					n := 1 + random.Intn(len(c.Input()))
					c.Write(c.Input()[:n])
					c.Consume(n)
				}
			}
		}
		c, p := m.openTLS(h, TLS{})
		require.NoError(t, p.dial())
		want := make([]byte, random.Intn(200<<10))
		_, _ = random.Read(want)
		var got []byte
		for rest := want; len(got) < len(want); {
			n := min(random.Intn(30000), len(rest))
			p.step = 1 + random.Intn(20000)
			if n > 0 {
				_, err := p.client.Write(rest[:n])
				require.NoError(t, err)
			}
			rest = rest[n:]
			p.s.take(random.Intn(20000))
			m.on(func() {
				if len(c.Input()) > 0 {
					h.Data(c)
				}
			})
			m.settle()
			p.s.events()
			part, err := p.readAll()
			require.Equal(t, errNoBytes, err)
			got = append(got, part...)
		}
		require.True(t, bytes.Equal(want, got), "seed %d", seed)
	}
}
