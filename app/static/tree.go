// The open directory. Its path may be a symbolic link to a release, or be replaced by renaming, so it is checked
// again whenever a file is checked.

package static

import (
	"fmt"
	"io/fs"
	"os"
)

// tree is an open directory and the cache of its files. It is immutable.
type tree struct {
	root  *os.Root
	info  fs.FileInfo
	cache *cache // nil if disabled
}

// openTree opens the directory at the path. It blocks.
func (s *Site) openTree() (*tree, error) {
	root, err := os.OpenRoot(s.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("static: %w", err)
	}
	info, err := root.Stat(".")
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("static: %w", err)
	}
	t := &tree{root: root, info: info}
	if s.o.CacheMax > 0 {
		t.cache = newCache(s.o.CacheMax, s.o.FilesMax)
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

// Close closes the directory. Later requests are served from the cache or answered with 404.
func (s *Site) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.tree.Load().root.Close()
}
