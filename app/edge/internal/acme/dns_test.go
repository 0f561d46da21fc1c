package acme

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// zone is the DNS server of a zone, and the provider that changes it.
type zone struct {
	name, addr string

	mu      sync.Mutex
	records map[string][]string // TXT by name
	added   int
}

func startZone(t testing.TB, name string) *zone {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // for Pebble
	require.NoError(t, err)
	c, err := net.ListenPacket("udp", l.Addr().String()) // for certmagic
	require.NoError(t, err)
	z := &zone{name: name, addr: c.LocalAddr().String(), records: map[string][]string{}}
	var running sync.WaitGroup
	running.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := z.answer(buf[:n]); answer != nil {
				_, _ = c.WriteTo(answer, from)
			}
		}
	})
	running.Go(func() {
		for {
			stream, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { z.serve(stream) })
		}
	})
	t.Cleanup(func() { _, _ = c.Close(), l.Close(); running.Wait() })
	return z
}

// serve answers one question on a stream.
func (z *zone) serve(stream net.Conn) {
	defer func() { _ = stream.Close() }()
	_ = stream.SetDeadline(time.Now().Add(patience))
	var size uint16
	if binary.Read(stream, binary.BigEndian, &size) != nil {
		return
	}
	question := make([]byte, size)
	if _, err := io.ReadFull(stream, question); err != nil {
		return
	}
	answer := z.answer(question)
	_, _ = stream.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
}

func (z *zone) answer(question []byte) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(question)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true}, Questions: []dnsmessage.Question{q}}
	h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
	name := strings.ToLower(q.Name.String())
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case q.Type == dnsmessage.TypeSOA && name == z.name:
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.SOAResource{NS: q.Name, MBox: q.Name, MinTTL: 1}})
	case q.Type == dnsmessage.TypeTXT:
		for _, text := range z.records[name] {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.TXTResource{TXT: []string{text}}})
		}
	}
	answer, _ := m.Pack()
	return answer
}

func (z *zone) AppendRecords(_ context.Context, name string, all []libdns.Record) ([]libdns.Record, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, r := range all {
		absolute := libdns.AbsoluteName(r.RR().Name, name)
		z.records[absolute] = append(z.records[absolute], r.RR().Data)
		z.added++
	}
	return all, nil
}

func (z *zone) DeleteRecords(_ context.Context, name string, all []libdns.Record) ([]libdns.Record, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, r := range all {
		absolute := libdns.AbsoluteName(r.RR().Name, name)
		for i, text := range z.records[absolute] {
			if text == r.RR().Data {
				z.records[absolute] = append(z.records[absolute][:i:i], z.records[absolute][i+1:]...)
				break
			}
		}
		if len(z.records[absolute]) == 0 {
			delete(z.records, absolute)
		}
	}
	return all, nil
}

func (z *zone) count() (now, added int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return len(z.records), z.added
}

// DNS-01: a wildcard, and a name whose servers no authority can reach. Both need records of the same name.
func TestOrderByRecordsInDNS(t *testing.T) {
	z := startZone(t, "wild.example.")
	s := startSite(t)
	s.deaf.Store(true)
	a := startAuthority(t, s, "-dns", z.addr)
	o := quick(files(t.TempDir()), a.options())
	o.Names, o.DNS, o.Resolvers = []string{"wild.example", "*.wild.example"}, z, []string{z.addr}
	m := s.start(t, o)
	for _, c := range []struct{ name, want string }{{"wild.example", "wild.example"}, {"any.wild.example", "*.wild.example"}} {
		eventually(t, c.name, func() bool { return s.serial(c.name) != "" })
		state, err := s.handshake(c.name, a.issuer)
		require.NoError(t, err)
		require.Equal(t, []string{c.want}, state.PeerCertificates[0].DNSNames)
	}
	require.Empty(t, s.serial("a.b.wild.example"), "a wildcard is one label")
	require.Zero(t, m.Counts().Challenges, "no listener has answered")
	eventually(t, "the records are removed", func() bool { now, added := z.count(); return now == 0 && added >= 2 })
}

// A provider that does not answer holds up its own names, and ends with the process.
func TestADNSProviderThatHangs(t *testing.T) {
	z := startZone(t, "wild.example.")
	s := startSite(t)
	a := startAuthority(t, s, "-dns", z.addr)
	p := hung{entered: make(chan struct{})}
	o := quick(files(t.TempDir()), a.options())
	o.Names, o.DNS, o.Resolvers = []string{"wild.example"}, p, []string{z.addr}
	m := s.start(t, o)
	select {
	case <-p.entered:
	case <-time.After(patience):
		t.Fatal("the provider is not asked")
	}
	s.answers(t)
	m.Close()
	require.Empty(t, s.serial("wild.example"))
}

// hung is a provider that waits until the work ends.
type hung struct{ entered chan struct{} }

func (h hung) AppendRecords(ctx context.Context, _ string, _ []libdns.Record) ([]libdns.Record, error) {
	close(h.entered)
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hung) DeleteRecords(context.Context, string, []libdns.Record) ([]libdns.Record, error) {
	return nil, nil
}
