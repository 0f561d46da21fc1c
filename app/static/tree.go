// The open directory, or the file system of the program. The path of a directory may be a symbolic link to a release, or be replaced by
// renaming, so it is checked again whenever a file is checked.

package static

import (
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// tree is an open directory and the cache of its files. It is immutable, except for sums.
type tree struct {
	root  root
	info  fs.FileInfo
	cache *cache   // nil if disabled
	sums  sync.Map // entity tags of large files without a modification time: by name, a sum
}

// sum is an entity tag, and the size of the file for which it was computed.
type sum struct {
	size int64
	etag string
}

// root is where files are opened. Names are those of fs.ValidPath. Its methods block.
type root interface {
	Stat(name string) (fs.FileInfo, error)
	Lstat(name string) (fs.FileInfo, error)
	Open(name string) (fs.File, error)
	Close() error
}

// directory is the root of Options.Dir.
type directory struct{ *os.Root }

// Open does not wait for the other end of a FIFO.
func (d directory) Open(name string) (fs.File, error) {
	f, err := d.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// program is the root of Options.FS.
type program struct{ fs.FS }

// Stat implements root.
func (p program) Stat(name string) (fs.FileInfo, error) { return fs.Stat(p.FS, name) }

// Lstat implements root.
func (p program) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(p.FS, name) }

// Close implements root.
func (p program) Close() error { return nil }

// openTree opens the directory at the path. It blocks.
func (s *Site) openTree() (*tree, error) {
	t := &tree{}
	if s.o.CacheMax > 0 {
		t.cache = newCache(s.o.CacheMax, s.o.FilesMax)
	}
	if s.o.FS != nil {
		t.root = program{s.o.FS}
		return t, nil
	}
	opened, err := os.OpenRoot(s.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("static: %w", err)
	}
	t.root = directory{opened}
	if t.info, err = opened.Stat("."); err != nil {
		_ = opened.Close()
		return nil, fmt.Errorf("static: %w", err)
	}
	return t, nil
}

// Refresh checks whether the path of the directory leads to another directory. If so, later requests are served from
// there, and the cache is dropped. If the path does not exist, nothing changes. Loads and revalidations include this
// check. Refresh blocks, so it must be called outside the loops.
func (s *Site) Refresh() { s.currentTree() }

// currentTree returns the tree at the path. A replaced tree is closed by the garbage collector, because other
// requests may use it.
func (s *Site) currentTree() *tree {
	t := s.tree.Load()
	if s.o.FS != nil {
		return t
	}
	info, err := os.Stat(s.o.Dir)
	if err != nil || os.SameFile(info, t.info) {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.tree.Load(); now != t || s.closed {
		return now
	}
	next, err := s.openTree()
	if err != nil {
		return t
	}
	s.tree.Store(next)
	return next
}

// Close closes the directory. Later requests are served from the cache or answered with 404. Files of Options.FS are served as before.
func (s *Site) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.tree.Load().root.Close()
}
