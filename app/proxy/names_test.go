package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// zone is a DNS server on UDP and TCP whose records a test changes.
type zone struct {
	addr string

	mu       sync.Mutex
	records  map[string][]dnsmessage.Resource // by lower-case name with its final dot
	rcode    dnsmessage.RCode                 // of every answer, if not 0
	truncate bool                             // answers over UDP
	held     chan struct{}                    // answers wait until it is closed
}

func serveZone(t testing.TB) *zone {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	require.NoError(t, err)
	z := &zone{addr: udp.LocalAddr().String(), records: map[string][]dnsmessage.Resource{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			query := bytes.Clone(b[:n])
			wg.Go(func() { _, _ = udp.WriteTo(z.answer(query, true), from) })
		}
	})
	wg.Go(func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				var length [2]byte
				_, _ = io.ReadFull(c, length[:])
				query := make([]byte, binary.BigEndian.Uint16(length[:]))
				_, _ = io.ReadFull(c, query)
				answer := z.answer(query, false)
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			})
		}
	})
	t.Cleanup(func() {
		_, _ = udp.Close(), tcp.Close()
		z.release()
		wg.Wait()
	})
	return z
}

func (z *zone) answer(query []byte, datagram bool) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	z.mu.Lock()
	held := z.held
	z.mu.Unlock()
	if held != nil {
		<-held
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	h = dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionAvailable: true, RCode: z.rcode, Truncated: datagram && z.truncate}
	all, known := z.records[strings.ToLower(q.Name.String())]
	if !known && h.RCode == 0 {
		h.RCode = dnsmessage.RCodeNameError
	}
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{q}}
	for _, r := range all {
		if r.Header.Type == dnsmessage.TypeCNAME || r.Header.Type == q.Type && h.RCode == 0 && !h.Truncated {
			m.Answers = append(m.Answers, r)
		}
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// set replaces the records of a name.
func (z *zone) set(name string, records ...dnsmessage.Resource) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[name+"."] = records
}

func (z *zone) fail(code dnsmessage.RCode) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rcode = code
}

func (z *zone) hold() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.held = make(chan struct{})
}

func (z *zone) release() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.held != nil {
		close(z.held)
		z.held = nil
	}
}

func record(name string, ttl uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name + "."), Class: dnsmessage.ClassINET, TTL: ttl}
	switch body.(type) {
	case *dnsmessage.AResource:
		h.Type = dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		h.Type = dnsmessage.TypeAAAA
	case *dnsmessage.CNAMEResource:
		h.Type = dnsmessage.TypeCNAME
	case *dnsmessage.SRVResource:
		h.Type = dnsmessage.TypeSRV
	}
	return dnsmessage.Resource{Header: h, Body: body}
}

func a(name string, ttl uint32, last byte) dnsmessage.Resource {
	return record(name, ttl, &dnsmessage.AResource{A: [4]byte{127, 0, 0, last}})
}

func srv(name string, ttl uint32, priority, weight, port uint16, target string) dnsmessage.Resource {
	return record(name, ttl, &dnsmessage.SRVResource{Priority: priority, Weight: weight, Port: port, Target: dnsmessage.MustNewName(target)})
}

