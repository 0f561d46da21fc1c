// Package static serves the files of a directory, or of a file system of the program such as embed.FS. Files are read outside the loop.
//
// # The parts, in reading order
//
//	static.go        Options, Site, and the handler
//	name.go          validation of names
//	tree.go          the open directory
//	types.go         media types
//	load.go          opening, reading and revalidating files: everything that blocks
//	cache.go         small files in memory, shared by all loops
//	precondition.go  conditional requests (RFC 9110 section 13)
//	ranges.go        range requests (RFC 9110 section 14)
//	coding.go        selection of a precompressed variant
//	send.go          the response
//	listing.go       directory listings
//
// # Validators
//
// A file of at most Options.FileCachedMax bytes has a strong entity tag of its content: 128 bits of its SHA-256. A larger
// file has a strong entity tag of its inode, size, modification time and status change time, in ns; in a file system of the
// program that has no such times, one of its content, which is computed once. Programs cannot set
// the status change time, so a replaced file always has a new tag, whatever its modification time. A file that is
// rewritten in place to the same size within the clock resolution of its file system keeps its tag. Replace files by
// renaming to avoid this.
//
// A modification time on the first day of 1970, which some build tools set, or in the future is not used: the file has no
// Last-Modified (RFC 9110 section 8.8.2.1), and conditions by date are ignored.
package static

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/httpparse"
)

// Options configures a Site. Zero fields mean the defaults.
type Options struct {
	Dir string // the directory; required without FS
	// FS has the files, in place of Dir: an embed.FS, or a part of one by fs.Sub. Files that are larger than FileCachedMax need ReadAt, as those of
	// embed.FS and os.DirFS have. A file without a modification time, as in an embed.FS, has an entity tag of its content and no Last-Modified; it
	// counts as unchanged while its size is the same. Symbolic links of os.DirFS may lead out of the directory: use Dir.
	FS    fs.FS
	Param string // the catch-all parameter of the route that holds the file name; default "path"

	Index    string // file served for its directory; default "index.html"; "-" means none
	List     bool   // send a listing for a directory without Index
	Fallback string // file served with 200 for missing names, such as the page of a single-page application

	Dotfiles bool // serve names with an element that starts with a dot; otherwise they are 404
	// NoSymlinks rejects names that contain a symbolic link. Otherwise links are followed within the directory. Links
	// out of the directory are always rejected (os.Root).
	NoSymlinks bool
	// Precompressed serves FILE.zst, FILE.br and FILE.gz in place of FILE to clients that accept the coding.
	Precompressed bool

	// Types are media types by extension, such as {".foo": "text/x-foo"}; they take precedence over the built-in
	// table. DefaultType is for all other names; default "application/octet-stream".
	Types       map[string]string
	DefaultType string

	CacheControl string   // Cache-Control of all files; "" means none
	Immutable    []string // patterns of path.Match for the last element of a name: such files are cacheable for a year

	CacheMax      int64         // bytes of cached files; default 64 MiB, at least 8 times FileCachedMax; -1 disables the cache
	FilesMax      int           // cached names; default 8192
	FileCachedMax int64         // maximum size of a cached file or variant, in bytes; default 256 KiB, at most 1 MiB
	CheckInterval time.Duration // time for which a cached file is served without revalidation; default 1 s
	RangesMax     int           // ranges in one request; if there are more, Range is ignored; default 16
	ListMax       int           // files in one listing; the page states if there are more; default 10000
}

const (
	year               = "public, max-age=31536000, immutable"
	fileCachedMaxLimit = 1 << 20
	defaultParam       = "path"
)

// Site serves one directory. Its methods may be called from any goroutine. All loops share its cache.
type Site struct {
	o     Options
	types map[string]string // Options.Types, by lower-case extension
	epoch time.Time
	stats counters
	tree  atomic.Pointer[tree]

	mu     sync.Mutex // guards changes of tree
	closed bool
}

type counters struct{ hits, loads, refused atomic.Uint64 }

// Stats holds counters of a Site since New, and two gauges.
type Stats struct {
	Hits    uint64 // responses from the cache
	Loads   uint64 // loads from the file system, outside the loops
	Refused uint64 // names that are invalid, lead out of the directory or are not a file
	Files   int    // cached files
	Bytes   int64  // memory of cached files, in bytes
}

