package reactor_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

// whoIs answers each line with the client address of the connection.
type whoIs struct{}

func (whoIs) Data(c *reactor.Conn) {
	if c.InputEnded() {
		c.Close()
	}
	if strings.HasSuffix(string(c.Input()), "\n") {
		c.Write([]byte(c.Remote() + " " + c.RemoteAddr().String() + " " + string(c.Input())))
		c.Consume(len(c.Input()))
	}
}
func (whoIs) Timeout(c *reactor.Conn)     { c.Close() }
func (whoIs) Closed(*reactor.Conn, error) {}

func behindProxy(t *testing.T, p reactor.ProxyProtocol, terms *reactor.TLS) (*reactor.Engine, string, *failures) {
	failed := &failures{}
	p.Failed = failed.add
	if p.Trusted == nil {
		p.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	e, err := reactor.Start(reactor.Config{
		Loops: 1, Log: slog.New(slog.DiscardHandler), Open: func(*reactor.Conn) reactor.Handler { return whoIs{} },
		Listeners: []reactor.Listener{{Addr: "127.0.0.1:0", Proxy: &p, TLS: terms}},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	})
	return e, e.Addr().String(), failed
}

const (
	version1 = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
	magic    = "\r\n\r\n\x00\r\nQUIT\n"
	version2 = magic + "\x21\x11\x00\x0c" + "\xc0\x00\x02\x01\xc6\x33\x64\x01" + "\xdc\x04\x01\xbb"
	v6       = magic + "\x21\x21\x00\x24" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\xdc\x04\x01\xbb"
	withTLV = magic + "\x21\x11\x00\x13" + "\xc0\x00\x02\x01\xc6\x33\x64\x01" + "\xdc\x04\x01\xbb" + "\x04\x00\x04\x00\x00\x00\x00"
	local   = magic + "\x20\x00\x00\x00"
)

func TestProxyHeaders(t *testing.T) {
	_, addr, failed := behindProxy(t, reactor.ProxyProtocol{}, nil)
	for _, c := range []struct{ name, header, want, why string }{
		{"version 1", version1, "192.0.2.1:56324", ""},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "[2001:db8::1]:56324", ""},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", "127.0.0.1:", "the connection's own address"},
		{"version 2", version2, "192.0.2.1:56324", ""},
		{"version 2, IPv6", v6, "[2001:db8::1]:56324", ""},
		{"version 2, more", withTLV, "192.0.2.1:56324", "extensions are skipped"},
		{"version 2, local", local, "127.0.0.1:", "a health check of the balancer"},
	} {
		for _, step := range []int{1, 7, 1000} {
			t.Run(fmt.Sprint(c.name, " by ", step), func(t *testing.T) {
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				_, err = io.WriteString(&trickle{conn, step}, c.header+"hello\n")
				require.NoError(t, err)
				line, err := bufio.NewReader(conn).ReadString('\n')
				require.NoError(t, err)
				fields := strings.Fields(line)
				require.True(t, strings.HasPrefix(fields[0], c.want), "%s: %s", c.why, line)
				require.Equal(t, fields[0], fields[1])
				require.Equal(t, "hello", fields[2])
			})
		}
	}
	require.Zero(t, failed.count())
}