func TestLookups(t *testing.T) {
	six := record("api.test", 60, &dnsmessage.AAAAResource{AAAA: [16]byte{15: 1}})
	for _, c := range []struct {
		why     string
		addr    string
		names   Names
		records map[string][]dnsmessage.Resource
		over    bool // the answers only fit TCP
		want    string
		wait    time.Duration
	}{
		{"every address of a name, in a fixed order", "api.test:80", Names{}, map[string][]dnsmessage.Resource{"api.test": {a("api.test", 7, 2), a("api.test", 7, 1), six}}, false,
			"127.0.0.1:80/3 127.0.0.2:80/3 [::1]:80/3", 7 * time.Second},
		{"one family", "api.test:80", Names{Family: "4"}, map[string][]dnsmessage.Resource{"api.test": {a("api.test", 7, 1), six}}, false, "127.0.0.1:80/3", 7 * time.Second},
		{"the other family", "api.test:80", Names{Family: "6"}, map[string][]dnsmessage.Resource{"api.test": {a("api.test", 7, 1), six}}, false, "[::1]:80/3", time.Minute},
		{"the alias expires first", "api.test:80", Names{}, map[string][]dnsmessage.Resource{"api.test": {
			record("api.test", 3, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.test.")}), {Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("b.test."),
				Class: dnsmessage.ClassINET, TTL: 50, Type: dnsmessage.TypeA}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 9}}}}}, false, "127.0.0.9:80/3", 3 * time.Second},
		{"not more than once a second", "api.test:80", Names{}, map[string][]dnsmessage.Resource{"api.test": {a("api.test", 0, 1)}}, false, "127.0.0.1:80/3", time.Second},
		{"once an hour at least", "api.test:80", Names{}, map[string][]dnsmessage.Resource{"api.test": {a("api.test", 86400, 1)}}, false, "127.0.0.1:80/3", time.Hour},
		{"a fixed interval", "api.test:80", Names{Every: 42 * time.Second}, map[string][]dnsmessage.Resource{"api.test": {a("api.test", 7, 1)}}, false, "127.0.0.1:80/3", 42 * time.Second},
		{"an answer over TCP", "api.test:80", Names{}, map[string][]dnsmessage.Resource{"api.test": {a("api.test", 9, 1)}}, true, "127.0.0.1:80/3", 9 * time.Second},
		{"services: ports and weights of the records, backups by priority", "srv:_http._tcp.api.test", Names{}, map[string][]dnsmessage.Resource{
			"_http._tcp.api.test": {srv("_http._tcp.api.test", 30, 1, 5, 81, "a.test."), srv("_http._tcp.api.test", 30, 1, 0, 82, "b.test."), srv("_http._tcp.api.test", 30, 9, 1, 83, "a.test.")},
			"a.test":              {a("a.test", 20, 1)}, "b.test": {a("b.test", 40, 2)}}, false, "127.0.0.1:81/5 127.0.0.1:83/1b 127.0.0.2:82/1", 20 * time.Second},
		{"services with large weights", "srv:_http._tcp.api.test", Names{}, map[string][]dnsmessage.Resource{
			"_http._tcp.api.test": {srv("_http._tcp.api.test", 30, 1, 1000, 81, "a.test."), srv("_http._tcp.api.test", 30, 1, 500, 82, "a.test.")},
			"a.test":              {a("a.test", 20, 1)}}, false, "127.0.0.1:81/256 127.0.0.1:82/128", 20 * time.Second},
		{"a service with an unknown target", "srv:_http._tcp.api.test", Names{}, map[string][]dnsmessage.Resource{
			"_http._tcp.api.test": {srv("_http._tcp.api.test", 30, 1, 1, 81, "a.test."), srv("_http._tcp.api.test", 30, 1, 1, 82, "gone.test.")},
			"a.test":              {a("a.test", 20, 1)}}, false, "127.0.0.1:81/1", 20 * time.Second},
		{"no such name", "gone.test:80", Names{}, nil, false, "no such host", 0},
		{"no such service", "srv:_http._tcp.gone.test", Names{}, nil, false, "no such host", 0},
		{"a name without addresses", "api.test:80", Names{}, map[string][]dnsmessage.Resource{"api.test": {}}, false, "no such host", 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			z := serveZone(t)
			z.mu.Lock()
			z.truncate = c.over
			z.mu.Unlock()
			for name, all := range c.records {
				z.set(name, all...)
			}
			c.names.Server = z.addr
			g := newGroup(t, GroupOptions{Servers: []ServerOptions{{Addr: c.addr, Weight: 3}}, Names: c.names})
			targets, wait, err := g.lookUp(context.Background(), g.sources[0])
			if c.wait == 0 {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			var got []string
			for _, s := range targets {
				one := fmt.Sprintf("%s/%d", s.addr, s.weight)
				if s.backup {
					one += "b"
				}
				got = append(got, one)
			}
			require.Equal(t, c.want, strings.Join(got, " "))
			require.Equal(t, c.wait, wait)
		})
	}
}

