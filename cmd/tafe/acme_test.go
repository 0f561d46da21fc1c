// Certificates that the server obtains, tested from outside: the binary, its file, its commands and Pebble.

package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
	"tafe/loop/testrig"
)

// pebbleModule is what make pebble runs.
const pebbleModule = "../../app/edge/internal/acme/pebble"

// buildPebble builds Pebble, once.
var buildPebble = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "pebble")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = pebbleModule
	out, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

// pebble is a running Pebble. lines are what it prints: two lines of TOML.
type pebble struct {
	lines  string
	issuer *x509.CertPool
	stop   func()
}

func startPebble(t *testing.T, plain, secure string) *pebble {
	t.Helper()
	path, err := buildPebble()
	require.NoError(t, err)
	dir := t.TempDir()
	_, httpPort, _ := net.SplitHostPort(plain)
	_, tlsPort, _ := net.SplitHostPort(secure)
	cmd := exec.Command(path, "-listen", "127.0.0.1:0", "-management", "", "-dir", dir, "-http-port", httpPort, "-tls-port", tlsPort)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	p := &pebble{stop: sync.OnceFunc(func() { _ = stdin.Close(); _ = cmd.Wait() })}
	t.Cleanup(p.stop)
	r := bufio.NewReader(stdout)
	for range 2 {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		p.lines += line
	}
	text, err := os.ReadFile(filepath.Join(dir, "issuer.pem"))
	require.NoError(t, err)
	p.issuer = x509.NewCertPool()
	require.True(t, p.issuer.AppendCertsFromPEM(text))
	return p
}

const newcomer = `
[acme]
domains = [%s]
%sstorage = %q

[[listener]]
listen = %q
tls = {}

[[listener]]
listen = %q
redirect_https = %s

[[route]]
path = "/"
respond = { body = "hello" }
`

// newcomerEdge serves newcomer.
func newcomerEdge(t *testing.T, file, secure, plain, lines, storage string, domains ...string) (*process, string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(secure)
	writeConfig(t, file, fmt.Sprintf(newcomer, `"`+strings.Join(domains, `", "`)+`"`, lines, storage, secure, plain, port))
	p := start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
	line := p.line()
	_, admin, found := strings.Cut(line, "admin http://")
	require.True(t, found, line)
	return p, strings.TrimSuffix(admin, "/")
}

