// A log file: opened for appending, reopened on SIGHUP after log rotation has moved it, and moved by the process itself where rotation is
// configured; logrotate.go decides when.

package edge

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// logFile appends to the file at a path. A FIFO is opened with or without a reader. Any goroutine; only Write may block, and
// reopen and Close unblock it for a FIFO.
type logFile struct {
	path string

	writing  sync.Mutex // one Write at a time
	lines    wholeLines
	rotation rotation

	mu   sync.Mutex
	file *os.File
}

func openLogFile(path string, r rotation) (*logFile, error) {
	l := &logFile{path: path, rotation: r}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

// Write appends p to the file that was last opened.
func (l *logFile) Write(p []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	for {
		file := l.current()
		if l.lines.w != file {
			l.lines = wholeLines{w: file}
			l.rotation.begin(file)
		}
		if l.rotation.due(len(p)) && l.rotate(file) {
			continue
		}
		l.rotation.size += int64(len(p))
		n, err := l.lines.Write(p)
		if errors.Is(err, os.ErrClosed) && n == 0 && file != l.current() { // reopened meanwhile
			continue
		}
		return n, err
	}
}

func (l *logFile) current() *os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file
}

// reopen opens the path again, and keeps the old file if that fails.
func (l *logFile) reopen() error {
	file, err := openAppend(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.file
	l.file = file
	l.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// openAppend does not wait for the reader of a FIFO. Without one, the FIFO is opened for reading as well, so that it keeps what
// fits until a reader comes.
func openAppend(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|unix.O_NONBLOCK, 0o640)
	if errors.Is(err, syscall.ENXIO) {
		file, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	}
	return file, err
}

// Close closes the file.
func (l *logFile) Close() error { return l.current().Close() }
