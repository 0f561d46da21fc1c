// [[site]]: the routes of some hosts.

package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"tafe/app"
	"tafe/app/static"
	"tafe/app/variable"
)

// Site is one [[site]]: the routes of some hosts. A request goes to the site with the most specific host: the exact name
// first, then the longest wildcard, then "*". If no route of the site matches, the routes outside of sites are tried, which
// serve all hosts.
type Site struct {
	// Host names, such as ["example.com", "*.example.org"]. A wildcard stands for all hosts below a name, at any depth. "*"
	// stands for the hosts that no other site names.
	Host []SiteHost `toml:"host" required:"yes"`
	// Certificates for the hosts, such as [{ cert = "a.pem", key = "a.key" }], on all listeners with tls, beside those of the
	// listener. A client gets the one whose name is the most specific.
	Certs []Certificate `toml:"certs"`
	// Pages for errors that the server answers itself, by status, such as { 404 = "404.html", 5xx = "error.html" }. Texts like
	// {status} and {request_id} are replaced. The extension is .html, .json or .txt. Clients that ask for JSON
	// get no HTML page.
	ErrorPages map[string]string `toml:"error_pages"`
	// Access log of the site, in place of [access_log].
	AccessLog *SiteAccessLog `toml:"access_log"`
	// Middlewares around all routes of the site and its responses without a route, inside those of all requests. They do not apply
	// to routes outside of sites.
	Middleware Middleware `toml:"middleware"`
	// Routes of the site, with the keys of [[route]].
	Routes []Route `toml:"route"`
}

// SiteHost is the name of a site. Names in other scripts than ASCII are converted to A-labels.
type SiteHost string

func (h *SiteHost) set(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New(`want a host in quotes, such as "example.com", "*.example.org" or "*"`)
	}
	name := text
	if strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }) {
		wildcard := ""
		if rest, ok := strings.CutPrefix(name, "*."); ok {
			wildcard, name = "*.", rest
		}
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return errors.New("not an internationalized host name (RFC 5891)")
		}
		name = wildcard + ascii
	}
	if err := app.CheckHost(name); err != nil {
		return err
	}
	*h = SiteHost(strings.ToLower(name))
	return nil
}

// eachRoute calls f for all routes, of sites too, with their place.
func (c *Config) eachRoute(f func(p path, r *Route)) {
	for i := range c.Routes {
		f(path{"route"}.index(i), &c.Routes[i])
	}
	for i := range c.Sites {
		for j := range c.Sites[i].Routes {
			f(path{"site"}.index(i).child("route").index(j), &c.Sites[i].Routes[j])
		}
	}
}

// RouteCount returns the number of routes, with those of sites.
func (c *Config) RouteCount() (n int) {
	c.eachRoute(func(path, *Route) { n++ })
	return n
}

// sites checks the sites against one another.
func (d *decoder) sites(c *Config) {
	first := map[SiteHost]path{}
	for i := range c.Sites {
		s, p := &c.Sites[i], path{"site"}.index(i)
		if len(s.Host) == 0 && d.hasKey(p.child("host")) {
			d.problem(p.child("host"), `site.host is empty: want names, or ["*"] for all other hosts`)
		}
		for j, name := range s.Host {
			at := p.child("host").index(j)
			if other, taken := first[name]; taken && name != "" {
				d.problem(at, "site.host has %q, which line %d has already", string(name), d.line(other))
				continue
			}
			first[name] = at
		}
		if len(s.Routes) == 0 {
			d.problem(p, "the site %s has no [[site.route]]", s.name())
		}
		d.middleware(p.child("middleware"), &s.Middleware)
	}
}

func (s *Site) name() string {
	if len(s.Host) == 0 {
		return "without a host"
	}
	return string(s.Host[0])
}