func TestNamesOfServers(t *testing.T) {
	for _, c := range []struct {
		why, addr string
		kind      kind
		tls, host string
	}{
		{"an address is used as it is", "192.0.2.1:80", literal, "", ""},
		{"IPv6", "[2001:db8::1]:80", literal, "", ""},
		{"a socket", "unix:/run/a.sock", literal, "", ""},
		{"this machine, in either family", "localhost:80", literal, "", ""},
		{"a name", "api.test:80", addresses, "api.test", "api.test:80"},
		{"a name with its final dot", "api.test.:80", addresses, "api.test", "api.test.:80"},
		{"a service: the certificate is that of the domain", "srv:_http._tcp.api.test", services, "api.test", "api.test"},
	} {
		src := newSource(ServerOptions{Addr: c.addr})
		require.True(t, validAddr(c.addr), c.why)
		require.Equal(t, []any{c.kind, c.tls, c.host}, []any{src.kind, src.tlsName(), src.hostField()}, c.why)
	}
	for _, addr := range []string{"srv:", "srv:_http._tcp.", "srv:a b", "srv:api.test:80", "srv:[::1]"} {
		require.False(t, validAddr(addr), addr)
	}
}

// twins returns two servers with the same port on two addresses, and the port.
func twins(t *testing.T, h func(last string) http.HandlerFunc) (port string) {
	for range 100 {
		one, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, port, _ = net.SplitHostPort(one.Addr().String())
		two, err := net.Listen("tcp", "127.0.0.2:"+port)
		if err != nil {
			_ = one.Close()
			continue
		}
		for last, ln := range map[string]net.Listener{"1": one, "2": two} {
			s := httptest.NewUnstartedServer(h(last))
			_ = s.Listener.Close()
			s.Listener = ln
			s.Start()
			t.Cleanup(s.Close)
		}
		return port
	}
	t.Fatal("no port is free on both addresses")
	return ""
}

func says(last string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, last) }
}

// states lists the servers of a group with their states.
func (g *Group) states() string {
	var all []string
	for _, s := range g.Stats().Servers {
		all = append(all, strings.SplitN(s.Addr, ":", 2)[0]+" "+string(s.State))
	}
	return strings.Join(all, ", ")
}

func eventually(t *testing.T, g *Group, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return g.states() == want }, patience, time.Millisecond, want)
}

func TestServersFollowTheirName(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	end := sync.OnceFunc(func() { close(finish) })
	defer end()
	port := twins(t, func(last string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, last)
			if r.URL.Path == "/long" {
				_ = http.NewResponseController(w).Flush()
				<-finish
				_, _ = io.WriteString(w, " to the end")
			}
		}
	})
	z := serveZone(t)
	z.set("api.test", a("api.test", 300, 1))
	var lines bytes.Buffer
	f := serve(t, GroupOptions{Servers: to("api.test:" + port), Names: Names{Server: z.addr, Every: 5 * time.Millisecond}, SlowStart: -1,
		Log: slog.New(slog.NewTextHandler(&lines, nil))}, Options{})
	status, body := get(t, f.url)
	require.Equal(t, "200 1", fmt.Sprint(status, " ", body), "the first request starts the lookup and waits for it")

	resp, err := http.Get(f.url + "/long")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	z.set("api.test", a("api.test", 300, 2))
	eventually(t, f.group, "127.0.0.2 up, 127.0.0.1 removing")
	_, body = get(t, f.url)
	require.Equal(t, "2", body, "new requests use the new server")
	end()
	long, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "1 to the end", string(long), "a request in flight is not cut")
	eventually(t, f.group, "127.0.0.2 up")

	for _, c := range []struct {
		why   string
		cause func()
	}{
		{"the DNS server fails", func() { z.fail(dnsmessage.RCodeServerFailure) }},
		{"the name is gone", func() { z.fail(dnsmessage.RCodeNameError) }},
		{"the name has no address", func() { z.fail(0); z.set("api.test") }},
	} {
		before := f.group.Stats().LookupsLost
		c.cause()
		require.Eventually(t, func() bool { return f.group.Stats().LookupsLost > before }, patience, time.Millisecond, c.why)
		require.Equal(t, "127.0.0.2 up", f.group.states(), c.why)
		status, _ = get(t, f.url)
		require.Equal(t, 200, status, c.why)
	}
	require.NoError(t, f.group.Close())
	require.Contains(t, lines.String(), "upstream name not resolved")
	require.Contains(t, lines.String(), "servers=1")
}

