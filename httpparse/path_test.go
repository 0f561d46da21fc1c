package httpparse

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecodePath(t *testing.T) {
	tests := []struct {
		why, path, want, slug string
	}{
		{"nothing to decode", "/a/b", "/a/b", ""},
		{"an escape", "/caf%C3%a9", "/caf\xc3\xa9", ""},
		{"a plus is a plus in a path", "/a+b", "/a+b", ""},
		{"an escaped slash", "/a%2Fb", "/a/b", ""},
		{"decoded once, never twice", "/%252e", "/%2e", ""},
		{"an escaped percent at the end", "/%25", "/%", ""},
		{"an escape cut short", "/a%4", "", "bad-escape"},
		{"a percent alone", "/a%", "", "bad-escape"},
		{"no digits", "/%zz", "", "bad-escape"},
		{"one digit", "/%4z", "", "bad-escape"},
		{"the escapes of IIS", "/%u0041", "", "bad-escape"},
		{"NUL ends a path for a file system", "/a%00.txt", "", "escaped-nul"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			got, err := DecodePath([]byte("x"), []byte(tt.path))
			if tt.slug != "" {
				requireRefusal(t, err, 400, tt.slug)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "x"+tt.want, string(got))
			path := []byte(tt.path)
			got, err = DecodePath(path[:0], path)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got), "in place")
		})
	}
}

func TestNormalizePath(t *testing.T) {
	tests := []struct {
		why, path, want, slug string
	}{
		{"nothing to do", "/a/b", "/a/b", ""},
		{"the root", "/", "/", ""},
		{"a trailing slash stays", "/a/", "/a/", ""},
		{"the example of RFC 3986", "/a/b/c/./../../g", "/a/g", ""},
		{"a dot at the end names the directory", "/a/.", "/a/", ""},
		{"two dots at the end", "/a/b/..", "/a/", ""},
		{"back to the root", "/a/..", "/", ""},
		{"back to the root and on", "/a/../b", "/b", ""},
		{"a dot in front", "/./a", "/a", ""},
		{"three dots are a name", "/.../a", "/.../a", ""},
		{"names that start with dots", "/..a/.b", "/..a/.b", ""},
		{"empty segments stay", "//a//b", "//a//b", ""},
		{"an empty segment can be left", "/a//../b", "/a/b", ""},
		{"above the root", "/..", "", "path-above-root"},
		{"above the root and down", "/../etc/passwd", "", "path-above-root"},
		{"down, up and above", "/a/../../b", "", "path-above-root"},
		{"above, hidden by dots", "/./../b", "", "path-above-root"},
		{"not absolute", "a/b", "", "bad-target"},
		{"empty", "", "", "bad-target"},
		{"the asterisk", "*", "", "bad-target"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			got, err := NormalizePath([]byte("x/"), []byte(tt.path))
			if tt.slug != "" {
				requireRefusal(t, err, 400, tt.slug)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "x/"+tt.want, string(got), "what stood in dst before is not climbed into")
			path := []byte(tt.path)
			got, err = NormalizePath(path[:0], path)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got), "in place")
		})
	}
}

func TestQuery(t *testing.T) {
	type pairs [][2]string
	tests := []struct {
		why, query string
		want       pairs
	}{
		{"none", "", nil},
		{"one", "a=1", pairs{{"a", "1"}}},
		{"two", "a=1&b=2", pairs{{"a", "1"}, {"b", "2"}}},
		{"no value", "a&b=", pairs{{"a", ""}, {"b", ""}}},
		{"no key", "=1", pairs{{"", "1"}}},
		{"an equals sign in a value", "a=b=c", pairs{{"a", "b=c"}}},
		{"empty pairs", "&&a=1&", pairs{{"a", "1"}}},
		{"repeated keys keep their order", "a=2&a=1", pairs{{"a", "2"}, {"a", "1"}}},
		{"still encoded", "a+b=%41", pairs{{"a+b", "%41"}}},
		{"a semicolon is no separator", "a=1;b=2", pairs{{"a", "1;b=2"}}},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			seq := Query([]byte(tt.query))
			for range 2 { // a sequence can be walked again
				var got pairs
				for k, v := range seq {
					got = append(got, [2]string{string(k), string(v)})
				}
				assert.Equal(t, tt.want, got)
			}
		})
	}
	for k, v := range Query([]byte("a&b")) {
		assert.Equal(t, "a", string(k))
		assert.Nil(t, v, "no equals sign, no value")
		break
	}
}

func TestDecodeQuery(t *testing.T) {
	tests := []struct {
		why, raw, want, slug string
	}{
		{"plain", "abc", "abc", ""},
		{"a plus is a space", "a+b", "a b", ""},
		{"an escaped plus", "a%2Bb", "a+b", ""},
		{"NUL is data here", "%00", "\x00", ""},
		{"an escape cut short", "a%4", "", "bad-escape"},
		{"a percent alone", "100%", "", "bad-escape"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			got, err := DecodeQuery(nil, []byte(tt.raw))
			if tt.slug != "" {
				requireRefusal(t, err, 400, tt.slug)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
		})
	}
}
