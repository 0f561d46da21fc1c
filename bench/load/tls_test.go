package load

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(hello))
	defer s.Close()
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	for _, tc := range []struct {
		why   string
		mode  TLSMode
		want  Request
		class string
	}{
		{"a handshake for each request", TLSFull, get("/", 200, 5), ""},
		{"resumed, which is checked on each connection", TLSResumed, get("/", 200, 5), ""},
		{"one handshake, many requests", TLSKept, get("/", 200, 5), ""},
		{"another status", TLSKept, get("/", 201, 5), ErrorStatus},
		{"another length", TLSKept, get("/", 200, 6), ErrorLength},
	} {
		t.Run(tc.why, func(t *testing.T) {
			res, err := RunTLS(plan(addr, tc.want), tc.mode)
			require.NoError(t, err)
			if tc.class != "" {
				require.Positive(t, res.Errors[tc.class], "%v", res.Errors)
				require.Zero(t, res.Answered)
				return
			}
			require.Empty(t, res.Errors)
			require.Positive(t, res.Answered)
		})
	}
}

func TestTLSNamesAServerThatDoesNotResume(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	s.StartTLS()
	defer s.Close()
	s.TLS.SessionTicketsDisabled = true
	res, err := RunTLS(plan(netip.MustParseAddrPort(s.Listener.Addr().String()), get("/", 200, 5)), TLSResumed)
	require.NoError(t, err)
	require.Positive(t, res.Errors[ErrorResume], "%v", res.Errors)
}

func TestHoldTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(hello))
	defer s.Close()
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	h, err := HoldTLS(addr, 50, get("/", 200, 5), 10*time.Second)
	require.NoError(t, err)
	require.Len(t, h.conns, 50)
	h.Close()
	_, err = HoldTLS(addr, 1, get("/", 200, 6), 10*time.Second)
	require.ErrorIs(t, err, errLength)
}
