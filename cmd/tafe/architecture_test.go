// docs/architecture.svg, the picture of the packages and their imports, is drawn here:
//
//	go test ./cmd/tafe -run Architecture -update

package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/architecture.svg")

const (
	boxWidth, boxHeight = 172, 40
	boxGap, levelGap    = 18, 52
	pictureMargin       = 24
)

// box is a package in the picture.
type box struct {
	path     string
	uses     []string // packages of the module
	external []string // modules of others
	level    int      // 0 imports nothing of the module
	x, y     int
}

func TestArchitecturePictureIsCurrent(t *testing.T) {
	onceIsEnough(t)
	file := filepath.Join(moduleRoot(t), "docs", "architecture.svg")
	drawn := drawPackages(packageBoxes(listPackages(t)))
	if *update {
		require.NoError(t, os.WriteFile(file, drawn, 0o644))
	}
	stored, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(drawn, stored), "docs/architecture.svg is stale: go test ./cmd/tafe -run Architecture -update")
}

// Every path of a file in docs/architecture.md exists.
func TestArchitectureNamesFilesThatExist(t *testing.T) {
	root := moduleRoot(t)
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	require.NoError(t, err)
	found := 0
	for _, name := range strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \n`|,;()[]", r) }) {
		name = strings.TrimSuffix(name, ".")
		if !strings.HasSuffix(name, ".go") || !strings.Contains(name, "/") {
			continue
		}
		found++
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("docs/architecture.md: %v", err)
		}
	}
	require.Greater(t, found, 20)
}

// packageBoxes returns the packages of the server. It leaves out internal packages that only tests import, and those that import testify.
func packageBoxes(packages []listedPackage) []*box {
	used := map[string]bool{}
	for _, p := range packages {
		for _, name := range p.Imports {
			used[name] = true
		}
	}
	var boxes []*box
	byPath := map[string]*box{}
	for _, p := range packages {
		if strings.Contains(p.ImportPath, "/internal/") && !used[p.ImportPath] || slices.Contains(p.Imports, "github.com/stretchr/testify/require") {
			continue
		}
		b := &box{path: strings.TrimPrefix(p.ImportPath, module+"/")}
		for _, name := range p.Imports {
			if own, ok := strings.CutPrefix(name, module+"/"); ok {
				b.uses = append(b.uses, own)
			} else if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") {
				b.external = append(b.external, shortModule(name))
			}
		}
		slices.Sort(b.external)
		b.external = slices.Compact(b.external)
		boxes, byPath[b.path] = append(boxes, b), b
	}
	for range boxes { // as often as the longest chain can be long
		for _, b := range boxes {
			for _, use := range b.uses {
				b.level = max(b.level, byPath[use].level+1)
			}
		}
	}
	for _, b := range boxes {
		b.uses = withoutIndirect(b.uses, byPath)
	}
	return boxes
}

// shortModule returns the last telling part of an import path.
func shortModule(name string) string {
	for _, known := range []string{"netpoll", "wildcat", "go-proxyproto", "redigo", "gomemcache", "go-systemd", "go-toml", "brotli", "compress",
		"client_golang", "otel", "x/sys"} {
		if strings.Contains(name, known) {
			return known
		}
	}
	if strings.Contains(name, "gnet") {
		return "netpoll"
	}
	return name
}

// withoutIndirect drops the imports that another import has as well, directly or not: the picture shows the others.
func withoutIndirect(uses []string, byPath map[string]*box) (direct []string) {
	var reaches func(from, to string) bool
	reaches = func(from, to string) bool {
		return slices.ContainsFunc(byPath[from].uses, func(use string) bool { return use == to || reaches(use, to) })
	}
	for _, use := range uses {
		if !slices.ContainsFunc(uses, func(other string) bool { return other != use && reaches(other, use) }) {
			direct = append(direct, use)
		}
	}
	return direct
}

// placeBoxes gives each box its place: a row for each level, the highest on top, and in a row each box near those that import it.
func placeBoxes(boxes []*box) (width, height int) {
	levels := 0
	for _, b := range boxes {
		levels = max(levels, b.level+1)
	}
	widest := 0
	rows := make([][]*box, levels)
	for _, b := range boxes {
		rows[b.level] = append(rows[b.level], b)
		widest = max(widest, len(rows[b.level]))
	}
	width = 2*pictureMargin + widest*(boxWidth+boxGap) - boxGap
	for level := levels - 1; level >= 0; level-- {
		row := rows[level]
		center := func(b *box) int {
			sum, n := 0, 0
			for _, other := range boxes {
				if other.level > level && slices.Contains(other.uses, b.path) {
					sum, n = sum+other.x, n+1
				}
			}
			if n == 0 {
				return width / 2
			}
			return sum / n
		}
		slices.SortFunc(row, func(a, b *box) int { return cmp.Or(cmp.Compare(center(a), center(b)), cmp.Compare(a.path, b.path)) })
		step := (width - 2*pictureMargin) / len(row)
		for i, b := range row {
			b.x = pictureMargin + i*step + (step-boxWidth)/2
			b.y = pictureMargin + (levels-1-level)*(boxHeight+levelGap)
		}
	}
	return width, 2*pictureMargin + levels*(boxHeight+levelGap) - levelGap
}

var folderColors = map[string]string{"loop": "#d6e6fa", "httpparse": "#d9f0d9", "app": "#fde8c8", "cmd": "#e6e1f3"}

func drawPackages(boxes []*box) []byte {
	width, height := placeBoxes(boxes)
	byPath := map[string]*box{}
	for _, b := range boxes {
		byPath[b.path] = b
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" text-anchor="middle">`+"\n", width, height)
	fmt.Fprintf(&out, "<title>Packages of tafe and their imports</title>\n")
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&out, `<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#667"/></marker></defs>`+"\n")
	for _, b := range boxes {
		for _, use := range b.uses {
			to := byPath[use]
			x1, y1, x2, y2 := b.x+boxWidth/2, b.y+boxHeight, to.x+boxWidth/2, to.y
			fmt.Fprintf(&out, `<path d="M%d %dC%d %d %d %d %d %d" fill="none" stroke="#667" stroke-opacity=".6" marker-end="url(#a)"/>`+"\n",
				x1, y1, x1, y1+levelGap*2/3, x2, y2-levelGap*2/3, x2, y2)
		}
	}
	for _, b := range boxes {
		top, _, _ := strings.Cut(b.path, "/")
		fmt.Fprintf(&out, `<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s" stroke="#889"/>`+"\n", b.x, b.y, boxWidth, boxHeight, folderColors[top])
		line := b.y + boxHeight/2 + 5
		if len(b.external) > 0 {
			line = b.y + 17
			fmt.Fprintf(&out, `<text x="%d" y="%d" font-size="10" fill="#556">%s</text>`+"\n", b.x+boxWidth/2, b.y+32, html.EscapeString(strings.Join(b.external, ", ")))
		}
		fmt.Fprintf(&out, `<text x="%d" y="%d" font-size="12">%s</text>`+"\n", b.x+boxWidth/2, line, html.EscapeString(strings.Replace(b.path, "app/edge/internal/", "…/internal/", 1)))
	}
	fmt.Fprintf(&out, "</svg>\n")
	return out.Bytes()
}
