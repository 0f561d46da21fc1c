package httpparse

import (
	"strings"
	"testing"

	"github.com/evanphx/wildcat"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The results of wildcat and of this package for invalid heads. A failure of the wildcat half after an upgrade means
// that its behaviour has changed and that the guard must be reviewed.
func TestWildcatsFaults(t *testing.T) {
	const evil = "GET /evil HTTP/1.1\r\nHost: e\r\n\r\n"
	tests := []struct {
		why     string
		input   string
		wildcat func(t *testing.T, p *wildcat.HTTPParser, n int, err error)
		slug    string
	}{
		{"without a colon it reads on into the next request", "GET / HTTP/1.1\r\nfoo\r\n\r\n" + evil,
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
				assert.Contains(t, string(p.Headers[0].Name), "GET /evil")
			}, "missing-colon"},
		{"a line break becomes part of the path", "GET /\r\nHost: a\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				assert.Equal(t, "/\r\nHost:", string(p.Path))
			}, "missing-version"},
		{"an empty value with LF hides the next line", "GET / HTTP/1.1\r\nHost: a\r\nA:\nContent-Length: 5\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
				assert.Equal(t, "\nContent-Length: 5", string(p.Headers[1].Value))
				assert.EqualValues(t, -1, p.ContentLength())
			}, "bare-lf"},
		{"whitespace before the colon is part of the name", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
				assert.Equal(t, "Content-Length ", string(p.Headers[1].Name))
				assert.EqualValues(t, -1, p.ContentLength())
			}, "space-before-colon"},
		{"the version is not looked at", "GET / FTP/9\r\nHost: a\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
				assert.Equal(t, "FTP/9", string(p.Version))
			}, "bad-version"},
		{"a fold is joined, at the cost of an allocation", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
				assert.Equal(t, "a b", string(p.Headers[0].Value))
			}, "obs-fold"},
		{"two thousand fields pass", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 2000) + "\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
				assert.Equal(t, "A", string(p.Headers[2000].Name))
			}, "too-many-headers"},
		{"a length it cannot read reads as none", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
				assert.EqualValues(t, -1, p.ContentLength())
			}, "bad-content-length"},
		{"the first of two hosts wins", "GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
				assert.Equal(t, "b", string(p.Host()), "the one spelled Host, at that")
			}, "duplicate-host"},
		{"a tab separates the request line", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
			}, "bad-method"},
		{"a bare CR ends nothing until the LF is missing", "GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				assert.Error(t, err)
			}, "bare-cr"},
		{"NUL passes", "GET / HTTP/1.1\r\nHost: a\r\nA: \x00\r\n\r\n",
			func(t *testing.T, p *wildcat.HTTPParser, n int, err error) {
				require.NoError(t, err)
			}, "control-byte"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			p := wildcat.NewHTTPParser()
			n, err := p.Parse([]byte(tt.input))
			tt.wildcat(t, p, n, err)

			var r Request
			var refusal *Error
			require.ErrorAs(t, r.Parse([]byte(tt.input), nil), &refusal)
			assert.Equal(t, tt.slug, refusal.Reason)
		})
	}
}

func TestWildcatPanicsOnALeadingFold(t *testing.T) {
	head := []byte("GET / HTTP/1.1\r\n folded\r\n\r\n")
	assert.Panics(t, func() { _, _ = wildcat.NewHTTPParser().Parse(head) })
	var r Request
	requireRefusal(t, r.Parse(head, nil), 400, "obs-fold")
}

func TestWildcatsEmptyValueIsACarriageReturn(t *testing.T) {
	head := []byte(get("A:\r\nB: \t\r\n"))
	p := wildcat.NewHTTPParser()
	_, err := p.Parse(head)
	require.NoError(t, err)
	assert.Equal(t, "\r", string(p.Headers[1].Value))

	var r Request
	require.NoError(t, r.Parse(head, nil))
	assert.Equal(t, []byte{}, r.Header("A"))
	assert.Equal(t, []byte{}, r.Header("B"))
}

func TestWildcatReusedRemembers(t *testing.T) {
	first := []byte("POST / HTTP/1.1\r\nHost: first\r\nContent-Length: 5\r\nCookie: secret\r\n\r\n")
	second := []byte("GET / HTTP/1.0\r\n\r\n")

	p := wildcat.NewHTTPParser()
	_, err := p.Parse(first)
	require.NoError(t, err)
	p.Host()
	p.ContentLength()
	_, err = p.Parse(second)
	require.NoError(t, err)
	assert.Equal(t, "first", string(p.Host()), "of the request before")
	assert.EqualValues(t, 5, p.ContentLength())
	assert.Equal(t, "secret", string(p.FindHeader([]byte("Cookie"))))

	var r Request
	require.NoError(t, r.Parse(first, nil))
	require.NoError(t, r.Parse(second, nil))
	assert.Nil(t, r.Host)
	assert.Zero(t, r.ContentLength)
	assert.Nil(t, r.Header("Cookie"))
	assert.Nil(t, r.wildcatParser.FindHeader([]byte("Cookie")), "nor in the parser itself")
}

// wildcat and the guard must agree on each byte. The result of the guard is modified here, and each disagreement must
// be detected without a panic.
func TestDisagreementIsNoticed(t *testing.T) {
	head := []byte("GET /a HTTP/1.1\r\nHost: a\r\nAccept:\r\nX: y \r\n\r\n")
	tests := []struct {
		why    string
		change func(g *guard)
	}{
		{"a field less", func(g *guard) { g.fields-- }},
		{"a field more", func(g *guard) { g.fields++ }},
		{"many more", func(g *guard) { g.fields += 40 }},
		{"no fields", func(g *guard) { g.fields = 0 }},
		{"another end of the method", func(g *guard) { g.methodEnd++ }},
		{"another end of the target", func(g *guard) { g.targetEnd-- }},
		{"fields that start elsewhere", func(g *guard) { g.fieldsAt++ }},
		{"fields that start after the first", func(g *guard) { g.fieldsAt += len("Host: a\r\n") }},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			var r Request
			lim := DefaultLimits()
			require.Equal(t, accepted, r.guard.validate(head, &lim))
			tt.change(&r.guard)
			require.NotPanics(t, func() { assert.False(t, r.splitWithWildcat(head)) })
		})
	}
	t.Run("and a head that is none", func(t *testing.T) {
		for _, bad := range []string{"", "GET", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r\nrest"} {
			var r Request
			assert.False(t, r.splitWithWildcat([]byte(bad)), "%q", bad)
		}
	})
}

// If wildcat disagrees with the guard, callers get the result of the guard.
func TestTheGuardsReadingStands(t *testing.T) {
	head := []byte("GET /a HTTP/1.1\r\nHost: a\r\nAccept:\r\nX: y \r\n\r\n")
	var whole, r Request
	require.NoError(t, whole.Parse(head, nil))
	require.NoError(t, r.Parse(head, nil))
	r.guard.methodEnd-- // the two differ
	require.Equal(t, whole.Headers(), r.Headers())
}
