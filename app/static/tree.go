// This file owns the directory as it is now. Its path may be a link to a release, or be replaced by renaming: it is looked at again
// whenever a file is.

package static

import (
	"fmt"
	"io/fs"
	"os"
)

// tree is an open directory with the files of it that are in memory. It does not change.
type tree struct {
	root  *os.Root
	info  fs.FileInfo
	cache *cache // nil: none
}

// openTree opens the directory that the path leads to now. It blocks.
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

// Refresh looks whether the path of the directory leads elsewhere by now. If it does, requests from now on are answered from there, and
// the files in memory are dropped. A path that leads nowhere leaves things as they are. A request whose file is not in memory, or
// has not been looked at for Options.CheckInterval, does the same. It blocks: it is for goroutines beside the loops.
func (s *Site) Refresh() { s.currentTree() }

// follow returns the tree that the path leads to. A tree that is left is closed by the garbage collector, as others may be reading it.
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

// Close lets the directory go. Requests that come later are answered with 404, or from memory.
func (s *Site) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.tree.Load().root.Close()
}
