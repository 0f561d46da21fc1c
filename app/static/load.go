// File system access. Functions in this file block and run outside the loop unless stated otherwise.

package static

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tafe/app"
	"tafe/httpparse"
)

type kind int

const (
	isFile kind = iota
	needsSlash
	isListing
)

// asset is the result for a name. It is immutable after loading, except for the last three fields.
type asset struct {
	name         string // the requested name
	file         string // the file to serve
	kind         kind
	variants     [httpparse.Codings]*variant
	coded        bool // there are precompressed variants, so the response varies
	contentType  string
	cacheControl string
	bytes        int64
	entries      []fs.DirEntry
	truncated    bool

	checked atomic.Int64 // ns since the Site's epoch
	used    atomic.Bool
	place   int // index in its shard, guarded by the shard
}

// variant is a file in one coding, with its validators.
type variant struct {
	coding   httpparse.Coding
	info     fs.FileInfo
	size     int64
	etag     string
	modified string // for Last-Modified
	content  []byte // of a small file
	file     file   // of a large file
}

// file is an open file of which parts are read: an *os.File, and files of embed.FS.
type file interface {
	fs.File
	io.ReaderAt
}

// claimFresh reports whether a may be served without revalidation. It returns false to one request per interval,
// which then revalidates; the others are served meanwhile. It does not block.
func (a *asset) claimFresh(now int64, interval time.Duration) bool {
	checked := a.checked.Load()
	return now-checked < int64(interval) || !a.checked.CompareAndSwap(checked, now)
}

// release closes the files of a in other goroutines, because the last close of a deleted file frees its blocks.
func (a *asset) release() {
	for _, v := range a.variants {
		if v != nil && v.file != nil {
			go v.file.Close()
		}
	}
}

// delivery passes an asset from the loading goroutine to its request, which may have been cancelled.
type delivery struct {
	mu        sync.Mutex
	asset     *asset
	abandoned bool
}

func (p *delivery) deliver(a *asset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.abandoned {
		a.release()
	}
	p.asset = a
}

func (p *delivery) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abandoned = true
	if p.asset != nil {
		p.asset.release()
	}
}

// loadOffloaded runs load outside the loop while the request waits. It is called on the loop.
func (s *Site) loadOffloaded(c *app.Context, name string, now int64) (*asset, error) {
	p := &delivery{}
	a, err := app.Offload(c, func() (*asset, error) {
		a, err := s.load(name, now)
		if err == nil {
			p.deliver(a)
		}
		return a, err
	})
	if err != nil {
		p.abandon()
		return nil, err
	}
	return a, nil
}

// load returns the asset for name, from the cache if it is unchanged. It blocks.
func (s *Site) load(name string, now int64) (*asset, error) {
	s.stats.loads.Add(1)
	t := s.currentTree()
	a, err := s.find(t, name, now)
	if errors.Is(err, fs.ErrNotExist) && s.o.Fallback != "" {
		a, err = s.find(t, s.o.Fallback, now)
	}
	if err != nil {
		return nil, s.httpError(err)
	}
	return a, nil
}

var errNotServable = errors.New("static: neither a file nor a directory")

