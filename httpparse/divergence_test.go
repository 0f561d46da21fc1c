package httpparse

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/DIVERGENCES.md from the table")

// divergences lists each class of requests on which this package and http.ReadRequest differ, with an example and the
// reason. FuzzRequestNetHTTP fails on a divergence that is not listed, and TestDivergences on a row without a
// divergence.
//
// class is the slug if only this package rejects the request, "net/http: " and a part of the error if only net/http
// does, and "reads: " and the attribute if both accept it and read it differently.
var divergences = []struct {
	class, example, why string
}{
	{"bare-lf", "GET / HTTP/1.1\nHost: a\n\n",
		"net/http takes LF for a line end, as RFC 9112 section 2.2 allows; a proxy before it that does not sees other messages"},
	{"obs-fold", get("A: b\r\n c\r\n"),
		"net/http joins folded lines; RFC 9112 section 5.2 lets a server refuse, and what stands before us may not join"},
	{"space-before-colon", get("A : b\r\n"),
		"ReadRequest leaves the check to http.Server; RFC 9112 section 5.1 demands 400"},
	{"bad-header-name", get("A B: c\r\n"),
		"ReadRequest leaves the check to http.Server"},
	{"long-method", startLine(strings.Repeat("A", 33) + " / HTTP/1.1"),
		"we answer 501 to a method longer than any registered one"},
	{"unsupported-version", startLine("GET / HTTP/0.9"),
		"ReadRequest reads any version; http.Server answers 505 to major versions other than 1"},
	{"non-ascii-target", startLine("GET /caf\xc3\xa9 HTTP/1.1"),
		"net/url takes raw UTF-8; RFC 3986 has no such character, and re-encodings differ"},
	{"fragment-in-target", startLine("GET /a#b HTTP/1.1"),
		"net/url keeps '#' in the path or query; RFC 9112 section 3.2 has no fragment in any form"},
	{"bad-target", startLine("GET /\"a\" HTTP/1.1"),
		"net/url is lenient with characters; we take RFC 3986 and what browsers send raw, no more"},
	{"target-too-long", startLine("GET /" + strings.Repeat("a", 8192) + " HTTP/1.1"),
		"a limit of ours; ReadRequest has none, http.Server one for the whole head"},
	{"target-form", startLine("GET * HTTP/1.1"),
		"net/http takes any form with any method; RFC 9112 section 3.2 ties forms to methods"},
	{"head-too-large", get("A: " + strings.Repeat("b", 32<<10) + "\r\n"),
		"a limit of ours"},
	{"too-many-headers", get(strings.Repeat("A: b\r\n", 100)),
		"a limit of ours"},
	{"missing-host", "GET / HTTP/1.1\r\n\r\n",
		"ReadRequest leaves the check to http.Server; RFC 9112 section 3.2 demands 400"},
	{"empty-host", "GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"net/http leaves the host to the handler; an http URI without one is invalid (RFC 9110 section 4.2.1)"},
	{"bad-host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"ReadRequest leaves the check to http.Server, which checks characters only"},
	{"duplicate-content-length", post("Content-Length: 5\r\nContent-Length: 5\r\n"),
		"net/http merges lengths that agree; RFC 9112 section 6.3 lets a server refuse"},
	{"body-too-large", post("Content-Length: 10485761\r\n"),
		"a limit of ours"},
	{"bad-transfer-encoding", post("Transfer-Encoding:\r\n chunked\r\n"),
		"net/http joins folded lines; the value of the first one is empty"},
	{"length-and-coding", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
		"net/http lets chunked win; RFC 9112 section 6.3 lets a server refuse, and this is the classic smuggle"},
	{"transfer-encoding-in-1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"net/http ignores the field on 1.0, and so would read the body as the next request; RFC 9112 section 6.1 calls the framing faulty"},
	{"connect-with-body", startLine("CONNECT a:80 HTTP/1.1\r\nContent-Length: 5"),
		"what follows a CONNECT belongs to the tunnel: a declared body leaves two readings"},
	{"unknown-expectation", post("Expect: 200-ok\r\n"),
		"ReadRequest leaves the answer 417 to http.Server"},

	{"net/http: malformed HTTP request", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"we tolerate empty lines before a request, as RFC 9112 section 2.2 asks"},
	{"net/http: invalid URL escape", startLine("GET /%zz HTTP/1.1"),
		"our Path is raw and stays so until DecodePath, which refuses the same"},

	{"reads: empty path", startLine("GET http://a HTTP/1.1"),
		"an absolute target without a path means \"/\", or \"*\" for OPTIONS (RFC 9112 section 3.2.4); net/http leaves it to the handler"},
	{"reads: host", startLine("GET http://caf%C3%A9/ HTTP/1.1"),
		"net/url decodes non-ASCII escapes in a host; our Host is raw, as the field would be"},
	{"reads: added Cache-Control", get("Pragma: no-cache\r\n"),
		"net/http turns Pragma: no-cache into a Cache-Control field; we hand on what was sent"},
	{"reads: minor version", startLine("GET / HTTP/1.9"),
		"we report the minor version whose rules apply, never one above 1 (RFC 9110 section 2.5)"},
}

func listed(class string) bool {
	for _, d := range divergences {
		if d.class == class {
			return true
		}
		if part, ok := strings.CutPrefix(d.class, "net/http: "); ok && strings.HasPrefix(class, "net/http: ") && strings.Contains(class, part) {
			return true
		}
	}
	return false
}

// divergence classifies the difference between this package and http.ReadRequest for b; "" means none.
func divergence(b []byte) string {
	var r Request
	head, err := parseWhole(b, &r)
	theirs, theirErr := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(b), len(b)+16))
	switch {
	case err != nil && theirErr != nil, head == nil && err == nil && theirErr != nil:
		return ""
	case err != nil:
		return err.(*Error).Reason
	case head == nil:
		return "incomplete"
	case theirErr != nil:
		return "net/http: " + theirErr.Error()
	}
	if attribute := readsDifferently(&r, theirs); attribute != "" {
		return "reads: " + attribute
	}
	return ""
}

// readsDifferently returns the first attribute on which the two results differ.
func readsDifferently(r *Request, theirs *http.Request) string {
	path, err := DecodePath(nil, r.Path)
	switch {
	case string(r.Method) != theirs.Method:
		return "method"
	case string(r.Target) != theirs.RequestURI:
		return "target"
	case string(r.Host) != theirs.Host:
		return "host"
	case string(r.Query) != theirs.URL.RawQuery:
		return "query"
	case theirs.URL.Path == "" && len(path) == 1 && r.Target[0] != '/':
		return "empty path"
	case err == nil && string(path) != theirs.URL.Path:
		return "path"
	case r.ContentLength != theirs.ContentLength:
		return "length"
	case (r.Framing == FramingChunked) != (len(theirs.TransferEncoding) == 1):
		return "chunked"
	case int(r.Minor) != theirs.ProtoMinor:
		return "minor version"
	case r.KeepAlive == theirs.Close:
		return "keep-alive"
	}
	return headersDiffer(r, theirs)
}

// headersDiffer compares the fields by their canonical names, except those that net/http removes.
func headersDiffer(r *Request, theirs *http.Request) string {
	ours := http.Header{}
	for _, h := range r.Headers() {
		name := textproto.CanonicalMIMEHeaderKey(string(h.Name))
		switch name {
		case "Host", "Transfer-Encoding", "Trailer":
			continue
		}
		ours[name] = append(ours[name], string(h.Value))
	}
	theirs.Header.Del("Trailer")
	if _, sent := ours["Cache-Control"]; !sent && theirs.Header.Get("Cache-Control") != "" {
		return "added Cache-Control"
	}
	for name, values := range ours {
		if strings.Join(values, "\n") != strings.Join(theirs.Header[name], "\n") {
			return "field " + name
		}
	}
	if len(ours) != len(theirs.Header) {
		return "fields"
	}
	return ""
}

// Each row is a divergence of its class.
func TestDivergences(t *testing.T) {
	for _, d := range divergences {
		t.Run(d.class, func(t *testing.T) {
			got := divergence([]byte(d.example))
			if part, ok := strings.CutPrefix(d.class, "net/http: "); ok {
				assert.Contains(t, got, part)
				return
			}
			assert.Equal(t, d.class, got)
		})
	}
}

// No input of the parse tests has an unlisted divergence.
func TestParseTablesAgainstNetHTTP(t *testing.T) {
	for _, tt := range refusedRequests {
		class := divergence([]byte(tt.head))
		assert.True(t, class == "" || listed(class), "%s: %s", tt.why, class)
	}
	for _, tt := range acceptedRequests {
		class := divergence([]byte(tt.head))
		assert.True(t, class == "" || listed(class), "%s: %s", tt.why, class)
	}
}

// testdata/DIVERGENCES.md is generated from the tables by -update.
func TestDivergencesDocument(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("# Where httpparse and net/http differ\n\n" +
		"Written from the tables in divergence_test.go by `go test -run TestDivergencesDocument -update`; the fuzz targets\n" +
		"FuzzRequestNetHTTP and FuzzChunkedNetHTTP fail on any class that is not here.\n\n" +
		"A plain slug is a refusal of ours that `http.ReadRequest` does not share. `net/http:` marks what it alone refuses,\n" +
		"`reads:` what both accept and read differently.\n\n## Request heads\n\n| class | why |\n|---|---|\n")
	for _, d := range divergences {
		fmt.Fprintf(&doc, "| `%s` | %s |\n", d.class, d.why)
	}
	doc.WriteString("\n## Chunked bodies\n\n| class | why |\n|---|---|\n")
	for _, d := range chunkedDivergences {
		fmt.Fprintf(&doc, "| `%s` | %s |\n", d.class, d.why)
	}
	const path = "testdata/DIVERGENCES.md"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(doc.String()), 0o644))
	}
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, doc.String(), string(written), "run go test -run TestDivergencesDocument -update")
}