// verified reports whether the server shows a certificate of the authority for name.
func verified(addr, name string, roots *x509.CertPool) bool {
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, RootCAs: roots})
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// A newcomer has a Pebble and three lines of TOML.
func TestNewcomerGetsACertificate(t *testing.T) {
	secure, plain := "127.0.0.1:"+testrig.Port(t), "127.0.0.1:"+testrig.Port(t)
	ca := startPebble(t, plain, secure)
	dir := t.TempDir()
	file, storage := filepath.Join(dir, "edge.toml"), filepath.Join(dir, "certificates")
	p, admin := newcomerEdge(t, file, secure, plain, ca.lines, storage, "one.example")
	await(t, "a certificate", func() bool { return verified(secure, "one.example", ca.issuer) })
	await(t, "its row", func() bool {
		_, text := get(t, admin, "/certificates")
		return strings.Contains(text, `"renewal"`)
	})
	require.Contains(t, p.stderr.String(), "key_exchange=\"X25519MLKEM768 X25519 CurveP256 CurveP384\"")

	out, err := exec.Command(binary, "certs", "--admin", admin).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Regexp(t, `(?m)^one\.example +acme +Pebble Intermediate CA [0-9a-f]+ +\d{4}-\d\d-\d\d \d\d:\d\d +90 days +\d{4}-\d\d-\d\d \d\d:\d\d +- +good$`, string(out))
	out, err = exec.Command(binary, "certs", "--admin", admin, "--json").Output()
	require.NoError(t, err)
	var rows []map[string]any
	require.NoError(t, json.Unmarshal(out, &rows))
	require.Equal(t, "one.example", rows[0]["name"])
	_, metrics := get(t, admin, "/metrics")
	require.Regexp(t, `tafe_certificate_days_left\{name="one\.example",source="acme"\} 89\.`, metrics)
	require.Contains(t, metrics, "tafe_certificates_issued_total 1")

	// Redirects go to names with a certificate; what looks like a challenge and is none is redirected like the rest.
	for _, c := range []struct {
		host, target string
		status       int
	}{
		{"one.example", "/a", 308}, {"one.example", "/.well-known/acme-challenge/none", 308}, {"other.example", "/a", 421},
	} {
		conn := dialRaw(t, plain)
		conn.send("GET " + c.target + " HTTP/1.1\r\nHost: " + c.host + "\r\nConnection: close\r\n\r\n")
		response, _ := conn.receive()
		require.Equal(t, c.status, response.StatusCode, "%s%s", c.host, c.target)
	}

	// A second domain by SIGHUP.
	text := readFile(t, file)
	writeConfig(t, file, strings.Replace(text, `"one.example"`, `"one.example", "two.example"`, 1))
	p.signal(syscall.SIGHUP)
	await(t, "the second", func() bool { return verified(secure, "two.example", ca.issuer) })

	// The next process has both from the storage, without its authority.
	ca.stop()
	p.signal(syscall.SIGTERM)
	code, _ := p.wait()
	require.Equal(t, exitOK, code, p.stderr.String())
	_, _ = newcomerEdge(t, file, secure, plain, ca.lines, storage, "one.example", "two.example")
	require.True(t, verified(secure, "one.example", ca.issuer))
	require.True(t, verified(secure, "two.example", ca.issuer))
}

// Each listener answers the challenges of its kind, also if the authority reaches no other. The names are the hosts of a site.
func TestEachListenerAnswersChallenges(t *testing.T) {
	for _, c := range []struct {
		why          string
		http01, alpn bool
	}{{"HTTP-01, on the listener that redirects", true, false}, {"TLS-ALPN-01, on the listener with TLS", false, true}} {
		t.Run(c.why, func(t *testing.T) {
			secure, plain, nowhere := "127.0.0.1:"+testrig.Port(t), "127.0.0.1:"+testrig.Port(t), "127.0.0.1:1"
			httpTo, tlsTo := nowhere, nowhere
			if c.http01 {
				httpTo = plain
			}
			if c.alpn {
				tlsTo = secure
			}
			ca := startPebble(t, httpTo, tlsTo)
			dir := t.TempDir()
			file := filepath.Join(dir, "edge.toml")
			_, port, _ := net.SplitHostPort(secure)
			text := fmt.Sprintf(newcomer, "", ca.lines, dir+"/s", secure, plain, port)
			writeConfig(t, file, text+"[[site]]\nhost = [\"site.example\", \"www.site.example\"]\n[[site.route]]\npath = \"/\"\nrespond = { body = \"site\" }\n")
			p := start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
			p.line()
			for _, name := range []string{"site.example", "www.site.example"} {
				await(t, name, func() bool { return verified(secure, name, ca.issuer) })
			}
		})
	}
}

