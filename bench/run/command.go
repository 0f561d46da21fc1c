package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Output runs a command to its end, bound to a core, and gives what it printed. It is killed at the limit. A negative
// cpu leaves it unbound.
func Output(argv []string, cpu int, limit time.Duration) (string, error) {
	type result struct {
		out []byte
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the binding ends with the thread
		if cpu >= 0 {
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				done <- result{nil, fmt.Errorf("bind to core %d: %w", cpu, err)}
				return
			}
		}
		var out bytes.Buffer
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			done <- result{nil, err}
			return
		}
		timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", argv[0], err, out.Bytes())
		}
		done <- result{out.Bytes(), err}
	}()
	r := <-done
	return string(r.out), r.err
}

// Confine binds all threads of this process to a core, including later ones: the generator does not use the core of the
// servers then.
func Confine(cpu int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	var set unix.CPUSet
	set.Set(cpu)
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("bind to core %d: %w", cpu, err)
		}
	}
	return nil
}

// Against starts a peer for clients of HTTP/1 or HTTP/2, calls use with its address, and returns the CPU time that the server used meanwhile.
func (b *Bench) Against(p Peer, http2 bool, use func(Setting) error) (time.Duration, error) {
	set, cleanup, err := b.setting(RolePlain, http2)
	if err != nil {
		return 0, err
	}
	defer cleanup()
	argv, env, err := p.Command(set)
	if err != nil {
		return 0, err
	}
	server, err := Start(argv, env, b.Cores.Server, set.Listen)
	if err != nil {
		return 0, err
	}
	defer server.Stop()
	before, err := server.CPU()
	if err != nil {
		return 0, err
	}
	if err := use(set); err != nil {
		return 0, err
	}
	after, err := server.CPU()
	return after - before, err
}
