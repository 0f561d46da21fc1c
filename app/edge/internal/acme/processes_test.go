package acme

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"github.com/stretchr/testify/require"
)

func problem(kind, detail string) error {
	return acme.Problem{Type: "urn:ietf:params:acme:error:" + kind, Detail: detail, Status: 429}
}

// child is a second process with the storage of the first, and without listeners: authority, roots and storage are its arguments.
func child() int {
	parts := strings.Split(os.Getenv(childEnv), " ")
	roots := x509.NewCertPool()
	text, err := os.ReadFile(parts[1])
	if err != nil || !roots.AppendCertsFromPEM(text) {
		fmt.Println("roots:", err)
		return 1
	}
	o := quick(storageOf(parts[2]), Authority{Directory: parts[0], Roots: roots})
	o.Names, o.Log = parts[3:], slog.New(slog.DiscardHandler)
	m, err := New(o)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	m.Start()
	defer m.Close()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		have := 0
		for _, c := range m.Certificates() {
			if !c.Expires.IsZero() {
				have++
			}
		}
		if have == len(o.Names) {
			fmt.Printf("issued %d\n", m.Counts().Issued)
			return 0
		}
	}
	fmt.Printf("%+v\n", m.Certificates())
	return 1
}

// storageOf returns a Redis for the text unix:/path, or else a directory.
func storageOf(text string) certmagic.Storage {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return NewRedis(RedisOptions{Network: "unix", Address: path, Password: "secret"})
	}
	return files(text)
}

// Two processes begin at once. Each name is ordered once, and what one of them has ordered the listeners of the other vouch for.
func TestTwoProcessesOrderOnce(t *testing.T) {
	for _, c := range []struct {
		why     string
		storage func() string
	}{
		{"a directory", func() string { return t.TempDir() }},
		{"Redis", func() string { o, _ := startRedis(t); return "unix:" + o.Address }},
	} {
		t.Run(c.why, func(t *testing.T) { twoProcesses(t, c.storage()) })
	}
}

func twoProcesses(t *testing.T, storage string) {
	s := startSite(t)
	a := startAuthority(t, s)
	dir := t.TempDir()
	roots := dir + "/proxy.pem"
	require.NoError(t, os.WriteFile(roots, pemOf(a.proxy.Certificate()), 0o600))
	names := []string{"a.example", "b.example", "c.example", "d.example"}
	store := storageOf(storage)
	if r, ok := store.(*Redis); ok {
		t.Cleanup(func() { _ = r.Close() })
	}
	o := quick(store, a.options())
	o.Names = names
	second := exec.Command(os.Args[0])
	second.Env = append(os.Environ(), childEnv+"="+strings.Join(append([]string{a.options().Directory, roots, storage}, names...), " "))
	type result struct {
		out []byte
		err error
	}
	ended := make(chan result, 1)
	go func() {
		out, err := second.CombinedOutput()
		ended <- result{out, err}
	}()
	m := s.start(t, o)
	for _, name := range names {
		eventually(t, name, func() bool { return s.serial(name) != "" })
	}
	r := <-ended
	require.NoError(t, r.err, string(r.out))
	var others int
	_, err := fmt.Sscanf(string(r.out), "issued %d", &others)
	require.NoError(t, err, string(r.out))
	require.Equal(t, len(names), others+int(m.Counts().Issued))
}

// A process without listeners orders; the challenge is answered by another with the same storage, for each kind.
func TestAChallengeOfAnotherProcessIsAnswered(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	dir := t.TempDir()
	roots := dir + "/proxy.pem"
	require.NoError(t, os.WriteFile(roots, pemOf(a.proxy.Certificate()), 0o600))
	o := quick(files(dir+"/shared"), a.options())
	for _, c := range []struct {
		why, name    string
		http01, alpn bool
	}{{"HTTP-01", "a.example", true, false}, {"TLS-ALPN-01", "b.example", false, true}} {
		t.Run(c.why, func(t *testing.T) {
			o.Names, o.HTTP01, o.TLSALPN01 = []string{c.name}, c.http01, c.alpn
			m := newManager(t, o) // not started: it orders nothing
			s.manager.Store(m)
			other := exec.Command(os.Args[0])
			other.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{a.options().Directory, roots, dir + "/shared", c.name}, " "))
			out, err := other.CombinedOutput()
			require.NoError(t, err, string(out))
			require.Equal(t, "issued 1\n", string(out))
			require.NotZero(t, m.Counts().Challenges)
			m.Load()
			require.NotEmpty(t, s.serial(c.name), "a take-over finds it")
		})
	}
}
