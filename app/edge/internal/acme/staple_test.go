package acme

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"
)

// responder answers for the certificates of an authority.
type responder struct {
	server  *httptest.Server
	issuer  *x509.Certificate
	key     crypto.Signer
	asked   atomic.Int64
	revoked atomic.Pointer[x509.Certificate]
	all     atomic.Bool  // are revoked
	status  atomic.Int64 // of HTTP
	valid   time.Duration
}

func startResponder(t testing.TB) *responder {
	r := &responder{valid: time.Hour}
	r.status.Store(200)
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		body, _ := io.ReadAll(q.Body)
		question, err := ocsp.ParseRequest(body)
		if err != nil {
			w.WriteHeader(400)
			return
		}
		answer := ocsp.Response{Status: ocsp.Good, SerialNumber: question.SerialNumber, ThisUpdate: time.Now().Add(-time.Second), NextUpdate: time.Now().Add(r.valid)}
		if bad := r.revoked.Load(); r.all.Load() || bad != nil && bad.SerialNumber.Cmp(question.SerialNumber) == 0 {
			answer.Status, answer.RevokedAt = ocsp.Revoked, time.Now()
		}
		text, err := ocsp.CreateResponse(r.issuer, r.issuer, answer, r.key)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(int(r.status.Load()))
		_, _ = w.Write(text)
	}))
	t.Cleanup(r.server.Close)
	return r
}

// serve makes r the responder of a.
func (r *responder) serve(t testing.TB, a *authority) {
	block, _ := pem.Decode(a.manage(t, http.MethodGet, "/intermediates/0", nil))
	var err error
	r.issuer, err = x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	block, _ = pem.Decode(a.manage(t, http.MethodGet, "/intermediate-keys/0", nil))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	require.NoError(t, err)
	r.key = key.(crypto.Signer)
}

func TestStaples(t *testing.T) {
	s := startSite(t)
	r := startResponder(t)
	a := startAuthority(t, s, "-ocsp", r.server.URL, "-keys", "rsa")
	r.serve(t, a)
	dir := t.TempDir()
	o := quick(files(dir), a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	staple := func() []byte {
		state, err := s.handshake(host, nil)
		if err != nil {
			return nil
		}
		return state.OCSPResponse
	}
	eventually(t, "the handshake has a response", func() bool { return staple() != nil })
	state, err := s.handshake(host, a.issuer)
	require.NoError(t, err)
	response, err := ocsp.ParseResponseForCert(state.OCSPResponse, state.PeerCertificates[0], r.issuer)
	require.NoError(t, err)
	require.Equal(t, ocsp.Good, response.Status)
	eventually(t, "it is shown", func() bool { return row(m, host).Staple == "good" })

	asked := r.asked.Load()
	m.Close()
	next := newManager(t, o)
	s.manager.Store(next)
	next.Load()
	require.NotEmpty(t, staple(), "the next process has it from the storage")
	next.Start()
	eventually(t, "an attempt has ended", func() bool { return row(next, host).Staple == "good" })
	require.Equal(t, asked, r.asked.Load(), "a response that is fresh is not fetched again")

	// The authority revokes the certificate: it is replaced without waiting for a renewal.
	r.revoked.Store(state.PeerCertificates[0])
	require.NoError(t, o.Storage.Delete(context.Background(), stapleKey(state.PeerCertificates[0])))
	eventually(t, "it is replaced", func() bool {
		now := s.serial(host)
		return now != "" && now != state.PeerCertificates[0].SerialNumber.String()
	})
	eventually(t, "with a response of its own", func() bool { return row(next, host).Staple == "good" && staple() != nil })
}

func TestAResponderThatFails(t *testing.T) {
	s := startSite(t)
	r := startResponder(t)
	a := startAuthority(t, s, "-ocsp", r.server.URL, "-keys", "rsa")
	r.serve(t, a)
	r.status.Store(500)
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	eventually(t, "it is reported", func() bool { return row(m, host).Failures > 0 && s.serial(host) != "" })
	require.Contains(t, row(m, host).Problem, "OCSP")
	require.Equal(t, "no response", row(m, host).Staple)
	require.EqualValues(t, 1, m.Counts().Issued, "the certificate is good and is not ordered again")
	r.status.Store(200)
	eventually(t, "it recovers", func() bool { return row(m, host).Problem == "" && row(m, host).Staple == "good" })
}

// A client refuses a response that has ended, so none is sent when the responder does not give a new one.
func TestAResponseThatHasEndedIsNotServed(t *testing.T) {
	s := startSite(t)
	r := startResponder(t)
	r.valid = 3 * time.Second
	a := startAuthority(t, s, "-ocsp", r.server.URL, "-keys", "rsa")
	r.serve(t, a)
	o := quick(files(t.TempDir()), a.options())
	o.Names, o.RetryMin, o.RetryMax = []string{host}, time.Hour, time.Hour // the end of the response is the time of the next attempt
	m := s.start(t, o)
	staple := func() []byte {
		state, err := s.handshake(host, nil)
		require.NoError(t, err)
		return state.OCSPResponse
	}
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	eventually(t, "its response", func() bool { return staple() != nil })
	found, _ := m.entries.Load(host)
	pair := found.(*entry).served.Load()
	fromFile := NewStapler(nil)
	require.NoError(t, fromFile.Update(context.Background(), pair))
	require.NotNil(t, fromFile.Known(pair))
	r.status.Store(500)
	eventually(t, "it is reported", func() bool { return row(m, host).Problem != "" })
	eventually(t, "it is not sent", func() bool { return staple() == nil })
	eventually(t, "nor for a certificate from a file", func() bool { return fromFile.Known(pair) == nil })
	require.Equal(t, pair.Leaf.SerialNumber.String(), s.serial(host), "the certificate is")
}

// A responder that calls every certificate revoked causes one order, and then waits like every failure.
func TestEveryCertificateIsRevoked(t *testing.T) {
	s := startSite(t)
	r := startResponder(t)
	a := startAuthority(t, s, "-ocsp", r.server.URL, "-keys", "rsa")
	r.serve(t, a)
	r.all.Store(true)
	o := quick(files(t.TempDir()), a.options())
	o.Names, o.RetryMax = []string{host}, patience
	m := s.start(t, o)
	eventually(t, "it is reported", func() bool { return row(m, host).Failures >= 3 })
	require.Contains(t, row(m, host).Problem, "revoked")
	require.Equal(t, "revoked", row(m, host).Staple)
	require.EqualValues(t, 2, m.Counts().Issued)
	require.NotEmpty(t, s.serial(host))
	r.all.Store(false)
	eventually(t, "it is good again", func() bool { return row(m, host).Problem == "" && row(m, host).Staple == "good" })
	require.EqualValues(t, 2, m.Counts().Issued)
}