// Without an authority the server starts, serves the certificates from files, and says what is missing.
func TestWithoutAnAuthorityTheOthersAreServed(t *testing.T) {
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "file.example")
	_, secure, _ := secureEdge(t, f, "[acme]\ndomains = [\"new.example\"]\nca = \"https://127.0.0.1:1/dir\"\nca_roots = \"/no/such\"\nstorage = \""+dir+"/s\"\n")
	shown := func(name string) string {
		c, err := tls.Dial("tcp", secure, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			return err.Error()
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	require.Equal(t, "file.example", shown("file.example"))
	require.Contains(t, shown("new.example"), "internal error", "another name's certificate would help no client")
	require.Equal(t, "file.example", shown("other.example"), "as without [acme]")
}

// certmagic writes by a logger of its own about a lock that a process has left behind. The log stays JSON, and the lock holds up nothing.
func TestALockThatWasLeftBehind(t *testing.T) {
	dir := t.TempDir()
	lock := filepath.Join(dir, "s", "locks", "issue_cert_new.example.lock")
	require.NoError(t, os.MkdirAll(filepath.Dir(lock), 0o700))
	require.NoError(t, os.WriteFile(lock, []byte(`{"created":"2020-01-01T00:00:00Z","updated":"2020-01-01T00:00:00Z"}`), 0o600))
	_, secure, _ := secureEdge(t, certstest.Write(t, dir, "a", later, "localhost"), "")
	file := filepath.Join(dir, "edge.toml")
	writeConfig(t, file, fmt.Sprintf("[log]\nformat = \"json\"\nlevel = \"debug\"\n"+newcomer, `"new.example"`, "ca = \"https://"+secure+"/dir\"\n", dir+"/s", "127.0.0.1:"+testrig.Port(t), "127.0.0.1:"+testrig.Port(t), "443"))
	writeConfig(t, file, strings.Replace(readFile(t, file), "redirect_https = 443", "", 1))
	p := start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
	p.line()
	await(t, "the attempt has failed, at an authority that is none", func() bool { return strings.Contains(p.stderr.String(), "certificate not obtained") })
	require.Contains(t, p.stderr.String(), "is stale")
	for line := range strings.Lines(p.stderr.String()) {
		require.True(t, json.Valid([]byte(line)), line)
	}
}

// Processes with one storage resume each other's sessions, and a listener with client certificates resumes only its own.
func TestSessionsResumeOnAnotherServer(t *testing.T) {
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "localhost")
	acme := fmt.Sprintf("[acme]\nca = \"https://127.0.0.1:1/dir\"\nstorage = %q\non_demand = { ask = \"http://127.0.0.1:1/\" }\n", dir+"/s")
	var addrs []string
	for _, more := range []string{"", "", fmt.Sprintf("client_auth = \"verify\"\nclient_ca = %q\n", f.Cert)} {
		p, secure, _ := secureEdge(t, f, more+acme)
		_ = p
		addrs = append(addrs, secure)
	}
	resumed := func(cache tls.ClientSessionCache, addr string) bool {
		c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, ClientSessionCache: cache, MaxVersion: tls.VersionTLS12})
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		return c.ConnectionState().DidResume
	}
	await(t, "both have the keys", func() bool {
		cache := tls.NewLRUClientSessionCache(1)
		return !resumed(cache, addrs[0]) && resumed(cache, addrs[1])
	})
	cache := tls.NewLRUClientSessionCache(1)
	require.False(t, resumed(cache, addrs[1]))
	require.False(t, resumed(cache, addrs[2]))
}

// sslscan finds what Mozilla's recommendation of that name has, and nothing else.
func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "localhost")
	tls13 := []string{"TLSv1.3 TLS_AES_128_GCM_SHA256", "TLSv1.3 TLS_AES_256_GCM_SHA384", "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256"}
	tls12 := []string{"TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305"}
	cipher := regexp.MustCompile(`(?m)^(?:Preferred|Accepted) +(TLSv1\.\d) +\d+ bits +(\S+)`)
	group := regexp.MustCompile(`(?m)^TLSv1\.3 +\d+ bits +(\S+)`)
	for _, c := range []struct {
		profile      string
		ciphers, has []string
	}{
		{"intermediate", append(tls13[:3:3], tls12...), []string{"TLSv1.1   disabled", "TLSv1.2   enabled", "TLSv1.3   enabled", "Server supports TLS Fallback SCSV"}},
		{"modern", tls13, []string{"TLSv1.2   disabled", "TLSv1.3   enabled"}},
	} {
		_, secure, _ := secureEdge(t, f, "profile = \""+c.profile+"\"")
		out, err := exec.Command(testrig.Program(t, "sslscan"), "--no-colour", "--sni-name=localhost", secure).CombinedOutput()
		require.NoError(t, err, string(out))
		var ciphers, groups []string
		for _, m := range cipher.FindAllStringSubmatch(string(out), -1) {
			ciphers = append(ciphers, m[1]+" "+m[2])
		}
		for _, m := range group.FindAllStringSubmatch(string(out), -1) {
			groups = append(groups, m[1])
		}
		require.ElementsMatch(t, c.ciphers, ciphers, "%s: %s", c.profile, out)
		require.ElementsMatch(t, []string{"secp256r1", "secp384r1", "x25519"}, groups, "the scanner has no hybrid group")
		for _, want := range append(c.has, "Session renegotiation not supported") {
			require.Contains(t, string(out), want, c.profile)
		}
	}
}

