package load

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serveTLS keeps quiet about clients that leave in a handshake: the generator's end of a run is one.
func serveTLS(t *testing.T) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTLS(t *testing.T) {
	s := serveTLS(t)
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
			p := plan(addr, tc.want)
			p.EndedMax = 40
			res, err := RunTLS(p, tc.mode)
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
	s := serveTLS(t)
	s.TLS.SessionTicketsDisabled = true
	p := plan(netip.MustParseAddrPort(s.Listener.Addr().String()), get("/", 200, 5))
	p.EndedMax = 40
	res, err := RunTLS(p, TLSResumed)
	require.NoError(t, err)
	require.Positive(t, res.Errors[ErrorResume], "%v", res.Errors)
}

func TestHoldTLS(t *testing.T) {
	s := serveTLS(t)
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	h, err := HoldTLS(addr, 50, get("/", 200, 5), 10*time.Second)
	require.NoError(t, err)
	require.Len(t, h.conns, 50)
	h.Close()
	_, err = HoldTLS(addr, 1, get("/", 200, 6), 10*time.Second)
	require.ErrorIs(t, err, wrong(ErrorLength))
}
