// Package static serves the files of a directory on the loop, without reading one there.
//
// # The parts, in reading order
//
//	static.go    Options, Site: what is served, and the way of one request
//	name.go      which names are looked at, at all
//	tree.go      the directory as it is now
//	types.go     media types
//	load.go      opening, reading and looking at files: everything that blocks, for goroutines beside the loops
//	cache.go     small files in memory, for all loops
//	precondition.go  the conditions of RFC 9110 section 13
//	ranges.go    Range and Content-Range (RFC 9110 section 14)
//	coding.go    the choice among compressed siblings
//	send.go      the answer
//	listing.go   directories as pages
//
// # Validators
//
// A file of at most Options.FileCachedMax bytes has a strong entity tag of its content: 128 bits of its SHA-256. A larger one
// has a strong tag of its inode, its size, its modification time and the time of its last change of status, in ns, which no program
// can set: a file that takes another's place has another tag, whatever its modification time. A file that is rewritten in place
// within the clock of its file system, to the same size, keeps its tag. Replace files by renaming, and that does not matter.
//
// A modification time of the first day of 1970, as some build tools write, and one in the future say nothing: such a file has no
// Last-Modified (RFC 9110 section 8.8.2.1), and conditions by date do not count.
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

// Options say which directory is served, and how. Zero fields take the defaults.
type Options struct {
	Dir   string // the directory; required
	Param string // the route's parameter that names the file, a catch-all; default "path"

	Index    string // file that answers for its directory; default "index.html"; "-": none
	List     bool   // answer for a directory without it with a page of its files
	Fallback string // file that answers for names that are not there, with 200: the page of a single-page application

	Dotfiles bool // serve names with an element that begins with a dot; else 404
	// NoSymlinks refuses every name that leads over a symbolic link. Without it links are followed within the directory.
	// What leads out of the directory is refused always, by os.Root.
	NoSymlinks bool
	// Precompressed serves FILE.zst, FILE.br and FILE.gz in place of FILE to clients that accept the coding.
	Precompressed bool

	// Types are media types by extension, as {".foo": "text/x-foo"}, which go before those of the package's own table. DefaultType is
	// that of other names; default "application/octet-stream".
	Types       map[string]string
	DefaultType string

	CacheControl string   // of every file; "": none
	Immutable    []string // patterns of path.Match for the last element of a name: such files may be kept for a year

	CacheMax      int64         // bytes of small files in memory; default 64 MiB, at least 8 times FileCachedMax; -1: none
	FilesMax      int           // names in memory; default 8192
	FileCachedMax int64         // a file, or a coding of it, above this many bytes is not kept; default 256 KiB, at most 1 MiB
	CheckInterval time.Duration // for how long a kept file is served without a look at its directory; default 1 s
	RangesMax     int           // ranges in one request; one with more is answered as if it had none; default 16
	ListMax       int           // files in one listing; the page says when there are more; default 10000
}

const (
	year               = "public, max-age=31536000, immutable"
	fileCachedMaxLimit = 1 << 20
	defaultParam       = "path"
)

// Site serves one directory. Its methods may be called by any goroutine; the cache is shared by the loops.
type Site struct {
	o     Options
	types map[string]string // of the options, by extensions in lower case
	epoch time.Time
	stats counters
	tree  atomic.Pointer[tree]

	mu     sync.Mutex // for changes of tree
	closed bool
}

type counters struct{ hits, loads, refused atomic.Uint64 }

// Stats are counts of a Site since it was made, and two gauges.
type Stats struct {
	Hits    uint64 // answers from memory
	Loads   uint64 // looks at the directory, beside the loops
	Refused uint64 // names that were not looked at, or led out of the directory, or to what is no file
	Files   int    // in memory
	Bytes   int64  // of them
}

// New opens the directory. The error is that of opening, or tells which option makes no sense.
func New(o Options) (*Site, error) {
	o = o.withDefaults()
	switch {
	case o.Index != "-" && !isPlainName(o.Index):
		return nil, fmt.Errorf("static: index %q is not the name of a file", o.Index)
	case o.Fallback != "" && !fs.ValidPath(o.Fallback):
		return nil, fmt.Errorf("static: fallback %q is not a name below the directory", o.Fallback)
	case !httpparse.ValidFieldValue(o.CacheControl):
		return nil, errors.New("static: cache control is no header value")
	case o.FileCachedMax > fileCachedMaxLimit:
		return nil, fmt.Errorf("static: files of up to %d bytes in memory: at most %d, since they are sent by the loop", o.FileCachedMax, fileCachedMaxLimit)
	case o.CacheMax > 0 && o.CacheMax < shards*o.FileCachedMax:
		return nil, fmt.Errorf("static: %d bytes for the cache: at least %d times that of a file", o.CacheMax, shards)
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

// Stats counts.
func (s *Site) Stats() Stats {
	stats := Stats{Hits: s.stats.hits.Load(), Loads: s.stats.loads.Load(), Refused: s.stats.refused.Load()}
	if k := s.tree.Load().cache; k != nil {
		stats.Files, stats.Bytes = k.size()
	}
	return stats
}

// Serve is the Handler: GET and HEAD, 405 for other methods. What is in memory is answered at once; everything else waits
// for a goroutine that looks (app.Offload), so its error may be loop.ErrOffloadFull, which answers 503.
func (s *Site) Serve(c *app.Context) error {
	if m := c.Method(); m != "GET" && m != "HEAD" {
		c.SetHeader("Allow", "GET, HEAD")
		return app.Error(405, "")
	}
	name := c.Param(s.o.Param)
	if c.EscapedSlash(s.o.Param) || !s.acceptable(name) {
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
		return s.redirect(c, name)
	case isListing:
		return s.list(c, a)
	}
	return s.answer(c, a)
}
