package watchdog

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/loop"
)

// The test binary plays two other parts when it is told to: a process that
// only computes, and a server that is stopped and continued.
func TestMain(m *testing.M) {
	switch os.Getenv("WATCHDOG_TEST_ROLE") {
	case "hog":
		for end := time.Now().Add(time.Minute); time.Now().Before(end) && os.Getppid() != 1; {
			computed.Add(tight(1_000_000))
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func playRole(t *testing.T, role string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "WATCHDOG_TEST_ROLE="+role)
	return cmd
}

// innocentRoutes keep well below the budget by themselves.
func innocentRoutes() map[string]func(*loop.Task) {
	return map[string]func(*loop.Task){
		"fast": func(*loop.Task) {},
		"work": func(*loop.Task) { spin(2 * time.Millisecond) },
		"alloc": func(*loop.Task) {
			spin(time.Millisecond / 2)
			for range 64 {
				sinkhole.Store(new([1 << 10]*int))
			}
		},
		"nap": func(t *loop.Task) { _ = t.Sleep(5 * time.Millisecond); spin(time.Millisecond) },
	}
}

var sinkhole atomic.Pointer[[1 << 10]*int]

// load calls the innocent routes from some clients until stop is closed.
func (s *stage) load(stop <-chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, route := range []string{"fast", "work", "alloc", "nap"} {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
					s.call(route, fmt.Sprint(route, i))
				}
			}
		})
	}
	return &wg
}

// requireInnocence: nobody was blamed, and nothing was reported.
func (s *stage) requireInnocence() {
	s.t.Helper()
	all := s.settled()
	for _, o := range all {
		if o.Blamed {
			s.t.Errorf("blamed: %s: own %s of %s: running %s starved %s paused %s stopped %s, %d samples, late %s\n%v",
				o.Line(), o.Own, o.Held, o.Running, o.Starved, o.Paused, o.Stopped, o.Samples, o.Lateness, o.Stack)
		}
	}
	require.Empty(s.t, s.log.String(), "nothing to report")
	counts := map[Verdict]int{}
	for _, o := range all {
		counts[o.Verdict]++
	}
	s.t.Log("not blamed: ", counts)
}

// fullSize runs a scenario at the size of the matrix in docs/watchdog.md.
func fullSize() bool { return os.Getenv("WATCHDOG_SEEDS") != "" }

// needThreads skips a test of innocence that only the clocks of threads can prove.
func needThreads(t *testing.T) {
	t.Helper()
	if !loop.Runtime().Threads() {
		t.Skipf("without %q stacks alone tell who held the loop, and a stack does not show who was kept from running", loop.Runtime().Missing())
	}
}

// eitherWay runs a test with loops that are handed over and with such that are not.
func eitherWay(t *testing.T, test func(t *testing.T, handoff time.Duration)) {
	t.Run("held", func(t *testing.T) { test(t, -1) })
	t.Run("handed over", func(t *testing.T) { test(t, loop.HandoffTime) })
}

func TestInnocentUnderGarbageCollection(t *testing.T) { eitherWay(t, innocentUnderGarbageCollection) }

func innocentUnderGarbageCollection(t *testing.T, handoff time.Duration) {
	needThreads(t)
	bytes, for_ := 128<<20, 1500*time.Millisecond
	if fullSize() {
		bytes, for_ = 2<<30, 10*time.Second
	}
	s := openStage(t, 1, handoff, Config{}, innocentRoutes(), true)
	stop := make(chan struct{})
	clients := s.load(stop)
	storm(bytes, for_)
	close(stop)
	clients.Wait()
	s.requireInnocence()
	debug.FreeOSMemory()
}

// storm keeps a heap of pointers alive and makes garbage as fast as it can.
func storm(bytes int, d time.Duration) {
	type node struct {
		next *node
		_    [6]*node
	}
	heap := make([]*node, bytes/64)
	for i := range heap {
		heap[i] = &node{}
		if i > 0 {
			heap[i].next = heap[i-1]
		}
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for end := time.Now().Add(d); time.Now().Before(end); {
				for range 1000 {
					sinkhole.Store(new([1 << 10]*int))
				}
			}
		})
	}
	wg.Wait()
	runtime.KeepAlive(heap)
}

func TestInnocentAmongBusyProcesses(t *testing.T) { eitherWay(t, innocentAmongBusyProcesses) }

