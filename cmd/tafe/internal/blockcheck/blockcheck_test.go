package blockcheck_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/analysis/analysistest"

	"tafe/cmd/tafe/internal/blockcheck"
)

func TestAnalyzer(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), blockcheck.Analyzer, "example.com/handlers", "example.com/routes")
}

const output = `# shop
{
	"shop": {
		"blocking": [
			{"posn": "/src/shop/b.go:12:3", "message": "os.Open holds the loop: shop.b -> os.Open; use app.Offload"},
			{"posn": "/src/shop/b.go:9:3", "message": "time.Sleep holds the loop: shop.b -> time.Sleep; use Context.Sleep"}
		]
	}
}
# shop [shop.test]
{
	"shop [shop.test]": {
		"blocking": [
			{"posn": "/src/shop/b.go:9:3", "message": "time.Sleep holds the loop: shop.b -> time.Sleep; use Context.Sleep"},
			{"posn": "/src/shop/a.go:7:3", "message": "time.Sleep holds the loop: shop.a -> time.Sleep; use Context.Sleep"}
		],
		"other": {"error": "of another analyzer"}
	}
}
`

func TestRead(t *testing.T) {
	found, err := blockcheck.Read(strings.NewReader(output))
	require.NoError(t, err)
	var places []string
	for _, f := range found {
		places = append(places, f.File+" "+f.Position)
	}
	require.Equal(t, []string{"/src/shop/a.go 7:3", "/src/shop/b.go 9:3", "/src/shop/b.go 12:3"}, places,
		"sorted by line, and each finding once")

	for _, c := range []struct{ output, want, why string }{
		{`{"shop": {"blocking": {"error": "boom"}}}`, "shop: boom", "the analyzer failed"},
		{"panic: boom", "the output of go vet", "the output is something else"},
	} {
		_, err := blockcheck.Read(strings.NewReader(c.output))
		require.ErrorContains(t, err, c.want, c.why)
	}
	found, err = blockcheck.Read(strings.NewReader("# shop\n{}\n"))
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestBaseline(t *testing.T) {
	found, err := blockcheck.Read(strings.NewReader(output))
	require.NoError(t, err)
	var file strings.Builder
	require.NoError(t, blockcheck.WriteBaseline(&file, filepath.FromSlash("/src"), found[:2]))
	require.Contains(t, file.String(), "\nshop/a.go: time.Sleep holds the loop: shop.a -> time.Sleep; use Context.Sleep\n")

	known, err := blockcheck.ReadBaseline(strings.NewReader(file.String()), "/src")
	require.NoError(t, err)
	for _, c := range []struct {
		found []blockcheck.Finding
		news  int
		stale int
		why   string
	}{
		{found, 1, 0, "the third is new"},
		{found[:2], 0, 0, "all are known"},
		{found[1:2], 0, 1, "one is no longer there"},
		{append(found[:2:2], moved(found[0])), 1, 0, "the same finding a second time is new"},
		{[]blockcheck.Finding{moved(found[0])}, 0, 1, "another line is the same finding"},
	} {
		news, stale := known.News(c.found)
		require.Len(t, news, c.news, c.why)
		require.Equal(t, c.stale, stale, c.why)
	}
	_, err = blockcheck.ReadBaseline(strings.NewReader("# comment\n\nnothing\n"), "/src")
	require.ErrorContains(t, err, "line 3")
}

func moved(f blockcheck.Finding) blockcheck.Finding {
	f.Position = "99:1"
	return f
}
