package acme

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/require"
)

// judge is an Ask server.
type judge struct {
	server *httptest.Server
	asked  sync.Map // name: *atomic.Int64
	status func(name string) int
}

func startJudge(t testing.TB, status func(name string) int) *judge {
	j := &judge{status: status}
	j.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("domain")
		n, _ := j.asked.LoadOrStore(name, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		w.WriteHeader(j.status(name))
	}))
	t.Cleanup(j.server.Close)
	return j
}

func (j *judge) times(name string) int64 {
	n, ok := j.asked.Load(name)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

func TestOnDemand(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	j := startJudge(t, func(name string) int {
		switch name {
		case "wanted.example", "second.example", "third.example":
			return 200
		case "unsure.example":
			return 500
		}
		return 404
	})
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	o.OnDemand = &OnDemand{Ask: j.server.URL + "/allowed?key=1", OrdersPerHourMax: 2, RefusedFor: time.Hour}
	m := s.start(t, o)
	eventually(t, "the one that is managed", func() bool { return s.serial(host) != "" })
	require.Zero(t, j.times(host), "the server is not asked about it")

	// The authority is slow: the handshakes for the name wait, for one order, and their loop answers others.
	slow := make(chan struct{})
	a.set(func() { a.delay = slow })
	serials := make(chan string, 5)
	for range cap(serials) {
		go func() { serials <- s.serial("wanted.example") }()
	}
	eventually(t, "the order is under way", func() bool { return m.isPending("wanted.example") })
	s.answers(t)
	require.NotEmpty(t, s.serial(host))
	require.Empty(t, serials)
	before, _ := a.ordersSeen()
	close(slow)
	first := <-serials
	require.NotEmpty(t, first)
	for range cap(serials) - 1 {
		require.Equal(t, first, <-serials)
	}
	_, err := s.handshake("wanted.example", a.issuer)
	require.NoError(t, err)
	require.EqualValues(t, 1, j.times("wanted.example"))
	require.LessOrEqual(t, before, 8)

	for range 3 {
		_, err := s.handshake("unwanted.example", nil)
		require.ErrorContains(t, err, "unrecognized name")
		require.Empty(t, s.serial("unsure.example"))
	}
	require.EqualValues(t, 1, j.times("unwanted.example"), "a refusal is remembered")
	require.EqualValues(t, 1, j.times("unsure.example"), "and for a while, an answer that is none")
	for _, name := range []string{"localhost", "a", "192.0.2.1", "x.internal", "*.example"} {
		pair, err := m.demand.await(name, nil)
		require.NoError(t, err)
		require.Nil(t, pair, name)
		require.Zero(t, j.times(name), "%s: no authority certifies it", name)
	}
	require.NotEmpty(t, s.serial("second.example"))
	require.Empty(t, s.serial("third.example"), "the third order in an hour")
	require.NotZero(t, m.Counts().Refused)
	require.True(t, row(m, "wanted.example").OnDemand)

	// The next process finds them in the storage, and asks again whether they are wanted.
	m.Close()
	a.set(func() { a.down = true })
	o.OnDemand = &OnDemand{Ask: j.server.URL, NamesMax: 1}
	next := newManager(t, o)
	s.manager.Store(next)
	require.Equal(t, first, s.serial("wanted.example"))
	require.EqualValues(t, 2, j.times("wanted.example"))
	require.NotEmpty(t, s.serial("second.example"))
	require.Empty(t, row(next, "wanted.example").Name, "there is room for one")
	require.Equal(t, first, s.serial("wanted.example"), "which is read again")
}

func (m *Manager) isPending(name string) bool {
	m.demand.mu.Lock()
	defer m.demand.mu.Unlock()
	return m.demand.pending[name] != nil
}

func TestANameOnDemandIsGivenUp(t *testing.T) {
	var allowed atomic.Bool
	j := startJudge(t, func(string) int {
		if allowed.Load() {
			return 204
		}
		return 403
	})
	o := quick(files(t.TempDir()), Authority{Directory: "https://127.0.0.1:1/dir"})
	o.OnDemand = &OnDemand{Ask: j.server.URL}
	m := newManager(t, o)
	soon := func() *entry {
		e := &entry{name: host, onDemand: true}
		e.usedAt.Store(time.Now().Unix())
		e.state.renewal = time.Now()
		return e
	}
	e := soon()
	require.False(t, m.demand.renewable(context.Background(), e), "it is refused when it is due")
	allowed.Store(true)
	require.True(t, m.demand.renewable(context.Background(), e))
	e.state.renewal = time.Now().Add(time.Hour)
	require.True(t, m.demand.renewable(context.Background(), e))
	require.EqualValues(t, 2, j.times(host), "while it is not due, the server is not asked")
	e.usedAt.Store(time.Now().Add(-unusedMax - time.Hour).Unix())
	require.False(t, m.demand.renewable(context.Background(), e), "it was not used for a month")
	j.server.Close()
	require.True(t, m.demand.renewable(context.Background(), soon()), "without an answer it is renewed")
}

// The storage has a certificate on demand that has expired. The handshake waits for its renewal, and gets the old one if there is no other.
func TestAnExpiredCertificateOnDemand(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s, "-valid", "5")
	j := startJudge(t, func(string) int { return 200 })
	o := quick(files(t.TempDir()), a.options())
	o.OnDemand = &OnDemand{Ask: j.server.URL, OrdersPerHourMax: 2}
	first := newManager(t, o) // not started: it renews nothing
	s.manager.Store(first)
	old, err := s.handshake("wanted.example", nil)
	require.NoError(t, err)
	leaf := old.PeerCertificates[0]
	eventually(t, "it has expired", func() bool { return time.Now().After(leaf.NotAfter) })
	for _, c := range []struct {
		why      string
		down     bool
		ordersOf int
		same     bool
	}{
		{"the authority is down", true, 2, true},
		{"no order is left", false, -1, true},
		{"it is renewed", false, 2, false},
	} {
		a.set(func() { a.down = c.down })
		o.OnDemand.OrdersPerHourMax = c.ordersOf
		m := newManager(t, o)
		s.manager.Store(m)
		state, err := s.handshake("wanted.example", nil)
		require.NoError(t, err, c.why)
		require.Equal(t, c.same, state.PeerCertificates[0].Equal(leaf), c.why)
	}
}