func TestRequestsWaitForTheFirstLookup(t *testing.T) {
	t.Parallel()
	port := twins(t, says)
	for _, c := range []struct {
		why    string
		then   func(z *zone)
		status int
	}{
		{"it returns an address", func(z *zone) { z.set("api.test", a("api.test", 300, 1)) }, 200},
		{"it fails", func(*zone) {}, 503},
	} {
		z := serveZone(t)
		z.hold()
		f := serve(t, GroupOptions{Servers: to("api.test:" + port), Names: Names{Server: z.addr}, WaitTimeout: patience}, Options{})
		f.group.Start()
		answer := make(chan int)
		go func() {
			status, _ := get(t, f.url)
			answer <- status
		}()
		require.Eventually(t, func() bool { return f.group.Stats().Waiting == 1 }, patience, time.Millisecond)
		c.then(z)
		z.release()
		require.Equal(t, c.status, <-answer, c.why)
	}
}

// A server that is added later begins with a small share of the requests.
func TestSlowStart(t *testing.T) {
	for _, p := range Policies {
		t.Run(string(p), func(t *testing.T) {
			g := newGroup(t, GroupOptions{Servers: weighted(1, 1), Policy: p, SlowStart: time.Hour})
			s := g.servers()[1]
			share := func(at time.Duration) float64 {
				s.warmFrom.Store(g.clock() - int64(at) + 1)
				const n = 20_000
				got := 0
				for i := range n {
					one := g.picked(hashKey(fmt.Sprint(i)), nil)
					if one == s {
						got++
					}
					g.finish(one, false)
				}
				return float64(got) / n
			}
			early, half, late := share(0), share(30*time.Minute), share(2*time.Hour)
			require.InDelta(t, 0.5, late, 0.06)
			require.Zero(t, s.warmFrom.Load(), "it is over")
			require.Less(t, early, 0.1)
			require.Greater(t, early, 0.0)
			require.Greater(t, half, early)
			require.Less(t, half, late)
		})
	}
}

func TestWhatStartsSlowly(t *testing.T) {
	z := serveZone(t)
	z.set("api.test", a("api.test", 300, 1))
	g := newGroup(t, GroupOptions{Servers: to("api.test:80"), Names: Names{Server: z.addr, Every: time.Millisecond}, FailuresMax: 1, EjectTime: time.Hour})
	g.Start()
	eventually(t, g, "127.0.0.1 up")
	require.Zero(t, g.servers()[0].warmFrom.Load(), "not the first servers of a group")
	z.set("api.test", a("api.test", 300, 1), a("api.test", 300, 2), a("api.test", 300, 3))
	eventually(t, g, "127.0.0.1 up, 127.0.0.2 up, 127.0.0.3 up")
	require.Zero(t, g.servers()[0].warmFrom.Load())
	require.NotZero(t, g.servers()[1].warmFrom.Load(), "a server that a lookup has added")
	g.take(g.servers()[0])
	g.finish(g.servers()[0], true)
	require.Equal(t, g.servers()[0].ejected.Load(), g.servers()[0].warmFrom.Load(), "a server whose ejection ends")
}

// The certificate is verified for the name in the options, not for the address that was looked up.
func TestNamesInCertificates(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(says("secure")) // its certificate is for example.com and 127.0.0.1
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	z := serveZone(t)
	z.set("example.com", a("example.com", 60, 1))
	z.set("other.test", a("other.test", 60, 1))
	z.set("_http._tcp.example.com", srv("_http._tcp.example.com", 60, 1, 1, uint16(n), "other.test."))
	for _, c := range []struct {
		addr   string
		status int
	}{
		{"example.com:" + port, 200},
		{"other.test:" + port, 502},
		{"srv:_http._tcp.example.com", 200}, // the name of the service, although the target has another
	} {
		o := GroupOptions{Servers: to(c.addr), Names: Names{Server: z.addr}, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
		status, _ := get(t, serve(t, o, Options{}).url)
		require.Equal(t, c.status, status, c.addr)
	}
}