func innocentAmongBusyProcesses(t *testing.T, handoff time.Duration) {
	needThreads(t)
	d := 1500 * time.Millisecond
	if fullSize() {
		d = 10 * time.Second
	}
	for range 6 {
		hog := playRole(t, "hog")
		require.NoError(t, hog.Start())
		defer func() { _ = hog.Process.Kill(); _ = hog.Wait() }()
	}
	s := openStage(t, 1, handoff, Config{}, innocentRoutes(), true)
	stop := make(chan struct{})
	clients := s.load(stop)
	<-time.After(d)
	close(stop)
	clients.Wait()
	s.requireInnocence()
}

// TestStoppedServer is the part of the server in TestInnocentWhenStopped.
func TestStoppedServer(t *testing.T) {
	if os.Getenv("WATCHDOG_TEST_ROLE") != "stopped" {
		t.Skip("a part in another test")
	}
	handoff := time.Duration(-1)
	if os.Getenv("WATCHDOG_TEST_HANDOFF") != "" {
		handoff = loop.HandoffTime
	}
	s := openStage(t, 1, handoff, Config{}, innocentRoutes(), true)
	stop := make(chan struct{})
	clients := s.load(stop)
	fmt.Println("serving")
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(stop)
	clients.Wait()
	s.requireInnocence()
}

func TestInnocentWhenStopped(t *testing.T) { eitherWay(t, innocentWhenStopped) }

func innocentWhenStopped(t *testing.T, handoff time.Duration) {
	stops := 5
	if fullSize() {
		stops = 30
	}
	server := playRole(t, "stopped", "-test.run=^TestStoppedServer$", "-test.v")
	if handoff > 0 {
		server.Env = append(server.Env, "WATCHDOG_TEST_HANDOFF=on")
	}
	stdin, err := server.StdinPipe()
	require.NoError(t, err)
	stdout, err := server.StdoutPipe()
	require.NoError(t, err)
	server.Stderr = os.Stderr
	require.NoError(t, server.Start())
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	out := bufio.NewReader(stdout)
	for line := ""; !strings.Contains(line, "serving"); {
		line, err = out.ReadString('\n')
		require.NoError(t, err)
	}
	for range stops {
		<-time.After(50 * time.Millisecond)
		require.NoError(t, server.Process.Signal(syscall.SIGSTOP))
		<-time.After(200 * time.Millisecond)
		require.NoError(t, server.Process.Signal(syscall.SIGCONT))
	}
	require.NoError(t, stdin.Close())
	rest, err := io.ReadAll(out)
	require.NoError(t, err)
	require.NoError(t, server.Wait(), "%s", rest)
	t.Logf("%s", rest)
}

func TestInnocentShortSlices(t *testing.T) { eitherWay(t, innocentShortSlices) }

func innocentShortSlices(t *testing.T, handoff time.Duration) {
	s := openStage(t, 1, handoff, Config{}, map[string]func(*loop.Task){
		"yields": func(t *loop.Task) {
			for range 10_000 {
				spin(20 * time.Microsecond)
				_ = t.Yield()
			}
		},
		"asks": func(t *loop.Task) {
			for range 10_000 {
				spin(20 * time.Microsecond)
				_ = t.YieldIfDue()
			}
		},
		"fast": func(*loop.Task) {},
	}, true)
	var wg sync.WaitGroup
	for _, route := range []string{"yields", "asks", "fast", "fast"} {
		wg.Go(func() { s.call(route, route) })
	}
	wg.Wait()
	s.requireInnocence()
}

func TestInnocentSleeperAndSlowClient(t *testing.T) { eitherWay(t, innocentSleeperAndSlowClient) }

func innocentSleeperAndSlowClient(t *testing.T, handoff time.Duration) {
	d := time.Second
	if fullSize() {
		d = 10 * time.Second
	}
	s := openStage(t, 1, handoff, Config{}, map[string]func(*loop.Task){
		"sleeper": func(t *loop.Task) { _ = t.Sleep(d) },
		"fast":    func(*loop.Task) {},
	}, true)
	slow, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer func() { _ = slow.Close() }()
	var wg sync.WaitGroup
	wg.Go(func() { s.call("sleeper", "s") })
	for _, b := range []byte("fast slow\n") {
		_, err = slow.Write([]byte{b})
		require.NoError(t, err)
		<-time.After(d / 20)
		s.call("fast", "f")
	}
	answer, err := bufio.NewReader(slow).ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(answer, "slow 0 0 "), answer)
	wg.Wait()
	s.requireInnocence()
}
