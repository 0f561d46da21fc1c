package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/app"
	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

// childEnv makes this test binary a second process; see TestTwoProcessesOrderOnce.
const childEnv = "TAFE_ACME_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m,
		// certmagic looks every five seconds whether a lock file is gone, and keeps connections to the authority.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		// It never ends the limit of orders of an account.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// patience bounds a wait of a test.
const patience = 60 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 10*time.Millisecond, what)
}

// pebbleProgram builds Pebble, once.
var pebbleProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pebble")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "pebble")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "pebble"
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
})

// authority is a Pebble, and a proxy in front of it that tests can make fail.
type authority struct {
	proxy      *httptest.Server
	dir        string
	management string
	issuer     *x509.CertPool

	mu       sync.Mutex
	down     bool
	delay    chan struct{} // orders wait until it is closed
	limits   int           // orders that are answered with a rate limit
	limited  string        // detail of the rate limit
	orders   int
	replaces int    // orders with the field replaces
	poll     string // Retry-After of renewal information
	// opens is when the window for the renewal of the first certificate does, from the first question for it on; 0: as Pebble says.
	opens    time.Duration
	window   []byte // of two seconds, after that question
	windowOf string // path of the first certificate
}

// startAuthority starts Pebble, which sends challenges to the listeners of s.
func startAuthority(t testing.TB, s *site, flags ...string) *authority {
	t.Helper()
	program, err := pebbleProgram()
	require.NoError(t, err, "Pebble is built from the nested module")
	a := &authority{dir: t.TempDir()}
	args := append([]string{"-listen", "127.0.0.1:0", "-management", "127.0.0.1:0", "-dir", a.dir,
		"-http-port", portOf(s.plain), "-tls-port", portOf(s.secure)}, flags...)
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_WFE_NONCEREJECT=20", "PEBBLE_AUTHZREUSE=0")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr testrig.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	var directory, roots string
	_, err = fmt.Fscanf(stdout, "ca = %q\nca_roots = %q\nmanagement %s\n", &directory, &roots, &a.management)
	require.NoError(t, err, stderr.String())
	a.issuer = poolOf(t, filepath.Join(a.dir, "issuer.pem"))
	target, err := url.Parse(strings.TrimSuffix(directory, "/dir"))
	require.NoError(t, err)
	upstream := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: poolOf(t, roots)}, DisableKeepAlives: true}
	forward := &httputil.ReverseProxy{Transport: upstream, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ModifyResponse: func(w *http.Response) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.poll != "" && strings.Contains(w.Request.URL.Path, "renewalInfo") {
				w.Header.Set("Retry-After", a.poll)
			}
			return nil
		}}
	a.proxy = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.intercept(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	a.proxy.Config.ErrorLog = forward.ErrorLog
	a.proxy.StartTLS()
	t.Cleanup(a.proxy.Close)
	return a
}

// intercept reports whether the request goes to Pebble.
func (a *authority) intercept(w http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.mu.Lock()
	down, delay := a.down, a.delay
	order := strings.HasSuffix(r.URL.Path, "/order-plz")
	limited := order && a.limits > 0
	if limited {
		a.limits--
	}
	if order && !down && !limited {
		a.orders++
		var signed struct{ Payload string }
		_ = json.Unmarshal(body, &signed)
		payload, _ := base64.RawURLEncoding.DecodeString(signed.Payload)
		if bytes.Contains(payload, []byte(`"replaces"`)) {
			a.replaces++
		}
	}
	detail := a.limited
	if a.opens > 0 && a.windowOf == "" && strings.Contains(r.URL.Path, "renewalInfo") {
		a.windowOf = r.URL.Path
		from := time.Now().Add(a.opens).Truncate(time.Second).UTC()
		a.window, _ = json.Marshal(map[string]any{"suggestedWindow": map[string]any{"start": from, "end": from.Add(2 * time.Second)}})
	}
	window := a.window
	if a.windowOf == "" || r.URL.Path != a.windowOf {
		window = nil
	}
	a.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler)
	}
	if limited {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Replay-Nonce", "none")
		w.WriteHeader(http.StatusTooManyRequests)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "urn:ietf:params:acme:error:rateLimited", "detail": detail, "status": 429})
		return false
	}
	if window != nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "3600")
		_, _ = w.Write(window)
		return false
	}
	if order && delay != nil {
		select {
		case <-delay:
		case <-r.Context().Done():
			return false
		}
	}
	return true
}

func (a *authority) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// count returns the number of orders; those with a bad nonce count, too, as they are sent again.
func (a *authority) ordersSeen() (orders, replaces int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.orders, a.replaces
}

