// Directory listings, which are off unless Options.List is set.

package static

import (
	"errors"
	"html"
	"io"
	"io/fs"
	"slices"
	"strings"

	"tafe/app"
)

// readDirectory reads the directory of a, or returns fs.ErrNotExist if listings are off. It blocks.
func (s *Site) readDirectory(t *tree, a *asset) error {
	if !s.o.List {
		return fs.ErrNotExist
	}
	f, err := t.root.Open(a.file)
	if err != nil {
		return err
	}
	defer f.Close()
	all, ok := f.(fs.ReadDirFile)
	if !ok {
		return fs.ErrNotExist
	}
	entries, err := all.ReadDir(s.o.ListMax + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	a.kind = isListing
	if a.truncated = len(entries) > s.o.ListMax; a.truncated {
		entries = entries[:s.o.ListMax]
	}
	a.entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		link := e.Type()&fs.ModeSymlink != 0
		return !s.acceptable(e.Name()) || !e.IsDir() && !e.Type().IsRegular() && (!link || s.o.NoSymlinks)
	})
	slices.SortFunc(a.entries, func(x, y fs.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	return nil
}

// list sends the listing of a directory. Names are escaped for HTML and for URLs.
func (s *Site) list(c *app.Context, a *asset) error {
	const style = `<style>body{font-family:monospace}</style>`
	title := html.EscapeString("/" + strings.TrimPrefix(a.file, "."))
	c.SetHeader("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	c.SetHeader("Cache-Control", "no-cache")
	w := c.Stream(200, "text/html; charset=utf-8")
	var b strings.Builder
	b.WriteString("<!doctype html><title>" + title + "</title>" + style + "<h1>" + title + "</h1><ul>\n")
	if a.file != "." {
		b.WriteString("<li><a href=\"../\">../</a>\n")
	}
	for i, e := range a.entries {
		name, mark := e.Name(), ""
		if e.IsDir() {
			mark = "/"
		}
		b.WriteString(`<li><a href="./` + escape(name) + mark + `">` + html.EscapeString(name) + mark + "</a>\n")
		if i%256 == 255 {
			if _, err := io.WriteString(w, b.String()); err != nil {
				return err
			}
			b.Reset()
			if err := c.YieldIfDue(); err != nil {
				return err
			}
		}
	}
	b.WriteString("</ul>\n")
	if a.truncated {
		b.WriteString("<p>There are more files than this page shows.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
