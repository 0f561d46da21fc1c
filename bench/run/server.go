// Package run starts servers, binds them to a core, measures their CPU time and memory, and plays rounds of load against them in
// turn. Package scenario has the requests, package report the presentation.
package run

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Server is one process that was started, with its children.
type Server struct {
	cmd    *exec.Cmd
	output *output
	exited chan struct{}
}

// startMax is how long a server may take until it accepts connections.
const startMax = 10 * time.Second

// Start runs a command bound to one core and waits until addr accepts connections. The command dies with this process.
// A negative cpu leaves it unbound. Its last output is part of the error when it does not come up.
func Start(argv, env []string, cpu int, addr netip.AddrPort) (*Server, error) {
	s := &Server{cmd: exec.Command(argv[0], argv[1:]...), output: &output{}, exited: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	s.cmd.WaitDelay = time.Second
	if err := s.spawn(cpu); err != nil {
		return nil, err
	}
	for end := time.Now().Add(startMax); ; {
		conn, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err == nil {
			_ = conn.Close()
			return s, nil
		}
		select {
		case <-s.exited:
			return nil, fmt.Errorf("%s ended before it served: %s", filepath.Base(argv[0]), s.output)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			s.Stop()
			return nil, fmt.Errorf("%s does not serve %s after %s: %s", filepath.Base(argv[0]), addr, startMax, s.output)
		}
	}
}

// spawn forks from a thread that is bound to the core, so that the child inherits the binding before its first
// instruction, and keeps that thread for as long as the child lives: the death signal is tied to it.
func (s *Server) spawn(cpu int) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if cpu >= 0 {
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				started <- fmt.Errorf("bind to core %d: %w", cpu, err)
				return
			}
		}
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait()
			close(s.exited)
		}
	}()
	return <-started
}

// stopMax is how long a server may take to end on SIGTERM before it is killed.
const stopMax = 2 * time.Second

// Stop ends the server and all its children.
func (s *Server) Stop() {
	group := -s.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(stopMax):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-s.exited
}

// PID is the process id of the server's first process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// CPU is the user and system time that the process tree has used so far, all threads, also those that have ended. It
// reads each process's own CPU clock, in nanoseconds; /proc/PID/stat would tell the same in ticks of 10 ms.
func (s *Server) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range tree(s.PID()) {
		var ts unix.Timespec
		const schedClock = 2
		if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil {
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) {
				continue // it ended meanwhile
			}
			return 0, fmt.Errorf("cpu clock of process %d: %w", pid, err)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum, nil
}

// RSS is the resident memory of the process tree, in bytes. Pages that processes share are counted in each.
func (s *Server) RSS() (int64, error) {
	var sum int64
	for _, pid := range tree(s.PID()) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		fields := bytes.Fields(b)
		if len(fields) < 2 {
			return 0, fmt.Errorf("/proc/%d/statm: %q", pid, b)
		}
		pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/statm: %w", pid, err)
		}
		sum += pages * int64(os.Getpagesize())
	}
	return sum, nil
}

// tree lists a process and the descendants that main threads have forked: those of Apache, nginx and HAProxy. It is
// asked in the middle of a run, and to look at all threads of all processes would take longer than a request may.
func tree(root int) []int {
	pids := []int{root}
	for i := 0; i < len(pids); i++ {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pids[i]))
		if err != nil {
			continue // it ended meanwhile
		}
		for field := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// FreeAddrs returns n loopback addresses with different unused ports. A measured server listens on a port by its number, so the port
// is unused for a moment before that. The ports are below those that the kernel assigns to connections
// (net.ipv4.ip_local_port_range), and the search starts at a random one, so that no other process takes one by accident.
func FreeAddrs(n int) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	at := rand.IntN(portsCount)
	for tried := 0; len(addrs) < n; tried++ {
		if tried == portsCount {
			return nil, errors.New("no free ports")
		}
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(portsFrom+(at+tried)%portsCount))
		l, err := net.Listen("tcp4", addr.String())
		if err != nil {
			continue
		}
		_ = l.Close()
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

const portsFrom, portsCount = 20_000, 12_000

// Running reports whether the first process is running.
func (s *Server) Running() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}