func (s *Site) find(t *tree, name string, now int64) (*asset, error) {
	if t.cache != nil {
		if kept := t.cache.get(name); kept != nil {
			if s.unchanged(t, kept) {
				kept.checked.Store(now)
				return kept, nil
			}
			t.cache.remove(name)
		}
	}
	a := &asset{name: name, file: strings.TrimSuffix(name, "/")}
	if a.file == "" {
		a.file = "."
	}
	info, err := s.stat(t, a.file)
	if err != nil {
		return nil, err
	}
	slash := name == "" || strings.HasSuffix(name, "/")
	switch {
	case info.IsDir() && !slash:
		a.kind = needsSlash
		return a, nil
	case info.IsDir():
		directory := a.file
		a.file = path.Join(directory, s.o.Index)
		if s.o.Index != "-" {
			if info, err = s.stat(t, a.file); err == nil {
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		a.file = directory
		return a, s.readDirectory(t, a)
	case slash:
		return nil, fs.ErrNotExist
	}
	a.checked.Store(now)
	return a, s.loadFile(t, a, info)
}

// unchanged reports whether the files of a are the ones that were read.
func (s *Site) unchanged(t *tree, a *asset) bool {
	for k := range httpparse.Codings {
		if k != httpparse.Identity && !s.o.Precompressed {
			continue
		}
		info, err := s.stat(t, a.file+suffix(k))
		v := a.variants[k]
		switch {
		case v == nil && err == nil && info.Mode().IsRegular() && !info.ModTime().Before(a.variants[httpparse.Identity].info.ModTime()):
			return false
		case v != nil && (err != nil || !sameFile(info, v.info)):
			return false
		}
	}
	return true
}

// stat follows symbolic links within the directory. With Options.NoSymlinks it checks each element of name; a link
// created between this check and the opening is followed, but never out of the directory.
func (s *Site) stat(t *tree, name string) (fs.FileInfo, error) {
	if s.o.NoSymlinks {
		for i := range len(name) + 1 {
			if i < len(name) && name[i] != '/' {
				continue
			}
			info, err := t.root.Lstat(name[:i])
			if err != nil {
				return nil, err
			}
			if info.Mode()&fs.ModeSymlink != 0 {
				return nil, errNotServable
			}
		}
	}
	return t.root.Stat(name)
}

// loadFile opens the file and its precompressed variants, and caches a if all of them are small.
func (s *Site) loadFile(t *tree, a *asset, info fs.FileInfo) (err error) {
	defer func() {
		if err != nil {
			a.release()
		}
	}()
	if a.variants[httpparse.Identity], err = s.open(t, a.file, httpparse.Identity, info); err != nil {
		return err
	}
	small := a.variants[httpparse.Identity].file == nil
	a.bytes = assetOverhead + int64(len(a.variants[httpparse.Identity].content))
	for k := range httpparse.Identity {
		if !s.o.Precompressed {
			break
		}
		sibling, err := s.stat(t, a.file+suffix(k))
		if err != nil || !sibling.Mode().IsRegular() || sibling.ModTime().Before(info.ModTime()) {
			continue // it is older than the file, so it was made from another version
		}
		v, err := s.open(t, a.file+suffix(k), k, sibling)
		if err != nil {
			continue
		}
		a.variants[k], a.coded = v, true
		a.bytes += int64(len(v.content))
		small = small && v.file == nil
	}
	a.contentType = s.typeOf(a.file)
	a.cacheControl = s.o.CacheControl
	for _, pattern := range s.o.Immutable {
		if ok, _ := path.Match(pattern, path.Base(a.file)); ok {
			a.cacheControl = year
		}
	}
	if small && t.cache != nil {
		t.cache.add(a)
	}
	return nil
}

// open opens a file after stat. Opening a FIFO or a device can have side effects, so other files are not opened. If
// such a file has replaced the regular one meanwhile, the second check rejects it.
func (s *Site) open(t *tree, name string, k httpparse.Coding, info fs.FileInfo) (*variant, error) {
	if !info.Mode().IsRegular() {
		return nil, errNotServable
	}
	f, err := t.root.Open(name)
	if err != nil {
		return nil, err
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotServable
	}
	v := &variant{coding: k, info: info}
	if err == nil {
		v.size, v.modified = info.Size(), info.ModTime().UTC().Format(http.TimeFormat)
		if v.size <= s.o.FileCachedMax {
			err = v.read(f)
		} else {
			err = v.keep(t, name, f)
		}
	}
	if err != nil || v.file == nil {
		_ = f.Close()
	}
	return v, err
}

var errNoReadAt = errors.New("static: a file of Options.FS is larger than FileCachedMax and has no ReadAt")

// keep keeps a large file open.
func (v *variant) keep(t *tree, name string, f fs.File) error {
	open, ok := f.(file)
	if !ok {
		return errNoReadAt
	}
	v.file = open
	if !v.info.ModTime().IsZero() || v.info.Sys() != nil {
		v.etag = metadataTag(v.info, v.coding)
		return nil
	}
	if known, ok := t.sums.Load(name); ok && known.(sum).size == v.size {
		v.etag = known.(sum).etag
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(open, 0, v.size)); err != nil {
		return err
	}
	v.etag = contentTag(h.Sum(nil), v.coding)
	t.sums.Store(name, sum{v.size, v.etag})
	return nil
}

// read reads the content into memory. The entity tag is computed from the bytes read, so it is correct even if the
// file changes meanwhile.
func (v *variant) read(f fs.File) error {
	content, err := io.ReadAll(io.LimitReader(f, v.size))
	if err != nil {
		return err
	}
	digest := sha256.Sum256(content)
	v.content, v.size = content, int64(len(content))
	v.etag = contentTag(digest[:], v.coding)
	return nil
}

// contentTag returns the entity tag of a file by its SHA-256.
func contentTag(digest []byte, k httpparse.Coding) string {
	return `"` + hex.EncodeToString(digest[:16]) + strings.Replace(suffix(k), ".", "-", 1) + `"`
}

// sameFile reports whether y is the same unchanged file as x. Files of Options.FS that are none of the operating system are the same by name.
func sameFile(x, y fs.FileInfo) bool {
	return (os.SameFile(x, y) || x.Sys() == nil && y.Sys() == nil) && x.Size() == y.Size() && x.Mode() == y.Mode() && x.ModTime().Equal(y.ModTime()) && changeTime(x) == changeTime(y)
}

// changeTime returns the time of the last status change of a file, in ns. Renaming and setting the modification time
// also change it.
func changeTime(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ctim.Nano()
	}
	return 0
}

// metadataTag returns the entity tag of a file that is not in memory.
func metadataTag(info fs.FileInfo, k httpparse.Coding) string {
	inode := uint64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	b := []byte{'"'}
	for _, n := range []uint64{uint64(info.ModTime().UnixNano()), uint64(info.Size()), inode, uint64(changeTime(info))} {
		b = append(strconv.AppendUint(b, n, 16), '-')
	}
	return string(b[:len(b)-1]) + strings.Replace(suffix(k), ".", "-", 1) + `"`
}

// httpError returns the response to a file system error.
func (s *Site) httpError(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &app.HTTPError{Status: 403, Err: err}
	case errors.Is(err, fs.ErrNotExist):
		return app.Error(404, "")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &app.HTTPError{Status: 503, Reason: "static-no-descriptors", Err: err}
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENOMEM), errors.Is(err, errNoReadAt):
		return &app.HTTPError{Status: 500, Reason: "static-unreadable", Err: err}
	case errors.Is(err, fs.ErrClosed):
		return app.Error(404, "")
	}
	s.stats.refused.Add(1) // outside the directory, name too long, symbolic link loop, FIFO
	return &app.HTTPError{Status: 404, Err: err}
}
