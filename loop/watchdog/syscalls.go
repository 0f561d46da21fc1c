// Verdicts for threads in a system call, by the function that made the call or by the call's
// descriptor.

package watchdog

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// descriptorCalls are the numbers of the system calls whose first argument is the descriptor they
// operate on.
var descriptorCalls = func() map[string]bool {
	calls := map[string]bool{}
	for _, n := range []int{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64,
		unix.SYS_RECVFROM, unix.SYS_SENDTO, unix.SYS_RECVMSG, unix.SYS_SENDMSG, unix.SYS_CONNECT, unix.SYS_ACCEPT,
		unix.SYS_ACCEPT4, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SENDFILE, unix.SYS_FLOCK,
	} {
		calls[strconv.Itoa(n)] = true
	}
	return calls
}()

// systemCall reports whether the frame is about to enter the kernel or C code.
func systemCall(f Frame) bool {
	switch packageOf(f.Func) {
	case "syscall", "internal/runtime/syscall", "internal/runtime/syscall/linux", "golang.org/x/sys/unix", "internal/poll", "os":
		return true
	}
	return f.Func == "runtime.cgocall" || strings.Contains(f.Func, "._Cfunc_")
}

// judgeSyscall returns the verdict for a system call: by the library above it, or else by its
// descriptor.
func judgeSyscall(frames []Frame, tid int) Verdict {
	for _, f := range frames {
		if strings.HasPrefix(f.Func, "runtime.cgocall") || strings.Contains(f.Func, "._Cfunc_") {
			return Cgo
		}
		if f.Func == "syscall.Nanosleep" || strings.HasSuffix(f.Func, "/unix.Nanosleep") || strings.HasSuffix(f.Func, "/unix.ClockNanosleep") {
			return Sleep
		}
	}
	if v := judgeLibrary(frames); v != "" {
		return v
	}
	for _, f := range frames {
		if ownerOf(f) >= ownerModule {
			break
		}
		if fileCall(f.Func) {
			return File
		}
	}
	return judgeDescriptor(tid)
}

// fileCall reports whether the function operates on files: one of package os, or one of syscall or
// unix that applies to files only.
func fileCall(name string) bool {
	if strings.HasPrefix(name, "os.") {
		return true
	}
	pkg, call, ok := strings.Cut(shortFunc(name), ".")
	if !ok || pkg != "syscall" && pkg != "unix" {
		return false
	}
	switch call {
	case "Open", "Openat", "Fsync", "Fdatasync", "Sync", "Syncfs", "Pread", "Pwrite", "Stat", "Lstat", "Fstat", "Fstatat", "Getdents",
		"ReadDirent", "Rename", "Renameat", "Unlink", "Unlinkat", "Mkdir", "Truncate", "Ftruncate", "Fallocate", "Flock", "Statfs", "Readlink":
		return true
	}
	return false
}

// judgeDescriptor returns the verdict for a thread in a system call, by the type of the descriptor
// that is the call's first argument.
func judgeDescriptor(tid int) Verdict {
	if tid == 0 {
		return Syscall
	}
	call, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(tid) + "/syscall")
	if err != nil {
		return Syscall
	}
	fields := strings.Fields(string(call))
	if len(fields) < 2 || !descriptorCalls[fields[0]] {
		return Syscall
	}
	fd, err := strconv.ParseUint(strings.TrimPrefix(fields[1], "0x"), 16, 31)
	if err != nil {
		return Syscall
	}
	target, err := os.Readlink("/proc/self/fd/" + strconv.FormatUint(fd, 10))
	switch {
	case err != nil:
		return Syscall
	case strings.HasPrefix(target, "socket:"):
		return Network
	case strings.HasPrefix(target, "pipe:"), strings.HasPrefix(target, "/"):
		return File
	}
	return Syscall
}