// A client that has it negotiates the post-quantum key exchange.
func TestPostQuantumKeyExchange(t *testing.T) {
	dir := t.TempDir()
	for _, profile := range []string{"intermediate", "modern"} {
		_, secure, _ := secureEdge(t, certstest.Write(t, dir, "a", later, "localhost"), "profile = \""+profile+"\"")
		for _, c := range []struct{ offers, want tls.CurveID }{{0, tls.X25519MLKEM768}, {tls.X25519, tls.X25519}, {tls.CurveP256, tls.CurveP256}} {
			config := &tls.Config{InsecureSkipVerify: true}
			if c.offers != 0 {
				config.CurvePreferences = []tls.CurveID{c.offers}
			}
			conn, err := tls.Dial("tcp", secure, config)
			require.NoError(t, err)
			require.Equal(t, c.want, conn.ConnectionState().CurveID)
			_ = conn.Close()
		}
	}
}

// During a challenge, the name's connections with the protocol of challenges end with their handshake: no request gets in without
// the client certificate that the listener requires.
func TestAChallengeLetsNoRequestIn(t *testing.T) {
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "localhost")
	storage := filepath.Join(dir, "s")
	challenge := filepath.Join(storage, "acme", "127.0.0.1-1-dir", "challenge_tokens", "new.example.json")
	require.NoError(t, os.MkdirAll(filepath.Dir(challenge), 0o700))
	require.NoError(t, os.WriteFile(challenge, []byte(`{"type":"tls-alpn-01","token":"t","keyAuthorization":"t.k","identifier":{"type":"dns","value":"new.example"}}`), 0o600))
	_, secure, _ := secureEdge(t, f, fmt.Sprintf("client_auth = \"require\"\nclient_ca = %q\n[acme]\ndomains = [\"new.example\"]\nca = \"https://127.0.0.1:1/dir\"\nstorage = %q\n", f.Cert, storage))
	c, err := tls.Dial("tcp", secure, &tls.Config{ServerName: "new.example", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.Equal(t, "acme-tls/1", c.ConnectionState().NegotiatedProtocol)
	require.NotEmpty(t, c.ConnectionState().PeerCertificates[0].Extensions)
	_, _ = io.WriteString(c, "GET /hello HTTP/1.1\r\nHost: new.example\r\n\r\n")
	answer, _ := io.ReadAll(c)
	require.Empty(t, answer)
}

func TestCertsSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"certs", "--admin", "127.0.0.1:1"}, exitFailure, "no server answers at 127.0.0.1:1"},
		{[]string{"certs", "--admin", "x"}, exitUsage, "--admin"},
		{[]string{"certs", "x"}, exitUsage, "takes flags only"},
	} {
		p := start(t, c.args...)
		code, _ := p.wait()
		require.Equal(t, c.code, code)
		require.Contains(t, p.stderr.String(), c.want)
	}
	e := startServe(t)
	out, err := exec.Command(binary, "certs", "--admin", e.admin).CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "the server has no certificates\n", string(out))
	out, err = exec.Command(binary, "certs", "--admin", e.addr).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "is it the admin listener")
}