func (a *authority) options() Authority {
	roots := x509.NewCertPool()
	roots.AddCert(a.proxy.Certificate())
	return Authority{Directory: a.proxy.URL + "/dir", Roots: roots}
}

// manage sends a request to the management interface of Pebble.
func (a *authority) manage(t testing.TB, method, path string, body []byte) []byte {
	t.Helper()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: poolOf(t, filepath.Join(a.dir, "ca.pem"))}, DisableKeepAlives: true}}
	r, err := http.NewRequest(method, a.management+path, bytes.NewReader(body))
	require.NoError(t, err)
	w, err := client.Do(r)
	require.NoError(t, err)
	defer func() { _ = w.Body.Close() }()
	text, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, w.StatusCode, string(text))
	return text
}

func poolOf(t testing.TB, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	return pool
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// site is a server with one loop that is never handed off, so that whatever held it would hold all requests.
type site struct {
	secure, plain string // addresses
	server        *app.Server
	manager       atomic.Pointer[Manager]
	base          *tls.Config
	deaf          atomic.Bool // to challenges
}

func startSite(t testing.TB) *site {
	t.Helper()
	s := &site{}
	s.base = &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if m := s.manager.Load(); m != nil && !s.deaf.Load() {
				return m.Challenge(hello), nil
			}
			return nil, nil
		},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if m := s.manager.Load(); m != nil {
				return m.Certificate(hello)
			}
			return nil, nil
		},
	}
	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler)})
	a.Handle("GET", "/{path...}", func(c *app.Context) error { return c.String(200, "page "+c.Param("path")) })
	server, err := app.Listen(a, app.ServerConfig{Loops: 1, Handoff: -1, Listeners: []app.Listener{
		{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: s.base, HandshakeOnly: ChallengeProtocol, HandshakeTimeout: patience}},
		{Addr: "127.0.0.1:0", Challenge: func(c *app.Context, host string) (bool, error) {
			if m := s.manager.Load(); m != nil && !s.deaf.Load() {
				return m.AnswerChallenge(c, host)
			}
			return false, nil
		}},
	}})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, server.Stop(ctx))
		a.Close()
	})
	s.server, s.secure, s.plain = server, server.Addrs()[0].String(), server.Addrs()[1].String()
	return s
}

// start makes a Manager that s uses, and starts it.
func (s *site) start(t testing.TB, o Options) *Manager {
	t.Helper()
	m := newManager(t, o)
	s.manager.Store(m)
	m.Load()
	m.Start()
	return m
}

// quick has the times of tests.
func quick(storage certmagic.Storage, authorities ...Authority) Options {
	return Options{Authorities: authorities, Storage: storage, HTTP01: true, TLSALPN01: true,
		CheckEvery: 200 * time.Millisecond, RetryMin: 50 * time.Millisecond, RetryMax: time.Second}
}

func newManager(t testing.TB, o Options) *Manager {
	t.Helper()
	var text testrig.Buffer
	o.Log = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		m.Close()
		if t.Failed() {
			t.Log(text.String())
		}
	})
	return m
}

func files(dir string) certmagic.Storage { return &certmagic.FileStorage{Path: dir} }

// handshake returns the state of a TLS connection to the site, or the error.
func (s *site) handshake(name string, roots *x509.CertPool) (tls.ConnectionState, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{ServerName: name, RootCAs: roots, InsecureSkipVerify: roots == nil}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", s.secure)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = c.Close() }()
	return c.(*tls.Conn).ConnectionState(), nil
}

// serial returns the serial number of the certificate that the site serves, "" if none.
func (s *site) serial(name string) string {
	state, err := s.handshake(name, nil)
	if err != nil {
		return ""
	}
	return state.PeerCertificates[0].SerialNumber.String()
}

// answers requires an answer on the plain listener, whose loop is that of the handshakes.
func (s *site) answers(t testing.TB) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	w, err := client.Get("http://" + s.plain + "/x")
	require.NoError(t, err)
	defer func() { _ = w.Body.Close() }()
	text, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	require.Equal(t, "page x", string(text))
}

// row returns the state of a name.
func row(m *Manager, name string) Certificate {
	for _, c := range m.Certificates() {
		if c.Name == name {
			return c
		}
	}
	return Certificate{}
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// challengeHandshake is what an authority does for TLS-ALPN-01.
func (s *site) challengeHandshake(name string) (tls.ConnectionState, error) {
	c, err := tls.Dial("tcp", s.secure, &tls.Config{ServerName: name, NextProtos: []string{ChallengeProtocol}, InsecureSkipVerify: true})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState(), nil
}