// site registers a site with its routes.
func (b *builder) site(i int) {
	s, p := &b.config.Sites[i], path{"site"}.index(i)
	names := make([]string, len(s.Host))
	for j, name := range s.Host {
		names[j] = string(name)
	}
	var host *app.Host
	if !b.spoilt[p.part()] && len(names) > 0 {
		b.attempt(p.child("host"), func() { host = b.app.Host(names...) })
	}
	if host == nil { // to find the problems of its routes
		host = app.New(app.Options{}).Host("*")
	}
	host.Use(b.middlewares(p.child("middleware"), &s.Middleware, "")...)
	if pages := b.pages(p.child("error_pages"), s.ErrorPages); pages != nil {
		host.ErrorPages(pages)
	}
	if s.AccessLog != nil {
		if record := b.siteLog(p.child("access_log"), s.AccessLog); record != nil {
			host.AccessLog(record)
		}
	}
	b.register(host, p.child("route"), s.Routes)
}

// page is an error page.
type page struct {
	status, mask int // mask 100: all statuses of the class
	contentType  string
	text         *variable.Template
	html         bool
}

// pages reads the error pages of a table. A page that cannot be read is not used.
func (b *builder) pages(p path, table map[string]string) app.ErrorPage {
	var all []page
	for key, file := range table {
		at := p.child(key)
		status, mask, ok := statusKey(key)
		if !ok {
			b.problem(at, `%s has %q: want a status from 400 to 599, or 4xx or 5xx`, p, key)
			continue
		}
		extension := strings.ToLower(filepath.Ext(file))
		if !slices.Contains(pageTypes, extension) {
			b.problem(at, "%s.%s = %q: want a file with one of the extensions %s", p, key, file, strings.Join(pageTypes, ", "))
			continue
		}
		text, err := readPage(file)
		if err != nil {
			b.broken(at, "%s.%s: %s", p, key, withoutCall(err))
			continue
		}
		contentType := static.TypeOf(extension)
		if t := b.pageText(at, key, file, text, useOf(contentType)); t != nil {
			all = append(all, page{status, mask, contentType, t, strings.HasPrefix(contentType, "text/html")})
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b page) int { return a.mask - b.mask }) // a status before its class
	return func(c *app.Context, e *app.HTTPError) error {
		for i := range all {
			if g := &all[i]; e.Status-e.Status%g.mask == g.status && !(g.html && c.WantsJSON()) {
				return c.Bytes(e.Status, g.contentType, g.text.Append(nil, variable.Source{Request: c, Error: e}))
			}
		}
		return nil
	}
}

// pageTypes are the extensions of error pages.
var pageTypes = []string{".html", ".json", ".txt"}

// pageText compiles an error page. It returns nil after reporting a variable that has no value there. A name in braces that is no variable stays as
// it is, as in scripts, with a warning.
func (b *builder) pageText(at path, key, file, text string, use variable.Use) *variable.Template {
	scope := variable.Scope{Use: use, Phase: variable.Response}
	for _, e := range variable.Errors(text, scope) {
		report, unknown := b.problem, (*variable.Unknown)(nil)
		if errors.As(e, &unknown) {
			report = b.warn
		}
		line, column := 1+strings.Count(text[:e.Offset], "\n"), e.Offset-strings.LastIndexByte(text[:e.Offset], '\n')
		report(at, "%s.%s: %s:%d:%d: %s", at[:len(at)-1], key, file, line, column, withSuggestion(e, scope))
	}
	scope.Lenient = true
	page, err := variable.Parse(text, scope)
	if err != nil {
		return nil // it was reported
	}
	return page
}

// pageBytesMax bounds the size of an error page.
const pageBytesMax = 1 << 20

func readPage(file string) (string, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", file)
	case info.Size() > pageBytesMax:
		return "", fmt.Errorf("%s is larger than %v", file, Bytes(pageBytesMax))
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// statusKey parses "404" or "5xx".
func statusKey(key string) (status, mask int, ok bool) {
	switch key {
	case "4xx":
		return 400, 100, true
	case "5xx":
		return 500, 100, true
	}
	n, err := strconv.Atoi(key)
	return n, 1, err == nil && n >= 400 && n <= 599
}
