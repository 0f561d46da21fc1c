//go:build linux

package httpparse

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// fenced returns two copies of b: one ends directly before an inaccessible page, and one starts directly after one. A
// read outside the slice crashes.
func fenced(t *testing.T, b []byte) (flushEnd, flushStart []byte) {
	t.Helper()
	page := os.Getpagesize()
	pages := (len(b) + page - 1) / page * page
	memory, err := syscall.Mmap(-1, 0, pages+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(memory)) })
	require.NoError(t, syscall.Mprotect(memory[:page], syscall.PROT_NONE))
	require.NoError(t, syscall.Mprotect(memory[page+pages:], syscall.PROT_NONE))
	inner := memory[page : page+pages]
	require.LessOrEqual(t, len(b), pages/2, "room for both")
	copy(inner[pages-len(b):], b)
	copy(inner, b)
	return inner[pages-len(b):], inner[:len(b):len(b)]
}

// Runs all scans over each prefix of each head, next to an inaccessible page at either end.
func TestScansStayInside(t *testing.T) {
	inputs := [][]byte{
		shortHead, browserHead, []byte(post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
		[]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: 0123456789abcdef\r\n\r\n"),
		[]byte("5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n"), []byte("/a/./b/../%41%4"), []byte("\r\n\r\nGET http://a/?b HTTP/1.1\r\n\r\n"),
	}
	for _, input := range inputs {
		end, start := fenced(t, input)
		for n := range len(input) + 1 {
			visitAll(end[len(end)-n:]) // every suffix, against the page behind
			visitAll(start[:n:n])      // every prefix, against the page before
		}
		for n := range len(input) + 1 { // every prefix, against the page behind
			copy(end[len(end)-n:], input[:n])
			visitAll(end[len(end)-n:])
		}
	}
}

// visitAll runs all parsers over b and ignores errors.
func visitAll(b []byte) {
	var r Request
	var resp Response
	var d Body
	_, _, resume, _ := FindHead(b, 0, nil)
	_, _, _, _ = FindHead(b, min(resume, len(b)), nil)
	_, _, _, _ = FindResponseHead(b, 0, nil)
	_ = r.Parse(b, nil)
	_ = resp.Parse(b, "GET", nil)
	d.BeginRequest(chunkedRequest, nil)
	_, _, _ = d.Decode(nil, b)
	_, _ = DecodePath(nil, b)
	_, _ = DecodeQuery(nil, b)
	_, _ = NormalizePath(nil, b)
	_ = ValidToken(b)
	_ = ValidFieldValue(b)
	_ = validHost(b, portOptional)
}
