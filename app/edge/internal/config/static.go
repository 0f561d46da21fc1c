// The static action: its keys, and the app/static handler that it describes.

package config

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"time"

	"tafe/app"
	"tafe/app/static"
)

// Static serves the files of a directory with GET and HEAD, ETag, conditional requests and ranges. The route's path ends
// in a catch-all, which names the file.
type Static struct {
	// Directory. Paths that lead out of it, by dots or links, are 404. It may itself be a symbolic link, such as one to a
	// release: when it is changed, the next request that checks a file follows it, and so does SIGHUP.
	Dir string `toml:"dir" required:"yes"`
	// File that is served for its directory; "-": none.
	Index string `toml:"index" default:"index.html"`
	// List the files of a directory without an index file.
	Listing bool `toml:"listing" default:"false"`
	// File that is served with 200 for names that do not exist: the page of a single-page application.
	Fallback string `toml:"fallback" default:""`
	// Serve names that begin with a dot.
	Dotfiles bool `toml:"dotfiles" default:"false"`
	// Follow symbolic links within the directory.
	Symlinks bool `toml:"symlinks" default:"true"`
	// Serve FILE.zst, FILE.br or FILE.gz in place of FILE to clients that accept the coding, unless it is older than FILE.
	Precompressed bool `toml:"precompressed" default:"true"`
	// Media types by the last extension of a name, such as { ".foo" = "text/x-foo" }. They override the built-in ones, which
	// cover common web files, with charset=utf-8 for text.
	Types map[string]HeaderValue `toml:"types"`
	// Media type of names with an unknown extension.
	DefaultType HeaderValue `toml:"default_type" default:"application/octet-stream"`
	// Cache-Control of every file.
	CacheControl HeaderValue `toml:"cache_control" default:""`
	// Patterns of files whose content never changes, such as ["*.css", "app-*.js"]: clients may cache them for a year.
	Immutable []string `toml:"immutable"`
	// Memory for small files, of all loops together.
	CacheBytesMax Bytes `toml:"cache_bytes_max" default:"64MiB" min:"1MiB" max:"1TiB"`
	// Largest file that is cached in memory; larger files are sent from disk.
	CacheFileBytesMax Bytes `toml:"cache_file_bytes_max" default:"256KiB" min:"1" max:"1MiB"`
	// Time for which a cached file is served without checking the directory.
	CheckInterval Duration `toml:"check_interval" default:"1s" min:"1ms" max:"1h"`
}

func (s *Static) options(param string) static.Options {
	types := make(map[string]string, len(s.Types))
	for extension, t := range s.Types {
		types[extension] = string(t)
	}
	return static.Options{
		Types: types, DefaultType: string(s.DefaultType),
		Dir: s.Dir, Param: param, Index: s.Index, List: s.Listing, Fallback: s.Fallback, Dotfiles: s.Dotfiles, NoSymlinks: !s.Symlinks,
		Precompressed: s.Precompressed, CacheControl: string(s.CacheControl), Immutable: s.Immutable,
		CacheMax: int64(s.CacheBytesMax), FileCachedMax: int64(s.CacheFileBytesMax), CheckInterval: time.Duration(s.CheckInterval),
	}
}

// static returns the handler of the action, or nil after reporting a problem.
func (b *builder) static(p path, r *Route) app.Handler {
	if r.Rewrite != "" { // the file is that of the new path, which Context.Rewrite names "path"
		return b.directory(p, "path", r)
	}
	at := strings.LastIndex(r.Path, "/{")
	param, rest := strings.CutSuffix(r.Path[at+1:], "...}")
	if at < 0 || !rest {
		b.problem(p, "route %s: the path of a static action must end in a catch-all, as in /files/{path...}", r.Path)
		return nil
	}
	return b.directory(p, param[1:], r)
}

// directory returns the handler for the files of a directory, whose names are the values of param.
func (b *builder) directory(p path, param string, r *Route) app.Handler {
	if s := b.resources.directory(b.before, param, r.Static); s != nil {
		s.Refresh()
		return s.Serve
	}
	s, err := static.New(r.Static.options(param))
	var wrong *fs.PathError
	switch {
	case errors.As(err, &wrong):
		return b.broken(p.child("dir"), "route.static.dir = %q: %v", r.Static.Dir, wrong.Err)
	case err != nil:
		b.problem(p, "route.static: %s", strings.TrimPrefix(err.Error(), "static: "))
		return nil
	}
	b.resources.directories = append(b.resources.directories, directory{*r.Static, param, s})
	return s.Serve
}

// directory is a served directory and its definition.
type directory struct {
	definition Static
	param      string
	*static.Site
}

// directory returns the directory with the same definition, of this Config or the previous one.
func (r *Resources) directory(before *Resources, param string, d *Static) *static.Site {
	for _, from := range []*Resources{r, before} {
		if from == nil {
			continue
		}
		for _, s := range from.directories {
			if s.param == param && reflect.DeepEqual(s.definition, *d) {
				if from == before {
					r.directories = append(r.directories, s)
				}
				return s.Site
			}
		}
	}
	return nil
}