// stuck is a storage whose reads wait.
type stuck struct {
	certmagic.Storage
	entered chan string
	release chan struct{}
}

func (s *stuck) Load(ctx context.Context, key string) ([]byte, error) {
	select {
	case s.entered <- key:
	default:
	}
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return s.Storage.Load(ctx, key)
}

// The storage hangs. Challenges and names on demand wait for it, and their loop, which is not handed off, serves the others.
func TestNoStorageHoldsALoop(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	dir := t.TempDir()
	o := quick(files(dir), a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	m.Close()

	j := startJudge(t, func(string) int { return 200 })
	store := &stuck{Storage: files(dir), entered: make(chan string, 1), release: make(chan struct{})}
	close(store.release)
	o.Storage, o.OnDemand = store, &OnDemand{Ask: j.server.URL, OrdersPerHourMax: 1}
	next := newManager(t, o)
	next.Load()
	s.manager.Store(next)
	store.release = make(chan struct{})
	for len(store.entered) > 0 {
		<-store.entered
	}
	var waiting sync.WaitGroup
	for _, c := range []struct {
		why  string
		call func()
	}{
		{"TLS-ALPN-01 of another process", func() { _, _ = s.challengeHandshake("other.example") }},
		{"HTTP-01 of another process", func() {
			w, err := http.Get("http://" + s.plain + challengeOf("token"))
			if err == nil {
				_ = w.Body.Close()
			}
		}},
		{"a name on demand", func() { _ = s.serial("wanted.example") }},
	} {
		waiting.Go(c.call)
		select {
		case <-store.entered:
		case <-time.After(patience):
			t.Fatal(c.why + ": the storage is not read")
		}
		s.answers(t)
		require.NotEmpty(t, s.serial(host), c.why)
	}
	a.set(func() { a.down = true })
	close(store.release)
	waiting.Wait()
}

func challengeOf(token string) string { return "/.well-known/acme-challenge/" + token }
