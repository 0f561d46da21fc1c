package httpparse

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Field lines for each index of the tables.
var (
	codingLines = [transferCodingCount]string{
		noCoding:          "",
		chunkedCoding:     "Transfer-Encoding: chunked\r\n",
		chunkedAfterOther: "Transfer-Encoding: gzip, chunked\r\n",
		chunkedNotFinal:   "Transfer-Encoding: gzip\r\n",
		codingInHTTP10:    "Transfer-Encoding: chunked\r\n", // in a message of 1.0
	}
	lengthLines = [lengthClassCount]string{
		noLength:   "",
		zeroLength: "Content-Length: 0\r\n",
		someLength: "Content-Length: 7\r\n",
	}
)

func versionOf(coding transferCoding) string {
	if coding == codingInHTTP10 {
		return http10
	}
	return http11
}

// allCells calls do for each pair of indices.
func allCells(do func(coding transferCoding, length lengthClass)) {
	for coding := range transferCodingCount {
		for length := range lengthClassCount {
			do(coding, length)
		}
	}
}

// Parses a request for each entry of the request table and compares the result with the entry.
func TestRequestFramingTable(t *testing.T) {
	starts := [requestKindsCount]string{ordinaryRequest: "POST / ", connectRequest: "CONNECT a:80 "}
	for kind := range requestKindsCount {
		allCells(func(coding transferCoding, length lengthClass) {
			t.Run(fmt.Sprint(kind, coding, length), func(t *testing.T) {
				want := requestFraming[kind][coding][length]
				head := starts[kind] + versionOf(coding) + "\r\nHost: a\r\n" + codingLines[coding] + lengthLines[length] + "\r\n"
				var r Request
				err := r.Parse([]byte(head), nil)
				require.Equal(t, want.why.inRequest(), err)
				assert.Equal(t, want.valid, want.why == accepted, "a hole in the table")
				assert.Equal(t, want.framing, r.Framing)
				switch want.framing {
				case FramingLength:
					assert.EqualValues(t, 7, r.ContentLength)
				case FramingChunked:
					assert.EqualValues(t, -1, r.ContentLength)
				default:
					assert.Zero(t, r.ContentLength)
				}
				assert.False(t, want.closes, "no request ends with its connection")
			})
		})
	}
}

// Does the same for the response table.
func TestResponseFramingTable(t *testing.T) {
	starts := [responseKindsCount]struct {
		method string
		status int
	}{
		ordinaryResponse:  {"GET", 200},
		headOrNotModified: {"HEAD", 200},
		noContent:         {"GET", 204},
		interim:           {"GET", 103},
		tunnel:            {"CONNECT", 200},
	}
	for kind := range responseKindsCount {
		allCells(func(coding transferCoding, length lengthClass) {
			t.Run(fmt.Sprint(kind, coding, length), func(t *testing.T) {
				want := responseFraming[kind][coding][length]
				start := starts[kind]
				head := fmt.Sprintf("%s %d \r\nConnection: keep-alive\r\n%s%s\r\n",
					versionOf(coding), start.status, codingLines[coding], lengthLines[length])
				var r Response
				err := r.Parse([]byte(head), start.method, nil)
				require.Equal(t, want.why.inResponse(), err)
				assert.Equal(t, want.valid, want.why == accepted, "a hole in the table")
				assert.Equal(t, want.framing, r.Framing)
				assert.True(t, want.closes || want.framing != FramingClose, "the end of the connection is the end of the body")
				if want.closes || kind == tunnel {
					assert.False(t, r.KeepAlive)
				} else if err == nil {
					assert.True(t, r.KeepAlive)
				}
			})
		})
	}
}

// Invariants of the tables.
func TestFramingRules(t *testing.T) {
	allCells(func(coding transferCoding, length lengthClass) {
		request := requestFraming[ordinaryRequest][coding][length]
		response := responseFraming[ordinaryResponse][coding][length]
		if coding != noCoding && length != noLength {
			assert.False(t, request.valid, "both fields frame a request: the classic smuggle")
			assert.False(t, response.valid)
		}
		if coding != noCoding && coding != chunkedCoding {
			assert.False(t, request.valid, "a coding we cannot undo")
			assert.False(t, response.valid)
		}
		if length == someLength {
			assert.NotEqual(t, ruleNone, request, "a declared body must not become the next request")
			assert.NotEqual(t, ruleNone, responseFraming[noContent][coding][length])
		}
	})
}

func TestKindOfResponse(t *testing.T) {
	tests := []struct {
		why    string
		status int
		method string
		want   responseKind
	}{
		{"an answer", 200, "GET", ordinaryResponse},
		{"an error", 500, "GET", ordinaryResponse},
		{"a 205 must be empty, but says so itself", 205, "GET", ordinaryResponse},
		{"HEAD", 200, "HEAD", headOrNotModified},
		{"an error to HEAD", 404, "HEAD", headOrNotModified},
		{"methods are case-sensitive", 200, "head", ordinaryResponse},
		{"304", 304, "GET", headOrNotModified},
		{"204", 204, "GET", noContent},
		{"204 to HEAD", 204, "HEAD", headOrNotModified},
		{"100", 100, "GET", interim},
		{"101", 101, "GET", interim},
		{"103 to HEAD", 103, "HEAD", interim},
		{"a tunnel", 200, "CONNECT", tunnel},
		{"204 opens a tunnel too", 204, "CONNECT", tunnel},
		{"a tunnel that was refused", 403, "CONNECT", ordinaryResponse},
		{"an interim answer to CONNECT", 100, "CONNECT", interim},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			assert.Equal(t, tt.want, kindOfResponse(tt.status, tt.method))
		})
	}
}