// New opens the directory. The error is from opening, or describes the invalid option.
func New(o Options) (*Site, error) {
	o = o.withDefaults()
	switch {
	case (o.Dir == "") == (o.FS == nil):
		return nil, errors.New("static: want either a directory or a file system")
	case o.Index != "-" && !isPlainName(o.Index):
		return nil, fmt.Errorf("static: index %q is not the name of a file", o.Index)
	case o.Fallback != "" && !fs.ValidPath(o.Fallback):
		return nil, fmt.Errorf("static: fallback %q is not a name below the directory", o.Fallback)
	case !httpparse.ValidFieldValue(o.CacheControl):
		return nil, errors.New("static: the cache control is not a valid header value")
	case o.FileCachedMax > fileCachedMaxLimit:
		return nil, fmt.Errorf("static: the maximum size of a cached file is %d bytes, but at most %d is allowed", o.FileCachedMax, fileCachedMaxLimit)
	case o.CacheMax > 0 && o.CacheMax < shards*o.FileCachedMax:
		return nil, fmt.Errorf("static: the cache of %d bytes is smaller than %d times the maximum size of a cached file", o.CacheMax, shards)
	}
	for _, pattern := range o.Immutable {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("static: immutable %q: %w", pattern, err)
		}
	}
	types, err := typesOf(&o)
	if err != nil {
		return nil, err
	}
	s := &Site{o: o, types: types, epoch: time.Now()}
	t, err := s.openTree()
	if err != nil {
		return nil, err
	}
	s.tree.Store(t)
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.Param == "" {
		o.Param = defaultParam
	}
	if o.Index == "" {
		o.Index = "index.html"
	}
	for _, f := range []struct{ bound, value *int64 }{{&o.CacheMax, new(int64(64 << 20))}, {&o.FileCachedMax, new(int64(256 << 10))}} {
		if *f.bound == 0 {
			*f.bound = *f.value
		}
	}
	for _, f := range []struct {
		bound *int
		value int
	}{{&o.FilesMax, 8192}, {&o.RangesMax, 16}, {&o.ListMax, 10000}} {
		if *f.bound <= 0 {
			*f.bound = f.value
		}
	}
	if o.CheckInterval <= 0 {
		o.CheckInterval = time.Second
	}
	return o
}

// Stats returns the counters.
func (s *Site) Stats() Stats {
	stats := Stats{Hits: s.stats.hits.Load(), Loads: s.stats.loads.Load(), Refused: s.stats.refused.Load()}
	if k := s.tree.Load().cache; k != nil {
		stats.Files, stats.Bytes = k.size()
	}
	return stats
}

// Serve handles GET and HEAD; other methods are answered with 405. Cached files are sent at once. For others the
// request waits for an offloaded load (app.Offload), whose error may be loop.ErrOffloadFull, which is answered with
// 503.
func (s *Site) Serve(c *app.Context) error {
	if m := c.Method(); m != "GET" && m != "HEAD" {
		c.SetHeader("Allow", "GET, HEAD")
		return app.Error(405, "")
	}
	name := c.ParamView(s.o.Param)
	if c.EscapedSlash(s.o.Param) {
		s.stats.refused.Add(1)
		return app.Error(404, "")
	}
	return s.serve(c, name, true)
}

// File sends a file of the Site, whatever the route of the request: with the same headers, conditional requests and ranges as Serve, and
// the same answers if there is no such file, or the name is that of a directory without its final slash. name is relative to the directory, with
// slashes. It implements app.FileSender.
func (s *Site) File(c *app.Context, name string) error {
	return s.serve(c, name, false)
}

// serve sends the file with a name. routed says that the request's path ends with it.
func (s *Site) serve(c *app.Context, name string, routed bool) error {
	if !s.acceptable(name) {
		s.stats.refused.Add(1)
		return app.Error(404, "")
	}
	now := int64(time.Since(s.epoch))
	if k := s.tree.Load().cache; k != nil {
		if a := k.get(name); a != nil && a.claimFresh(now, s.o.CheckInterval) {
			s.stats.hits.Add(1)
			return s.answer(c, a)
		}
	}
	a, err := s.loadOffloaded(c, strings.Clone(name), now)
	if err != nil {
		return err
	}
	defer a.release()
	switch a.kind {
	case needsSlash:
		if !routed {
			return app.Error(404, "")
		}
		return s.redirect(c, name)
	case isListing:
		return s.list(c, a)
	}
	return s.answer(c, a)
}
