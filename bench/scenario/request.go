// Package scenario has the requests that servers are sent, byte by byte, and the cases of each scenario as data.
package scenario

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"tafe/bench/load"
)

// BrowserHead is the head of a GET /plaintext as Chrome sends it, 412 bytes.
//
//go:embed testdata/browser-412.http
var BrowserHead []byte

const (
	plaintextBytes = 13
	jsonBytes      = 27
	doneBytes      = 4
)

// get is a request with the shortest head that HTTP/1.1 allows in practice.
func get(name, path string, body int64) load.Request {
	raw := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path)
	return load.Request{Name: name, Raw: []byte(raw), Status: 200, BodyBytes: body}
}

// get2 is the same over HTTP/2.
func get2(name, path string, body int64) load.Request {
	return load.Request{Name: name, Status: 200, BodyBytes: body, Fields: fields2("GET", path)}
}

func fields2(method, path string) [][2]string {
	return [][2]string{{":method", method}, {":scheme", "http"}, {":authority", "127.0.0.1"}, {":path", path}, {"user-agent", "bench"}}
}

// call is a unary call as gRPC makes it: a message of 32 bytes with its prefix of five.
func call() load.Request {
	message := append([]byte{0, 0, 0, 0, 32}, "0123456789abcdef0123456789abcdef"...)
	fields := append(fields2("POST", "/bench.Bench/Unary"), [2]string{"content-type", "application/grpc"}, [2]string{"te", "trailers"})
	return load.Request{Name: "call", Status: 200, BodyBytes: int64(len(message)), Fields: fields, Body: message, Trailers: true}
}

func browser() load.Request {
	return load.Request{Name: "browser head", Raw: BrowserHead, Status: 200, BodyBytes: plaintextBytes}
}

// cookies is the browser's head with 2 KB of cookies in place of its one.
func cookies() load.Request {
	head, _, _ := strings.Cut(string(BrowserHead), "Cookie: ")
	var b strings.Builder
	b.WriteString(head + "Cookie: ")
	for i := 0; b.Len() < len(head)+8+2048; i++ {
		fmt.Fprintf(&b, "pref%02d=%016x%016x; ", i, uint64(i)*0x9E3779B97F4A7C15, uint64(i)*0xC2B2AE3D27D4EB4F)
	}
	raw := strings.TrimRight(b.String(), "; ") + "\r\n\r\n"
	return load.Request{Name: "2 KB of cookies", Raw: []byte(raw), Status: 200, BodyBytes: plaintextBytes}
}

// closing asks the server to close the connection after its answer.
func closing() load.Request {
	raw := "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
	return load.Request{Name: "new connection", Raw: []byte(raw), Status: 200, BodyBytes: plaintextBytes}
}

func echo(bodyBytes int) load.Request {
	raw := fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s",
		bodyBytes, strings.Repeat("0123456789abcdef", (bodyBytes+15)/16)[:bodyBytes])
	return load.Request{Name: "echo", Raw: []byte(raw), Status: 200, BodyBytes: int64(bodyBytes)}
}

// upgrade is the opening handshake of a WebSocket.
func upgrade(path string) load.Request {
	raw := "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	return load.Request{Name: "upgrade", Raw: []byte(raw), Status: 101, BodyBytes: 0}
}

// publishMark ends the message of publish.
const publishMark = '~'

// publish asks the server to send 64 bytes to all of its clients.
func publish() load.Request {
	message := strings.Repeat("0123456789abcdef", 4)[:63] + string(publishMark)
	raw := fmt.Sprintf("POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(message), message)
	return load.Request{Name: "publish", Raw: []byte(raw), Status: 204}
}

// message is a binary WebSocket message, masked as a client must.
func message(bodyBytes int) load.Request {
	raw := []byte{0x82}
	switch {
	case bodyBytes < 126:
		raw = append(raw, 0x80|byte(bodyBytes))
	case bodyBytes <= math.MaxUint16:
		raw = binary.BigEndian.AppendUint16(append(raw, 0x80|126), uint16(bodyBytes))
	default:
		raw = binary.BigEndian.AppendUint64(append(raw, 0x80|127), uint64(bodyBytes))
	}
	mask := []byte{0x37, 0xfa, 0x21, 0x3d}
	raw = append(raw, mask...)
	for i := range bodyBytes {
		raw = append(raw, "0123456789abcdef"[i%16]^mask[i%4])
	}
	return load.Request{Name: "message", Raw: raw, Status: 200, BodyBytes: int64(bodyBytes)}
}

// holder is the one request in a hundred that computes for 20 ms.
func holder() load.Request {
	return share(0.01, get("hold", "/hold", doneBytes))
}

// share is a request that makes up that part of all.
func share(part float64, r load.Request) load.Request {
	r.Share = part
	return r
}

// Short is the plaintext request with the shortest head, alone.
func Short() []load.Request { return []load.Request{get("plaintext", "/plaintext", plaintextBytes)} }

// Short2 is the same over HTTP/2.
func Short2() []load.Request { return []load.Request{get2("plaintext", "/plaintext", plaintextBytes)} }
