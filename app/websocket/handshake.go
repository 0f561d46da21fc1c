// The rules of the opening handshake (RFC 6455 section 4.2) that do not depend on how a request is read and a response written.

package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"net/url"
	"path"
	"strings"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"
)

// ValidKey reports whether a Sec-WebSocket-Key is the base64 coding of 16 bytes.
func ValidKey(key string) bool {
	b, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(b) == 16
}

// AcceptKey returns the Sec-WebSocket-Accept of the response to a Sec-WebSocket-Key.
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// OriginAllowed reports whether a page of the given origin may connect to host. An empty origin, of a client that is not a browser, is
// allowed. The others must have the same host, or match one of the patterns; see Options.Origins.
func OriginAllowed(origin, host string, patterns []string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err == nil && u.Host != "" && strings.EqualFold(u.Host, host) {
		return true
	}
	for _, p := range patterns {
		of := origin
		if err == nil && !strings.Contains(p, "://") && p != "*" {
			of = u.Host
		}
		if ok, _ := path.Match(strings.ToLower(p), strings.ToLower(of)); ok || p == "*" {
			return true
		}
	}
	return false
}

// ChooseProtocol returns the first of the server's subprotocols that the client offers in Sec-WebSocket-Protocol; "" if none.
func ChooseProtocol(server []string, offered string) string {
	for _, p := range server {
		found := false
		httphead.ScanTokens([]byte(offered), func(token []byte) bool {
			found = found || string(token) == p
			return !found
		})
		if found {
			return p
		}
	}
	return ""
}

// NegotiateDeflate chooses the first offer of permessage-deflate in Sec-WebSocket-Extensions that can be accepted, and returns the value of
// the response's header; "" if there is none. Both sides compress each message by itself (no context takeover), so that an idle
// connection holds no compression state.
func NegotiateDeflate(offered string) string {
	options, ok := httphead.ParseOptions([]byte(offered), nil)
	if !ok {
		return ""
	}
	extension := wsflate.Extension{Parameters: wsflate.DefaultParameters}
	for _, o := range options {
		accepted, err := extension.Negotiate(o)
		if err == nil && accepted.Size() > 0 {
			return deflateAccepted
		}
	}
	return ""
}

// deflateAccepted is wsflate.DefaultParameters as a header.
const deflateAccepted = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
