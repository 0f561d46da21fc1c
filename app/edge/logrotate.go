// Rotation of a log file by size and age. The goroutine that writes the log moves the file, begins a new one, and deletes old ones.

package edge

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// rotation says when a log file is moved, and what was written to the current one. The zero value never moves it.
type rotation struct {
	bytesMax int64         // 0: any size
	every    time.Duration // 0: any age
	keep     int           // moved files; 0: all
	log      *slog.Logger  // for failures
	now      func() time.Time

	size  int64
	born  time.Time
	after time.Time // not before: a move has failed
}

// rotateRetry is the time between two tries to move a file.
const rotateRetry = time.Minute

// begin notes the size and the age of a file that was opened.
func (r *rotation) begin(file *os.File) {
	r.size, r.born, r.after = 0, time.Time{}, time.Time{}
	if r.bytesMax == 0 && r.every == 0 {
		return
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		r.bytesMax, r.every = 0, 0 // a FIFO or a device has neither
		return
	}
	r.size, r.born = info.Size(), r.now()
	if r.size > 0 {
		r.born = birth(file, r.born)
	}
}

// birth returns the time at which a file was made, or otherwise where the file system does not keep it.
func birth(file *os.File, otherwise time.Time) time.Time {
	var s unix.Statx_t
	conn, err := file.SyscallConn() // Fd would be the descriptor of another file after a reopen
	if err == nil {
		_ = conn.Control(func(fd uintptr) { err = unix.Statx(int(fd), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &s) })
	}
	if err != nil || s.Mask&unix.STATX_BTIME == 0 {
		return otherwise
	}
	return time.Unix(s.Btime.Sec, int64(s.Btime.Nsec))
}

// due reports whether the file is moved before n more bytes are written to it.
func (r *rotation) due(n int) bool {
	switch {
	case r.size == 0 || r.bytesMax == 0 && r.every == 0:
		return false
	case r.bytesMax > 0 && r.size+int64(n) > r.bytesMax:
	case r.every > 0 && r.now().Sub(r.born) >= r.every:
	default:
		return false
	}
	return !r.now().Before(r.after)
}

// rotate moves the file, unless it was moved already, and opens a new one. It reports whether there is another file now.
func (l *logFile) rotate(file *os.File) bool {
	r := &l.rotation
	err := l.move(file)
	if err == nil {
		if err = l.reopen(); err == nil {
			l.prune()
			return true
		}
	}
	r.after = r.now().Add(rotateRetry)
	r.log.Error("log not rotated", "file", l.path, "error", err)
	return false
}

// rotatedFormat is the time in the name of a moved file, in UTC.
const rotatedFormat = "20060102T150405"

func (l *logFile) move(file *os.File) error {
	own, err := file.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Stat(l.path); err != nil || !os.SameFile(own, named) {
		return nil // it was moved by another process
	}
	to := l.path + "." + l.rotation.now().UTC().Format(rotatedFormat)
	for n := 1; ; n++ {
		name := to
		if n > 1 {
			name = fmt.Sprintf("%s.%d", to, n)
		}
		if err := renameNew(l.path, name); !errors.Is(err, os.ErrExist) || n == rotatedPerSecondMax {
			return err
		}
	}
}

// rotatedPerSecondMax bounds the names that are tried.
const rotatedPerSecondMax = 1000

// renameNew renames a file, and fails if the new name exists.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS { // some file systems know no flags
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return os.ErrExist
	}
	return os.Rename(from, to)
}

// rotatedForm matches what follows the path in the name of a moved file.
var rotatedForm = regexp.MustCompile(`^\.(\d{8}T\d{6})(?:\.(\d+))?$`)

// prune deletes the oldest moved files.
func (l *logFile) prune() {
	if l.rotation.keep == 0 {
		return
	}
	directory, base := filepath.Split(l.path)
	entries, err := os.ReadDir(filepath.Join(directory, "."))
	if err != nil {
		l.rotation.log.Error("old logs not deleted", "file", l.path, "error", err)
		return
	}
	var moved []string
	for _, e := range entries {
		if rest := e.Name(); len(rest) > len(base) && rest[:len(base)] == base && rotatedForm.MatchString(rest[len(base):]) {
			moved = append(moved, rest)
		}
	}
	second := len(base) + len(".") + len(rotatedFormat)
	slices.SortFunc(moved, func(a, b string) int { // those of one second by their number
		return cmp.Or(cmp.Compare(a[:second], b[:second]), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	for len(moved) > l.rotation.keep {
		if err := os.Remove(filepath.Join(directory, moved[0])); err != nil {
			l.rotation.log.Error("old log not deleted", "file", moved[0], "error", err)
		}
		moved = moved[1:]
	}
}
