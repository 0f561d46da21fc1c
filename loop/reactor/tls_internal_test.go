package reactor

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A session works without the memory of its handshake, and crypto/tls has the
// fields that hold it.
func TestReleaseHandshake(t *testing.T) {
	require.Positive(t, min(handAt, rawInputAt), "crypto/tls has changed: idle TLS connections take more memory than they need")
	a, b := net.Pipe()
	defer func() { _ = a.Close() }()
	defer func() { _ = b.Close() }()
	// A handshake that ends in refusal fills them as any does.
	failed := make(chan error, 1)
	server := tls.Server(a, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, io.ErrNoProgress }})
	go func() { failed <- server.Handshake() }()
	_ = tls.Client(b, &tls.Config{ServerName: "a", MinVersion: tls.VersionTLS12}).Handshake()
	require.ErrorIs(t, <-failed, io.ErrNoProgress)
	rooms := func() (rooms []int) {
		for _, at := range []int{handAt, rawInputAt} {
			rooms = append(rooms, bufferOf(server, at).Cap())
		}
		return rooms
	}
	for _, room := range rooms() {
		require.Positive(t, room)
	}
	releaseHandshake(server)
	require.Equal(t, []int{0, 0}, rooms())
}
