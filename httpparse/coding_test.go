package httpparse

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAcceptEncoding(t *testing.T) {
	for _, c := range []struct {
		value string
		want  CodingWeights // zstd, br, gzip, identity
		why   string
	}{
		{"", CodingWeights{0, 0, 0, 1}, "nothing but the thing itself"},
		{"gzip, deflate, br, zstd", CodingWeights{1000, 1000, 1000, 1}, "a browser"},
		{"GZIP;q=0.5, x-gzip;q=0.25", CodingWeights{0, 0, 250, 1}, "any case, the old name; the last counts"},
		{"*", CodingWeights{1000, 1000, 1000, 1000}, "anything"},
		{"br;q=1.000,*;q=0", CodingWeights{0, 1000, 0, 0}, "nothing else"},
		{"identity;q=0, gzip;q=0.001", CodingWeights{0, 0, 1, 0}, "not the thing itself"},
		{"gzip;q=2, br;q=x, zstd;level=1", CodingWeights{0, 0, 0, 1}, "no weights: as if not there"},
		{" gzip ; q=0.8 ,, br", CodingWeights{0, 1000, 800, 1}, "spaces and empty elements"},
	} {
		require.Equal(t, c.want, ParseAcceptEncoding(c.value), "%q: %s", c.value, c.why)
	}
}

func FuzzAcceptEncoding(f *testing.F) {
	for _, s := range []string{"gzip", "br;q=0.5, gzip", "*;q=0", "identity;q=0, *", "zstd;q=1.000", "x-gzip;q=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, w := range ParseAcceptEncoding(value) {
			if w < 0 || w > 1000 {
				t.Fatalf("%q: weight %d", value, w)
			}
		}
	})
}