func FuzzRequestNetHTTP(f *testing.F) {
	for _, d := range divergences {
		if len(d.example) < 2048 {
			f.Add([]byte(d.example))
		}
	}
	for _, tt := range acceptedRequests {
		f.Add([]byte(tt.head))
	}
	f.Add(browserHead)
	f.Fuzz(func(t *testing.T, b []byte) {
		if class := divergence(b); class != "" && !listed(class) {
			t.Fatalf("an unlisted divergence: %s", class)
		}
	})
}

// chunkedDivergences is the table for the chunked coding, against httputil.NewChunkedReader. That reader does not
// parse the trailer section, so only the data is compared.
var chunkedDivergences = []struct {
	class, example, why string
}{
	{"bad-chunk-size", "5 \r\nhello\r\n0\r\n\r\n",
		"net/http trims whitespace after the size and cuts an extension without looking at it"},
	{"control-byte", "5;\x00\r\nhello\r\n0\r\n\r\n",
		"net/http does not look at extensions"},
	{"bad-chunk-extension", "5;a=\r\nhello\r\n0\r\n\r\n",
		"as above"},
	{"chunk-overhead", "5;" + strings.Repeat("a", 3000) + "\r\nhello\r\n0\r\n\r\n",
		"a limit of ours, which net/http sets at 16 KiB"},
	{"body-too-large", "a00001\r\n" + strings.Repeat("a", 0xa00001) + "\r\n0\r\n\r\n",
		"a limit of ours"},
}

