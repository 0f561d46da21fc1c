// A client of HTTP/2 whose frames the test writes, for the tests of http2_test.go and http2attack_test.go.

package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawClient writes frames at once, and reads those of the server.
type rawClient struct {
	t       testing.TB
	conn    net.Conn
	framer  *xhttp2.Framer
	encoded bytes.Buffer
	encoder *hpack.Encoder
	heads   []rawHead // that were read and not asked for yet
	lenient bool      // errors of writing are ignored
}

// rawHTTP2 connects and exchanges SETTINGS.
func rawHTTP2(t testing.TB, s *Server) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	w := &rawClient{t: t, conn: conn, framer: xhttp2.NewFramer(conn, conn)}
	w.encoder = hpack.NewEncoder(&w.encoded)
	w.framer.AllowIllegalWrites = true
	w.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err = conn.Write([]byte(xhttp2.ClientPreface))
	require.NoError(t, err)
	require.NoError(t, w.framer.WriteSettings())
	require.NoError(t, w.framer.WriteSettingsAck())
	return w
}

func (w *rawClient) wrote(err error) {
	w.t.Helper()
	if !w.lenient {
		require.NoError(w.t, err)
	}
}

// section encodes fields.
func (w *rawClient) section(fields ...string) []byte {
	w.encoded.Reset()
	for i := 0; i < len(fields); i += 2 {
		require.NoError(w.t, w.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return w.encoded.Bytes()
}

// headers sends a field section in as many frames as it needs.
func (w *rawClient) headers(stream uint32, end bool, fields ...string) {
	section := w.section(fields...)
	first := section[:min(len(section), 16<<10)]
	section = section[len(first):]
	w.wrote(w.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(section) == 0}))
	for len(section) > 0 {
		piece := section[:min(len(section), 16<<10)]
		section = section[len(piece):]
		w.wrote(w.framer.WriteContinuation(stream, len(section) == 0, piece))
	}
}

func (w *rawClient) get(stream uint32, path string, more ...string) {
	w.headers(stream, true, append([]string{":method", "GET", ":scheme", "http", ":path", path, ":authority", "h"}, more...)...)
}

// next reads up to a frame of a type, and returns it as text.
func (w *rawClient) next(kind xhttp2.FrameType) string {
	w.t.Helper()
	for {
		f, err := w.framer.ReadFrame()
		require.NoError(w.t, err)
		if f.Header().Type == kind {
			return rawText(f)
		}
	}
}

func rawText(f xhttp2.Frame) string {
	switch f := f.(type) {
	case *xhttp2.RSTStreamFrame:
		return fmt.Sprintf("%d RST_STREAM %v", f.StreamID, f.ErrCode)
	case *xhttp2.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d %v %s", f.LastStreamID, f.ErrCode, f.DebugData())
	}
	return f.Header().String()
}

// rawHead is the head of a response.
type rawHead struct {
	stream uint32
	fields map[string]string
}

// head reads the head of a response. Heads of other streams, which may come in any order, are kept for later calls.
func (w *rawClient) head(stream uint32) map[string]string {
	w.t.Helper()
	for {
		if i := slices.IndexFunc(w.heads, func(h rawHead) bool { return h.stream == stream }); i >= 0 {
			fields := w.heads[i].fields
			w.heads = slices.Delete(w.heads, i, i+1)
			return fields
		}
		f, err := w.framer.ReadFrame()
		require.NoError(w.t, err)
		w.keep(f)
	}
}

func (w *rawClient) keep(f xhttp2.Frame) {
	h, ok := f.(*xhttp2.MetaHeadersFrame)
	if !ok {
		return
	}
	fields := map[string]string{}
	for _, field := range h.Fields {
		if field.Name != "server" && field.Name != "date" {
			fields[field.Name] = field.Value
		}
	}
	w.heads = append(w.heads, rawHead{h.StreamID, fields})
}

// data reads n bytes of a body, or its rest for -1.
func (w *rawClient) data(stream uint32, n int) string {
	w.t.Helper()
	var got bytes.Buffer
	for got.Len() != n {
		f, err := w.framer.ReadFrame()
		require.NoError(w.t, err)
		d, ok := f.(*xhttp2.DataFrame)
		if !ok || d.StreamID != stream {
			w.keep(f)
			continue
		}
		got.Write(d.Data())
		if d.StreamEnded() {
			break
		}
	}
	return got.String()
}

// selfSigned returns a certificate for a host, and the pool that trusts it.
func selfSigned(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}