func TestInvalidProxyHeader(t *testing.T) {
	for _, c := range []struct {
		name, send string
		terms      reactor.ProxyProtocol
		want       error
	}{
		{"none", "GET / HTTP/1.1\r\n", reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"long line", "PROXY " + strings.Repeat("x", 200), reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"no such family", "PROXY TCP5 192.0.2.1 198.51.100.1 56324 443\r\n", reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"no address", "PROXY TCP4 999.0.2.1 198.51.100.1 56324 443\r\n", reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"no such port", "PROXY TCP4 192.0.2.1 198.51.100.1 99999 443\r\n", reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"bare line feed", "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n", reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"no such version", magic + "\x31\x11\x00\x00", reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"too long", magic + "\x21\x11\xff\xff", reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"too short for its family", magic + "\x21\x11\x00\x01x", reactor.ProxyProtocol{}, reactor.ErrProxyHeader},
		{"half a header", "PROXY TCP4 192", reactor.ProxyProtocol{Timeout: 30 * time.Millisecond}, reactor.ErrProxyTimeout},
		{"silence", "", reactor.ProxyProtocol{Timeout: 30 * time.Millisecond}, reactor.ErrProxyTimeout},
		{"a stranger's", version1 + "hello\n", reactor.ProxyProtocol{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, reactor.ErrUntrusted},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e, addr, failed := behindProxy(t, c.terms, nil)
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, c.send)
			got, err := io.ReadAll(conn)
			require.False(t, timedOut(err), "closed by the server")
			require.Empty(t, got)
			require.Eventually(t, func() bool { return failed.count() == 1 && e.Conns() == 0 }, 10*time.Second, time.Millisecond)
			require.ErrorIs(t, failed.first(), c.want)
		})
	}
}

// prefixing sends bytes before the first Write, or together with it.
type prefixing struct {
	net.Conn
	prefix string
}

func (p *prefixing) Write(b []byte) (int, error) {
	_, err := p.Conn.Write(append([]byte(p.prefix), b...))
	p.prefix = ""
	return len(b), err
}

func TestProxyHeaderBeforeTLS(t *testing.T) {
	terms := &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{ownCertificate()}}}
	_, addr, failed := behindProxy(t, reactor.ProxyProtocol{}, terms)
	for _, together := range []bool{true, false} {
		raw := net.Conn(dial(t, addr))
		if together {
			raw = &prefixing{raw, version2}
		} else {
			_, err := io.WriteString(raw, version2)
			require.NoError(t, err)
		}
		c := tls.Client(raw, clientConfig())
		_, err := io.WriteString(c, "hello\n")
		require.NoError(t, err)
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "192.0.2.1:56324 192.0.2.1:56324 hello\n", line)
	}
	require.Zero(t, failed.count())
}

// A health check that connects and closes is not reported as a failure.
func TestProxyHealthCheck(t *testing.T) {
	e, addr, failed := behindProxy(t, reactor.ProxyProtocol{}, nil)
	for range 10 {
		_ = dial(t, addr).Close()
	}
	c := dial(t, addr)
	_, err := io.WriteString(c, version1+"hello\n")
	require.NoError(t, err)
	_, err = bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	require.Eventually(t, func() bool { return e.Conns() == 1 }, 10*time.Second, time.Millisecond)
	require.Zero(t, failed.count())
	_, err = io.WriteString(dial(t, addr), "PROXY TCP4 192")
	require.NoError(t, err)
	half := dial(t, addr)
	_, err = io.WriteString(half, "PROXY TCP4 192")
	require.NoError(t, err)
	require.NoError(t, half.CloseWrite())
	require.Eventually(t, func() bool { return failed.count() == 1 }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, failed.first(), reactor.ErrProxyHeader)
}

// HAProxy sends both versions.
func TestProxyHeaderFromHAProxy(t *testing.T) {
	path := testrig.Program(t, "haproxy", "/usr/sbin")
	_, addr, failed := behindProxy(t, reactor.ProxyProtocol{}, nil)
	for _, send := range []string{"send-proxy", "send-proxy-v2"} {
		dir := t.TempDir()
		s := startServer(t, syscall.SIGTERM, func(port string) *exec.Cmd {
			file := filepath.Join(dir, "haproxy.cfg")
			config := fmt.Sprintf("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"+
				"listen l\n  bind 127.0.0.1:%s\n  server s %s %s\n", port, addr, send)
			require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
			return exec.Command(path, "-db", "-f", file)
		}, nil)
		conn, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = io.WriteString(conn, "hello\n")
		require.NoError(t, err)
		line, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, conn.LocalAddr().String(), strings.Fields(line)[0], "%s: the client's own port", send)
	}
	require.Zero(t, failed.count())
}