// chunkedDivergence classifies the difference between this package and net/http for b; "" means none.
func chunkedDivergence(b []byte) string {
	lim := DefaultLimits()
	lim.ChunkOverheadMax = 2 << 10
	out, _, done, _, err := decodeIn(len(b)+1, b, &lim)
	theirs, theirErr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(b)))
	switch {
	case err != nil && theirErr == nil:
		return err.(*Error).Reason
	case done && theirErr != nil:
		return "net/http: " + theirErr.Error()
	case done && !bytes.Equal(out, theirs):
		return "reads: data"
	}
	return ""
}

// reachesTrailer reports whether an error concerns the trailer section, which the other reader does not parse.
func reachesTrailer(b []byte) bool {
	var d Body
	d.BeginRequest(chunkedRequest, nil)
	for i := range b {
		if d.chunks.state == inTrailer {
			return true
		}
		if _, _, err := d.Decode(nil, b[i:i+1]); err != nil {
			return d.chunks.state == inTrailer
		}
	}
	return d.chunks.state == inTrailer
}

func TestChunkedDivergences(t *testing.T) {
	for _, d := range chunkedDivergences {
		t.Run(d.class, func(t *testing.T) {
			assert.Equal(t, d.class, chunkedDivergence([]byte(d.example)))
		})
	}
}

func FuzzChunkedNetHTTP(f *testing.F) {
	for _, d := range chunkedDivergences {
		if len(d.example) < 2048 {
			f.Add([]byte(d.example))
		}
	}
	f.Add([]byte("5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nX: y\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		class := chunkedDivergence(b)
		for _, d := range chunkedDivergences {
			if class == d.class {
				return
			}
		}
		if class != "" && !reachesTrailer(b) {
			t.Fatalf("an unlisted divergence: %s", class)
		}
	})
}
