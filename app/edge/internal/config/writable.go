// Files that the server writes. A check finds those that could not be opened, and creates none.

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Modes of access(2).
const (
	mayWrite = 2
	mayEnter = 1
)

// unwritable returns the log files and directories that cannot be written.
func (c *Config) unwritable() Problems {
	d := decoder{source: c.source, spoilt: c.spoilt}
	check := func(p path, file Path, writable func(string) error) {
		if file == "" || file == "-" || file == "off" {
			return
		}
		if err := writable(string(file)); err != nil {
			d.problem(p, "%s = %q: %s", p, string(file), withoutCall(err))
		}
	}
	check(path{"access_log", "file"}, c.AccessLog.File, writableFile)
	if c.Watchdog.Enabled {
		check(path{"watchdog", "file"}, c.Watchdog.File, writableFile)
		check(path{"watchdog", "snapshot_dir"}, c.Watchdog.SnapshotDir, writableDirectory)
	}
	for i := range c.Sites {
		if l := c.Sites[i].AccessLog; l != nil {
			check(path{"site"}.index(i).child("access_log").child("file"), l.File, writableFile)
		}
	}
	return d.problems
}

// writableFile returns nil if a file can be opened for appending, or created.
func writableFile(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writableDirectory(filepath.Dir(file))
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "open", Path: file, Err: syscall.EISDIR}
	}
	return access(file, mayWrite)
}

// writableDirectory returns nil if files can be created in a directory.
func writableDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	return access(dir, mayWrite|mayEnter)
}

func access(file string, mode uint32) error {
	if err := syscall.Access(file, mode); err != nil {
		return &fs.PathError{Op: "open", Path: file, Err: err}
	}
	return nil
}
