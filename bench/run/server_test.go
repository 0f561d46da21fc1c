package run

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"tafe/bench/load"
)

// The test binary is also the server that the tests start: TEST_SERVER says which.
func TestMain(m *testing.M) {
	switch mode, addr := os.Getenv("TEST_SERVER"), os.Getenv("TEST_ADDR"); mode {
	case "":
		goleak.VerifyTestMain(m)
	case "serve":
		fmt.Println(http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })))
	case "stubborn":
		l, err := net.Listen("tcp", addr)
		fmt.Println(l, err)
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "die":
		fmt.Println("this is why")
		os.Exit(3)
	}
}

func free(t *testing.T) netip.AddrPort {
	t.Helper()
	addrs, err := FreeAddrs(1)
	require.NoError(t, err)
	return addrs[0]
}

func start(t *testing.T, mode string, cpu int) (*Server, netip.AddrPort, error) {
	t.Helper()
	addr := free(t)
	self, err := os.Executable()
	require.NoError(t, err)
	s, err := Start([]string{self}, []string{"TEST_SERVER=" + mode, "TEST_ADDR=" + addr.String()}, cpu, addr)
	return s, addr, err
}

func TestStartBindsAndStopEnds(t *testing.T) {
	s, _, err := start(t, "serve", 0)
	require.NoError(t, err)
	var set unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(s.PID(), &set))
	require.Equal(t, 1, set.Count(), "bound to one core")
	require.True(t, set.IsSet(0))
	rss, err := s.RSS()
	require.NoError(t, err)
	require.Greater(t, rss, int64(1<<20))
	s.Stop()
	require.ErrorIs(t, unix.Kill(s.PID(), 0), unix.ESRCH, "it is gone, and reaped")
}

func TestStopKillsWhoIgnoresSIGTERM(t *testing.T) {
	s, _, err := start(t, "stubborn", -1)
	require.NoError(t, err)
	s.Stop()
	require.ErrorIs(t, unix.Kill(s.PID(), 0), unix.ESRCH)
}

func TestStartTellsWhyItFailed(t *testing.T) {
	_, _, err := start(t, "die", -1)
	require.ErrorContains(t, err, "this is why")
}

func TestStartOfNothing(t *testing.T) {
	addr := free(t)
	_, err := Start([]string{"/nonexistent/server"}, nil, -1, addr)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestCPUCountsTheWholeTree(t *testing.T) {
	addr := free(t)
	self, err := os.Executable()
	require.NoError(t, err)
	// A shell that stays, with one child that serves and one that computes.
	script := fmt.Sprintf("%s & (while :; do :; done) & wait", self)
	s, err := Start([]string{"/bin/sh", "-c", script}, []string{"TEST_SERVER=serve", "TEST_ADDR=" + addr.String()}, -1, addr)
	require.NoError(t, err)
	defer s.Stop()
	require.GreaterOrEqual(t, len(tree(s.PID())), 3)
	require.Eventually(t, func() bool {
		used, err := s.CPU()
		return err == nil && used > 50*time.Millisecond
	}, 20*time.Second, 10*time.Millisecond, "the shell alone uses next to nothing")
}

func TestPlayMeasuresARound(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	b := Bench{Root: t.TempDir(), Cores: Cores{Server: 0, Load: -1}, Warmup: 20 * time.Millisecond, Window: time.Minute}
	p := Peer{Name: "self", Command: func(s Setting) ([]string, []string, error) {
		return []string{self}, []string{"TEST_SERVER=serve", "TEST_ADDR=" + s.Listen.String()}, nil
	}}
	request := load.Request{Name: "hello", Raw: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Status: 200, BodyBytes: 5}
	c := Case{Scenario: "test", Name: "hello", Plan: load.Plan{Conns: 2, EndedMax: 100, Requests: []load.Request{request}}}
	s, err := b.Play(c, p, 3)
	require.NoError(t, err)
	require.Equal(t, []any{"test", "hello", "self", 3}, []any{s.Scenario, s.Case, s.Peer, s.Round})
	require.Positive(t, s.Answered)
	require.Positive(t, s.CPUMicros)
	require.Positive(t, s.RSS)
	require.Empty(t, s.Errors)
	require.Empty(t, s.Classes[0].Histogram, "curves are drawn of open loops")
	c.Plan.Rate, c.Plan.EndedMax, b.Window = 1000, 0, 100*time.Millisecond
	s, err = b.Play(c, p, 3)
	require.NoError(t, err)
	var n int64
	for _, count := range s.Classes[0].Histogram {
		n += count.N
	}
	require.Equal(t, s.Classes[0].Count, n, "the histogram holds every latency")
}

func TestHoldWeighsConnections(t *testing.T) {
	s, addr, err := start(t, "serve", -1)
	require.NoError(t, err)
	defer s.Stop()
	request := load.Request{Name: "hello", Raw: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Status: 200, BodyBytes: 5}
	h := Hold{Conns: 2000, Request: request, Until: load.Answered}
	sample, err := h.weigh(s, addr, 100*time.Millisecond)
	require.NoError(t, err)
	require.Greater(t, sample.PerConn, 2000.0, "a goroutine's stack and two buffers")
	require.Less(t, sample.PerConn, 200_000.0)
	h.Request.Status = 404
	_, err = h.weigh(s, addr, 100*time.Millisecond)
	require.ErrorContains(t, err, "status 200")
}

// A server that is not installed is named with the line that installs it; the others start.
func TestPeersKnowWhetherTheyAreThere(t *testing.T) {
	for _, p := range Peers {
		t.Run(p.Name, func(t *testing.T) {
			require.NotEmpty(t, p.About)
			require.NotEmpty(t, p.Install)
			if line := p.Missing(t.TempDir()); strings.HasPrefix(p.Program, "bin/") {
				require.Equal(t, p.Install, line, "nothing is built in an empty folder")
			}
		})
	}
}

func TestApacheConfigurationIsAccepted(t *testing.T) {
	if line := apache.Missing("."); line != "" {
		t.Skip("Apache is not installed:", line)
	}
	addr := netip.MustParseAddrPort("127.0.0.1:8080")
	set := Setting{Root: "..", Dir: t.TempDir(), Listen: addr, Backend: addr, PythonRounds: 1, Rounds: 1}
	argv, _, err := apache.Command(set)
	require.NoError(t, err)
	out, err := exec.Command(argv[0], append([]string{"-t"}, argv[3:]...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
