package httpparse

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requireRefusal checks that err is the *Error with this status and slug.
func requireRefusal(t *testing.T, err error, status int, slug string) {
	t.Helper()
	var refusal *Error
	require.True(t, errors.As(err, &refusal), "no refusal: %v", err)
	assert.Equal(t, slug, refusal.Reason)
	assert.Equal(t, status, refusal.Status)
	assert.NotEmpty(t, refusal.Detail)
	assert.Contains(t, refusal.Error(), slug)
}

// get is a GET of / on 1.1 with the given field lines; post declares what the lines say.
func get(lines string) string  { return "GET / HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n" }
func post(lines string) string { return "POST / HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n" }

// line makes a request of a request line alone.
func startLine(line string) string { return line + "\r\nHost: a\r\n\r\n" }

var refusedRequests = []struct {
	why    string
	head   string
	status int
	slug   string
}{
	// the request line, RFC 9112 section 3
	{"nothing at all", "", 400, "incomplete-head"},
	{"a method alone", "GET", 400, "incomplete-head"},
	{"a method and a space", "GET ", 400, "incomplete-head"},
	{"no method", startLine(" / HTTP/1.1"), 400, "bad-method"},
	{"an empty line counts as no method, once FindHead skipped what it may", "\r\n" + get(""), 400, "bad-method"},
	{"a method is a token", startLine("G(T / HTTP/1.1"), 400, "bad-method"},
	{"a tab is no space: parsers that split on either disagree", startLine("GET\t/ HTTP/1.1"), 400, "bad-method"},
	{"a method that is longer than any known one", startLine(strings.Repeat("A", 33) + " / HTTP/1.1"), 501, "long-method"},
	{"two spaces make an empty target", startLine("GET  / HTTP/1.1"), 400, "bad-target"},
	{"a tab in the target", startLine("GET /\tHTTP/1.1"), 400, "bad-target"},
	{"a space in the target ends it", startLine("GET /a b HTTP/1.1"), 400, "bad-version"},
	{"two spaces before the version", startLine("GET /  HTTP/1.1"), 400, "bad-version"},
	{"a space after the version", startLine("GET / HTTP/1.1 "), 400, "bad-version"},
	{"a word after the version", startLine("GET / HTTP/1.1 HTTP/1.0"), 400, "bad-version"},
	{"the request of HTTP/0.9 has no version", "GET /\r\n\r\n", 400, "missing-version"},
	{"no version, but fields", "GET /\r\nHost: a\r\n\r\n", 400, "missing-version"},
	{"nothing but method and spaces", startLine("GET  "), 400, "bad-target"},
	{"the version's name is case-sensitive", startLine("GET / http/1.1"), 400, "bad-version"},
	{"a version of two digits", startLine("GET / HTTP/1.10"), 400, "bad-version"},
	{"a version without a minor", startLine("GET / HTTP/1"), 400, "bad-version"},
	{"a version of letters", startLine("GET / HTTP/x.1"), 400, "bad-version"},
	{"a version with a comma", startLine("GET / HTTP/1,1"), 400, "bad-version"},
	{"another protocol", startLine("GET / HTCPCP/1.0"), 400, "bad-version"},
	{"HTTP/0.9 by name", startLine("GET / HTTP/0.9"), 505, "unsupported-version"},
	{"HTTP/2.0", startLine("GET / HTTP/2.0"), 505, "unsupported-version"},
	{"the preface of an HTTP/2 client", "PRI * HTTP/2.0\r\n\r\n", 505, "unsupported-version"},
	{"a bare CR after the version", "GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "bare-cr"},
	{"a bare LF after the version", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare-lf"},
	{"a bare LF after the target", "GET /\nHost: a\r\n\r\n", 400, "bare-lf"},
	{"a bare CR in the target", startLine("GET /\r HTTP/1.1"), 400, "bare-cr"},
	{"NUL in the target", startLine("GET /\x00 HTTP/1.1"), 400, "control-byte"},
	{"DEL in the target", startLine("GET /\x7f HTTP/1.1"), 400, "control-byte"},
	{"UTF-8 in the target must come percent-encoded", startLine("GET /caf\xc3\xa9 HTTP/1.1"), 400, "non-ascii-target"},
	{"a fragment never leaves the client", startLine("GET /a#b HTTP/1.1"), 400, "fragment-in-target"},
	{"a fragment after the query", startLine("GET /a?b#c HTTP/1.1"), 400, "fragment-in-target"},
	{"quotes delimit URIs", startLine("GET /\"a\" HTTP/1.1"), 400, "bad-target"},
	{"angle brackets delimit URIs", startLine("GET /?<script> HTTP/1.1"), 400, "bad-target"},
	{"a backslash in a path is a slash to some", startLine("GET /..\\..\\etc HTTP/1.1"), 400, "bad-target"},
	{"a target of more than TargetBytesMax", startLine("GET /" + strings.Repeat("a", 8192) + " HTTP/1.1"), 414, "target-too-long"},
	{"likewise in its query", startLine("GET /?" + strings.Repeat("a", 8192) + " HTTP/1.1"), 414, "target-too-long"},

	// forms of the target, RFC 9112 section 3.2
	{"no form at all", startLine("GET a HTTP/1.1"), 400, "target-form"},
	{"a query alone", startLine("GET ?a HTTP/1.1"), 400, "target-form"},
	{"the asterisk is for OPTIONS", startLine("GET * HTTP/1.1"), 400, "target-form"},
	{"an asterisk and more", startLine("OPTIONS *a HTTP/1.1"), 400, "target-form"},
	{"an authority is for CONNECT", startLine("GET a:80 HTTP/1.1"), 400, "target-form"},
	{"CONNECT wants an authority", startLine("CONNECT / HTTP/1.1"), 400, "target-form"},
	{"CONNECT wants a port", startLine("CONNECT a HTTP/1.1"), 400, "target-form"},
	{"CONNECT wants a port that is not empty", startLine("CONNECT a: HTTP/1.1"), 400, "target-form"},
	{"port 0 cannot be connected to", startLine("CONNECT a:0 HTTP/1.1"), 400, "target-form"},
	{"a port beyond 16 bits", startLine("CONNECT a:65536 HTTP/1.1"), 400, "target-form"},
	{"CONNECT to no host", startLine("CONNECT :80 HTTP/1.1"), 400, "target-form"},
	{"CONNECT to a URI", startLine("CONNECT http://a:80 HTTP/1.1"), 400, "target-form"},
	{"a scheme that is not served", startLine("GET ftp://a/ HTTP/1.1"), 400, "target-form"},
	{"a scheme made of the letters of http", startLine("GET hhttp://a/ HTTP/1.1"), 400, "target-form"},
	{"a scheme without slashes", startLine("GET http:a HTTP/1.1"), 400, "target-form"},
	{"a URI without a host", startLine("GET http:///a HTTP/1.1"), 400, "bad-host"},
	{"a URI with a port and no host", startLine("GET http://:80/a HTTP/1.1"), 400, "bad-host"},
	{"user information misleads", startLine("GET http://good.example@evil.example/ HTTP/1.1"), 400, "bad-host"},
	{"a URI with a port of letters", startLine("GET http://a:b/ HTTP/1.1"), 400, "bad-host"},

	// field lines, RFC 9112 section 5
	{"no empty line", "GET / HTTP/1.1\r\nHost: a\r\n", 400, "incomplete-head"},
	{"half an empty line", "GET / HTTP/1.1\r\nHost: a\r\n\r", 400, "incomplete-head"},
	{"no line end after the version", "GET / HTTP/1.1", 400, "incomplete-head"},
	{"half a line end after the version", "GET / HTTP/1.1\r", 400, "incomplete-head"},
	{"a name without its colon at the end", "GET / HTTP/1.1\r\nHost", 400, "incomplete-head"},
	{"bytes after the empty line", get("") + "x", 400, "head-overrun"},
	{"the next request after the empty line", get("") + get(""), 400, "head-overrun"},
	{"a line folded onto the request line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "obs-fold"},
	{"a folded line", get("A: b\r\n c\r\n"), 400, "obs-fold"},
	{"a line folded by a tab", get("A: b\r\n\tc\r\n"), 400, "obs-fold"},
	{"a fold of nothing", get("A: b\r\n \r\n"), 400, "obs-fold"},
	{"whitespace before the colon", get("A : b\r\n"), 400, "space-before-colon"},
	{"a tab before the colon", get("A\t: b\r\n"), 400, "space-before-colon"},
	{"whitespace inside a name", get("A B: c\r\n"), 400, "bad-header-name"},
	{"an empty name", get(": b\r\n"), 400, "empty-header-name"},
	{"no colon", get("foo\r\n"), 400, "missing-colon"},
	{"a name is a token", get("A(b): c\r\n"), 400, "bad-header-name"},
	{"a name in quotes", get("\"A\": c\r\n"), 400, "bad-header-name"},
	{"NUL in a name", get("A\x00: c\r\n"), 400, "bad-header-name"},
	{"DEL in a name", get("A\x7f: c\r\n"), 400, "bad-header-name"},
	{"obs-text in a name", get("\xc3\xa9: c\r\n"), 400, "bad-header-name"},
	{"CR in a name", get("A\rB: c\r\n"), 400, "bare-cr"},
	{"LF in a name", get("A\nB: c\r\n"), 400, "bare-lf"},
	{"CR in a value", get("A: b\rc\r\n"), 400, "bare-cr"},
	{"two CRs before the LF", get("A: b\r\r\n"), 400, "bare-cr"},
	{"LF in a value", get("A: b\nc: d\r\n"), 400, "bare-lf"},
	{"a line that ends with LF alone", get("A: b\n"), 400, "bare-lf"},
	{"an empty line of LF alone", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare-lf"},
	{"an empty line of CR and something", "GET / HTTP/1.1\r\nHost: a\r\n\rx", 400, "bare-cr"},
	{"NUL in a value", get("A: b\x00c\r\n"), 400, "control-byte"},
	{"VT in a value", get("A: b\x0bc\r\n"), 400, "control-byte"},
	{"FF in a value", get("A: b\x0cc\r\n"), 400, "control-byte"},
	{"ESC in a value writes to terminals", get("A: \x1b[2J\r\n"), 400, "control-byte"},
	{"DEL in a value", get("A: b\x7fc\r\n"), 400, "control-byte"},
	{"DEL behind more than a word", get("A: 0123456789abcdef0123456\x7f\r\n"), 400, "control-byte"},
	{"a head of more than HeadBytesMax", get("A: " + strings.Repeat("b", 32<<10) + "\r\n"), 431, "head-too-large"},
	{"more fields than HeaderCountMax", get(strings.Repeat("A: b\r\n", 100)), 431, "too-many-headers"},

	// Host, RFC 9112 section 3.2
	{"no Host on 1.1", "GET / HTTP/1.1\r\n\r\n", 400, "missing-host"},
	{"no Host on 1.1, though the URI names one", "GET http://a/ HTTP/1.1\r\n\r\n", 400, "missing-host"},
	{"two Hosts", get("Host: b\r\n"), 400, "duplicate-host"},
	{"two Hosts that agree", get("host: a\r\n"), 400, "duplicate-host"},
	{"two Hosts on 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400, "duplicate-host"},
	{"a host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad-host"},
	{"a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad-host"},
	{"a host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "bad-host"},
	{"a host in UTF-8", "GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400, "bad-host"},
	{"a port without a host", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, "bad-host"},
	{"a port of letters", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "bad-host"},
	{"two ports", "GET / HTTP/1.1\r\nHost: a:80:81\r\n\r\n", 400, "bad-host"},
	{"an address in half a bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "bad-host"},
	{"brackets around a name", "GET / HTTP/1.1\r\nHost: [abc]\r\n\r\n", 400, "bad-host"},
	{"a zone in an address", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400, "bad-host"},
	{"an IPv4 address in brackets", "GET / HTTP/1.1\r\nHost: [1.2.3.4]\r\n\r\n", 400, "bad-host"},
	{"an address with a group too long", "GET / HTTP/1.1\r\nHost: [fe080::1]\r\n\r\n", 400, "bad-host"},
	{"an address with two gaps", "GET / HTTP/1.1\r\nHost: [1::2::3]\r\n\r\n", 400, "bad-host"},
	{"an empty address", "GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400, "bad-host"},
	{"a word after an address", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400, "bad-host"},
	{"a host with half an escape", "GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", 400, "bad-host"},

	// Content-Length, RFC 9112 section 6.3
	{"two lengths that differ", post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400, "duplicate-content-length"},
	{"two lengths that agree", post("Content-Length: 5\r\ncontent-length: 5\r\n"), 400, "duplicate-content-length"},
	{"a list of lengths", post("Content-Length: 5, 5\r\n"), 400, "bad-content-length"},
	{"an empty length", post("Content-Length:\r\n"), 400, "bad-content-length"},
	{"a length with a sign", post("Content-Length: +5\r\n"), 400, "bad-content-length"},
	{"a negative length", post("Content-Length: -5\r\n"), 400, "bad-content-length"},
	{"a length with a space inside", post("Content-Length: 5 0\r\n"), 400, "bad-content-length"},
	{"a length in hexadecimal", post("Content-Length: 0x5\r\n"), 400, "bad-content-length"},
	{"a length with a fraction", post("Content-Length: 5.0\r\n"), 400, "bad-content-length"},
	{"a length with an underscore", post("Content-Length: 1_0\r\n"), 400, "bad-content-length"},
	{"an empty Host where the target needs one", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "empty-host"},
	{"a Host of whitespace", "GET / HTTP/1.1\r\nHost: \t\r\n\r\n", 400, "empty-host"},
	{"a Host that is a port", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, "bad-host"},
	{"a tab within a length", post("Content-Length: 1\t5\r\n"), 400, "bad-content-length"},
	{"only a tab for a length", post("Content-Length:\t\r\n"), 400, "bad-content-length"},
	{"a length of 63 bits and one", post("Content-Length: 9223372036854775808\r\n"), 400, "content-length-overflow"},
	{"a length that wraps around to 5", post("Content-Length: 18446744073709551621\r\n"), 400, "content-length-overflow"},
	{"a length beyond BodyBytesMax", post("Content-Length: 10485761\r\n"), 413, "body-too-large"},

	// Transfer-Encoding, RFC 9112 sections 6.1 and 6.3
	{"length and coding", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, "length-and-coding"},
	{"coding and length", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), 400, "length-and-coding"},
	{"a coding on 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "transfer-encoding-in-1.0"},
	{"a coding that is not last chunked", post("Transfer-Encoding: gzip\r\n"), 400, "chunked-not-final"},
	{"chunked, and then something", post("Transfer-Encoding: chunked, gzip\r\n"), 400, "chunked-not-final"},
	{"the same over two lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n"), 400, "chunked-not-final"},
	{"identity is gone since RFC 7230", post("Transfer-Encoding: identity\r\n"), 400, "chunked-not-final"},
	{"chunked, identity", post("Transfer-Encoding: chunked, identity\r\n"), 400, "chunked-not-final"},
	{"nearly chunked", post("Transfer-Encoding: xchunked\r\n"), 400, "chunked-not-final"},
	{"chunked and a letter", post("Transfer-Encoding: chunkedd\r\n"), 400, "chunked-not-final"},
	{"chunked in two words", post("Transfer-Encoding: chu nked\r\n"), 400, "chunked-not-final"},
	{"a coding that is not known", post("Transfer-Encoding: gzip, chunked\r\n"), 501, "unknown-transfer-coding"},
	{"identity, chunked", post("Transfer-Encoding: identity, chunked\r\n"), 501, "unknown-transfer-coding"},
	{"the same over two lines", post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), 501, "unknown-transfer-coding"},
	{"chunked twice", post("Transfer-Encoding: chunked, chunked\r\n"), 400, "bad-transfer-encoding"},
	{"chunked on two lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400, "bad-transfer-encoding"},
	{"chunked with a parameter", post("Transfer-Encoding: chunked;q=1\r\n"), 400, "bad-transfer-encoding"},
	{"chunked and a word", post("Transfer-Encoding: chunked gzip\r\n"), 400, "bad-transfer-encoding"},
	{"chunked in quotes", post("Transfer-Encoding: \"chunked\"\r\n"), 400, "bad-transfer-encoding"},
	{"an empty coding", post("Transfer-Encoding:\r\n"), 400, "bad-transfer-encoding"},
	{"an empty member before", post("Transfer-Encoding: , chunked\r\n"), 400, "bad-transfer-encoding"},
	{"an empty member after", post("Transfer-Encoding: chunked,\r\n"), 400, "bad-transfer-encoding"},
	{"a tab within chunked", post("Transfer-Encoding: chun\tked\r\n"), 400, "chunked-not-final"},
	{"chunked behind a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n"), 400, "control-byte"},
	{"chunked behind a no-break space", post("Transfer-Encoding: \xa0chunked\r\n"), 400, "bad-transfer-encoding"},
	{"a space before the colon", post("Transfer-Encoding : chunked\r\n"), 400, "space-before-colon"},
	{"a folded coding", post("Transfer-Encoding:\r\n chunked\r\n"), 400, "bad-transfer-encoding"},
	{"CONNECT with a body", startLine("CONNECT a:80 HTTP/1.1\r\nContent-Length: 5"), 400, "connect-with-body"},
	{"CONNECT with a coding", startLine("CONNECT a:80 HTTP/1.1\r\nTransfer-Encoding: chunked"), 400, "connect-with-body"},

	{"an unknown expectation", post("Expect: 200-ok\r\n"), 417, "unknown-expectation"},
	{"one of two expectations", post("Expect: 100-continue, x\r\n"), 417, "unknown-expectation"},
}

func TestRefusedRequests(t *testing.T) {
	lim := DefaultLimits()
	var r Request
	for _, tt := range refusedRequests {
		t.Run(tt.why, func(t *testing.T) {
			requireRefusal(t, r.Parse([]byte(tt.head), &lim), tt.status, tt.slug)
			assert.Nil(t, r.Method, "a refused request is empty")
			assert.Empty(t, r.Headers())
			assert.False(t, r.KeepAlive)
		})
	}
}

// shape is the expected result for an accepted request.
type shape struct {
	method, path, query, host string
	hasQuery                  bool
	minor                     uint8
	keepAlive, expect100      bool
	upgrade                   bool
	framing                   Framing
	length                    int64
	fields                    int
}

func shapeOf(r *Request) shape {
	return shape{
		string(r.Method), string(r.Path), string(r.Query), string(r.Host), r.HasQuery, r.Minor,
		r.KeepAlive, r.Expect100, r.Upgrade, r.Framing, r.ContentLength, len(r.Headers()),
	}
}

var acceptedRequests = []struct {
	why  string
	head string
	want shape
}{
	{"the plainest", get(""),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"a query", startLine("GET /a/b?c=d&e HTTP/1.1"),
		shape{method: "GET", path: "/a/b", query: "c=d&e", hasQuery: true, host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"an empty query is not none", startLine("GET /a? HTTP/1.1"),
		shape{method: "GET", path: "/a", hasQuery: true, host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"a second question mark belongs to the query", startLine("GET /a?b?c HTTP/1.1"),
		shape{method: "GET", path: "/a", query: "b?c", hasQuery: true, host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"two slashes are a path", startLine("GET //a//b HTTP/1.1"),
		shape{method: "GET", path: "//a//b", host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"what browsers send raw in a path", startLine("GET /[a]|b HTTP/1.1"),
		shape{method: "GET", path: "/[a]|b", host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"what browsers send raw in a query", startLine("GET /?{a}^`\\|[] HTTP/1.1"),
		shape{method: "GET", path: "/", query: "{a}^`\\|[]", hasQuery: true, host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"escapes stay raw, broken ones too", startLine("GET /%2e%zz HTTP/1.1"),
		shape{method: "GET", path: "/%2e%zz", host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"an absolute target overrules Host", startLine("GET http://b:81/c?d HTTP/1.1"),
		shape{method: "GET", path: "/c", query: "d", hasQuery: true, host: "b:81", minor: 1, keepAlive: true, fields: 1}},
	{"the scheme is case-insensitive", startLine("GET HTTPS://b/ HTTP/1.1"),
		shape{method: "GET", path: "/", host: "b", minor: 1, keepAlive: true, fields: 1}},
	{"an absolute target without a path", startLine("GET http://b HTTP/1.1"),
		shape{method: "GET", path: "/", host: "b", minor: 1, keepAlive: true, fields: 1}},
	{"an absolute target with a query and no path", startLine("GET http://b?c/d HTTP/1.1"),
		shape{method: "GET", path: "/", query: "c/d", hasQuery: true, host: "b", minor: 1, keepAlive: true, fields: 1}},
	{"OPTIONS of the whole server", startLine("OPTIONS * HTTP/1.1"),
		shape{method: "OPTIONS", path: "*", host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"the same through a proxy, RFC 9112 section 3.2.4", startLine("OPTIONS http://b:8001 HTTP/1.1"),
		shape{method: "OPTIONS", path: "*", host: "b:8001", minor: 1, keepAlive: true, fields: 1}},
	{"OPTIONS of the root", startLine("OPTIONS http://b/ HTTP/1.1"),
		shape{method: "OPTIONS", path: "/", host: "b", minor: 1, keepAlive: true, fields: 1}},
	{"CONNECT", startLine("CONNECT b:443 HTTP/1.1"),
		shape{method: "CONNECT", host: "b:443", minor: 1, keepAlive: true, fields: 1}},
	{"CONNECT to an address", startLine("CONNECT [::1]:443 HTTP/1.1"),
		shape{method: "CONNECT", host: "[::1]:443", minor: 1, keepAlive: true, fields: 1}},
	{"CONNECT that declares an empty body", startLine("CONNECT b:443 HTTP/1.1\r\nContent-Length: 0"),
		shape{method: "CONNECT", host: "b:443", minor: 1, keepAlive: true, fields: 2}},
	{"a method of our own", startLine("M-SEARCH /x HTTP/1.1"),
		shape{method: "M-SEARCH", path: "/x", host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"a method of exactly the longest", startLine(strings.Repeat("A", 32) + " / HTTP/1.1"),
		shape{method: strings.Repeat("A", 32), path: "/", host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"methods are case-sensitive, not upper-case", startLine("get / HTTP/1.1"),
		shape{method: "get", path: "/", host: "a", minor: 1, keepAlive: true, fields: 1}},

	{"HTTP/1.0 needs no Host and closes", "GET / HTTP/1.0\r\n\r\n",
		shape{method: "GET", path: "/"}},
	{"HTTP/1.0 that asks to stay", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
		shape{method: "GET", path: "/", keepAlive: true, fields: 1}},
	{"HTTP/1.0 that wants both closes", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
		shape{method: "GET", path: "/", fields: 1}},
	{"a higher minor version is processed as 1.1", startLine("GET / HTTP/1.9"),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, fields: 1}},
	{"close", get("Connection: close\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, fields: 2}},
	{"close among other options, in any case", get("Connection: x,,\tClOsE ,y\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, fields: 2}},
	{"close on a second line", get("Connection: keep-alive\r\nConnection: close\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, fields: 3}},
	{"closed is not close", get("Connection: closed\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, fields: 2}},

	{"an empty Host beside an authority", "GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n",
		shape{method: "GET", path: "/", host: "b", minor: 1, keepAlive: true, fields: 1}},
	{"an empty Host where the target has no authority", "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
		shape{method: "OPTIONS", path: "*", minor: 1, keepAlive: true, fields: 1}},
	{"an empty Host in HTTP/1.0, which needs none", "GET / HTTP/1.0\r\nHost:\r\n\r\n",
		shape{method: "GET", path: "/", fields: 1}},
	{"a length between tabs", post("Content-Length:\t5 \t\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingLength, length: 5, fields: 2}},
	{"chunked between tabs", post("Transfer-Encoding:\t chunked\t\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingChunked, length: -1, fields: 2}},
	{"Host with a port", "GET / HTTP/1.1\r\nhOST: a.example:8080\r\n\r\n",
		shape{method: "GET", path: "/", host: "a.example:8080", minor: 1, keepAlive: true, fields: 1}},
	{"Host with an empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
		shape{method: "GET", path: "/", host: "a:", minor: 1, keepAlive: true, fields: 1}},
	{"Host as an address", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
		shape{method: "GET", path: "/", host: "[2001:db8::1]:80", minor: 1, keepAlive: true, fields: 1}},
	{"Host as an IPv4 address in IPv6", "GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]\r\n\r\n",
		shape{method: "GET", path: "/", host: "[::ffff:1.2.3.4]", minor: 1, keepAlive: true, fields: 1}},
	{"Host with an escape", "GET / HTTP/1.1\r\nHost: a%2Db%41\r\n\r\n",
		shape{method: "GET", path: "/", host: "a%2Db%41", minor: 1, keepAlive: true, fields: 1}},

	{"a body", post("Content-Length: 5\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingLength, length: 5, fields: 2}},
	{"leading zeros are digits", post("Content-Length: 0005\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingLength, length: 5, fields: 2}},
	{"whitespace around a length", post("Content-Length:  5 \r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingLength, length: 5, fields: 2}},
	{"exactly BodyBytesMax", post("Content-Length: 10485760\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingLength, length: 10485760, fields: 2}},
	{"an empty body", post("Content-Length: 0\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, fields: 2}},
	{"a body on GET", get("Content-Length: 5\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingLength, length: 5, fields: 2}},
	{"chunked, in any case", post("Transfer-Encoding: ChunKed\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingChunked, length: -1, fields: 2}},

	{"100-continue", post("Expect: 100-Continue\r\nContent-Length: 5\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingLength, length: 5, expect100: true, fields: 3}},
	{"100-continue with a chunked body", post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, framing: FramingChunked, length: -1, expect100: true, fields: 3}},
	{"100-continue without a body waits for nothing", post("Expect: 100-continue\r\n"),
		shape{method: "POST", path: "/", host: "a", minor: 1, keepAlive: true, fields: 2}},
	{"100-continue on 1.0 is ignored", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
		shape{method: "POST", path: "/", framing: FramingLength, length: 5, fields: 2}},
	{"upgrade", get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, upgrade: true, fields: 3}},
	{"Upgrade that Connection does not name is not for us", get("Upgrade: websocket\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, fields: 2}},
	{"Connection: upgrade to nothing", get("Connection: upgrade\r\nUpgrade:\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, fields: 3}},
	{"upgrade on 1.0 is ignored", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
		shape{method: "GET", path: "/", fields: 2}},
	{"names as long as the steering ones, but others", get("Most: a\r\nExpekt: b\r\nContent-Xength: c\r\nConnectiom: close\r\nUpgrate: d\r\nTransfer-Encodinh: chunked\r\n"),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, fields: 7}},
	{"exactly HeaderCountMax", get(strings.Repeat("A: b\r\n", 99)),
		shape{method: "GET", path: "/", host: "a", minor: 1, keepAlive: true, fields: 100}},
}

func TestAcceptedRequests(t *testing.T) {
	lim := DefaultLimits()
	var reused Request
	for _, tt := range acceptedRequests {
		t.Run(tt.why, func(t *testing.T) {
			require.NoError(t, reused.Parse([]byte(tt.head), &lim))
			assert.Equal(t, tt.want, shapeOf(&reused))
			var fresh Request
			require.NoError(t, fresh.Parse([]byte(tt.head), nil))
			assert.Equal(t, tt.want, shapeOf(&fresh), "a reused request remembers nothing")
		})
	}
}

func TestHeaderValues(t *testing.T) {
	tests := []struct {
		why, line, name, want string
	}{
		{"plain", "A: b", "A", "b"},
		{"no whitespace after the colon", "A:b", "A", "b"},
		{"whitespace at both ends goes", "A: \t b c \t ", "A", "b c"},
		{"whitespace inside stays", "A: b \t c", "A", "b \t c"},
		{"empty", "A:", "A", ""},
		{"only whitespace", "A: \t ", "A", ""},
		{"colons in a value", "A: b:c: d", "A", "b:c: d"},
		{"obs-text", "A: \xe9\xff\x80", "A", "\xe9\xff\x80"},
		{"a tab deep in a long value", "A: 0123456789abcdef\t0123456789abcdef\t", "A", "0123456789abcdef\t0123456789abcdef"},
		{"every token byte in a name", "!#$%&'*+-.^_`|~09azAZ: x", "!#$%&'*+-.^_`|~09azAZ", "x"},
		{"the case of a name does not matter", "x-Request-ID: 7", "X-REQUEST-id", "7"},
		{"^ and ~ differ by the case bit and are no letters", "^: x", "^", "x"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			var r Request
			require.NoError(t, r.Parse([]byte(get(tt.line+"\r\n")), nil))
			got := r.Header(tt.name)
			assert.NotNil(t, got, "present, even if empty")
			assert.Equal(t, tt.want, string(got))
		})
	}
	var r Request
	require.NoError(t, r.Parse([]byte(get("A: 1\r\nB: x\r\na: 2\r\n")), nil))
	assert.Nil(t, r.Header("C"))
	assert.Equal(t, "1", string(r.Header("a")))
	var all []string
	for v := range r.Values("A") {
		all = append(all, string(v))
	}
	assert.Equal(t, []string{"1", "2"}, all)
	for v := range r.Values("A") {
		assert.Equal(t, "1", string(v))
		break
	}
}

// The capacity of a view ends with the view, so that an append to it cannot overwrite the next field or request.
func TestViewsEndWhereTheyEnd(t *testing.T) {
	buffer := []byte(startLine("GET /a?b HTTP/1.1\r\nX: y") + "NEXT")
	head := buffer[:len(buffer)-len("NEXT")]
	var r Request
	require.NoError(t, r.Parse(head, nil))
	before := string(buffer)
	views := [][]byte{r.Method, r.Target, r.Path, r.Query, r.Host}
	for _, h := range r.Headers() {
		views = append(views, h.Name, h.Value)
	}
	for _, v := range views {
		_ = append(v, "OVERWRITTEN"...)
	}
	assert.Equal(t, before, string(buffer))
}

func TestResetForgets(t *testing.T) {
	var r Request
	require.NoError(t, r.Parse([]byte(post("Content-Length: 5\r\nConnection: close\r\n")), nil))
	headers := r.Headers()
	r.Reset()
	for _, h := range headers {
		assert.Nil(t, h.Name, "a pooled request must not keep a connection's buffer alive")
	}
	for _, h := range r.wildcatParser.Headers {
		assert.Nil(t, h.Name)
		assert.Nil(t, h.Value)
	}
	assert.Equal(t, shape{}, shapeOf(&r))
	assert.Equal(t, guard{}, r.guard)
}
