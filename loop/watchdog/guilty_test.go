package watchdog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"iter"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/internal/csleep"
)

// scenario holds the loop for at least the given time.
type scenario struct {
	name string
	want Verdict
	why  string
	run  func(t testing.TB, d time.Duration)
}

// expected returns the verdict on a scenario, given the parts of the Go runtime that can be inspected in
// this process (see loop.RuntimeSupport). ok is false if no verdict is certain.
func (sc *scenario) expected() (v Verdict, ok bool) {
	switch {
	case sc.want == Cgo && !csleep.Available:
		return "", false
	case sc.name == "raw-read" && !loop.Runtime().Threads():
		return Syscall, true // the kernel cannot be asked about a thread that is not known
	case sc.name == "file" && loop.Runtime().Threads() && !loop.Runtime().States():
		return "", false // short waits between short runs: without states they look like waits of the Go runtime
	}
	return sc.want, true
}

// spin computes for about d of CPU time.
//
//go:noinline
func spin(d time.Duration) (n uint64) {
	for range rounds(d) {
		n += tight(1000)
	}
	return n
}

//go:noinline
func tight(rounds int) (n uint64) { // without calls, so that only a signal preempts it
	for i := range rounds {
		n = n*31 + uint64(i)
	}
	return n
}

// computed keeps the compiler from removing the work.
var computed atomic.Uint64

// rounds returns how many thousand rounds of tight take d on an idle CPU.
func rounds(d time.Duration) int {
	return int(d / perRound())
}

var perRound = sync.OnceValue(func() time.Duration {
	least := time.Hour
	for range 200 {
		began := time.Now()
		for range 10 {
			computed.Add(tight(1000))
		}
		least = min(least, time.Since(began)/10)
	}
	return least
})

var guilty = []scenario{
	{"spin", Spin, "a loop in Go code", func(_ testing.TB, d time.Duration) { spin(d) }},
	{"spin-tight", Spin, "a loop without a call: only the signal preempts it", func(_ testing.TB, d time.Duration) {
		computed.Add(tight(1000 * rounds(d)))
	}},
	{"library", Spin, "the leaf is in the standard library, the blame is not", func(_ testing.TB, d time.Duration) {
		block := make([]byte, 1<<20)
		for range 20 + d/time.Millisecond {
			sha256.Sum256(block)
		}
	}},
	{"json", Spin, "50 MB of JSON, with all its garbage", func(t testing.TB, _ time.Duration) {
		out, err := json.Marshal(largeDocument())
		require.NoError(t, err)
		require.Greater(t, len(out), 50<<20)
	}},
	{"regexp", Spin, "a pattern that is slow on this text", func(_ testing.TB, d time.Duration) {
		pattern := regexp.MustCompile(`(x+x+)+y`)
		text := strings.Repeat("x", 20_000)
		for range 30 + d/(2*time.Millisecond) {
			pattern.MatchString(text)
		}
	}},
	{"sleep", Sleep, "time.Sleep", func(_ testing.TB, d time.Duration) { time.Sleep(d) }},
	{"mutex", Lock, "held by another goroutine", func(_ testing.TB, d time.Duration) {
		var mu sync.Mutex
		mu.Lock()
		time.AfterFunc(d, mu.Unlock)
		mu.Lock()
		defer mu.Unlock()
	}},
	{"waitgroup", Lock, "goroutines that the handler started", func(_ testing.TB, d time.Duration) {
		var wg sync.WaitGroup
		wg.Go(func() { time.Sleep(d) })
		wg.Wait()
	}},
	{"channel", Channel, "a receive", func(_ testing.TB, d time.Duration) { <-time.After(d) }},
	{"select", Channel, "a select with a timeout", func(_ testing.TB, d time.Duration) {
		select {
		case <-make(chan int):
		case <-time.After(d):
		}
	}},
	{"net-read", Network, "a blocking read of a Go connection", func(t testing.TB, d time.Duration) {
		conn := silentConn(t)
		_ = conn.SetReadDeadline(time.Now().Add(d))
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
	}},
	{"raw-read", Network, "a blocking read of a bare socket: only the kernel knows", func(t testing.TB, d time.Duration) {
		ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		require.NoError(t, err)
		time.AfterFunc(d, func() { _ = syscall.Close(ends[1]) })
		_, _ = syscall.Read(ends[0], make([]byte, 1))
		_ = syscall.Close(ends[0])
	}},
	{"dns", Network, "a name server that does not answer", func(t testing.TB, d time.Duration) {
		silent, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = silent.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", silent.LocalAddr().String())
		}}
		_, err = r.LookupHost(ctx, "nowhere.example")
		require.Error(t, err)
	}},
	{"file", File, "writes and fsync", func(t testing.TB, d time.Duration) {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		require.NoError(t, err)
		defer func() { _ = f.Close() }()
		block := make([]byte, 256<<10)
		for end, n := time.Now().Add(d), 0; n < 20 || time.Now().Before(end); n++ {
			_, err = f.WriteAt(block, 0)
			require.NoError(t, err)
			require.NoError(t, f.Sync())
		}
	}},
	{"pipe", File, "a read of a pipe", func(t testing.TB, d time.Duration) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		time.AfterFunc(d, func() { _ = w.Close() })
		_, err = r.Read(make([]byte, 1))
		require.Error(t, err)
		_ = r.Close()
	}},
	{"subprocess", Syscall, "waiting for a child", func(t testing.TB, d time.Duration) {
		require.NoError(t, exec.Command("sleep", durationText(d)).Run())
	}},
	{"cgo", Cgo, "a sleep in C", func(_ testing.TB, d time.Duration) { csleep.Sleep(d) }},
	{"pull-spin", Spin, "a coroutine of the handler's own computes", func(_ testing.TB, d time.Duration) {
		next, stop := iter.Pull(func(yield func(int) bool) { spin(d); yield(1) })
		next()
		stop()
	}},
	{"pull-sleep", Sleep, "a coroutine of a coroutine of the handler's sleeps", func(_ testing.TB, d time.Duration) {
		next, stop := iter.Pull(func(yield func(int) bool) {
			inner, stopInner := iter.Pull(func(yield func(int) bool) { time.Sleep(d); yield(1) })
			inner()
			stopInner()
			yield(1)
		})
		next()
		stop()
	}},
}

func durationText(d time.Duration) string {
	return strings.TrimSuffix(d.Round(time.Millisecond).Truncate(time.Millisecond).String(), "ms") + "e-3"
}

func silentConn(t testing.TB) net.Conn {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

type article struct {
	Name, Text string
	Numbers    []float64
}

var largeDocument = sync.OnceValue(func() []article {
	doc := make([]article, 12_000)
	numbers := make([]float64, 300)
	for i := range numbers {
		numbers[i] = 1 / float64(i+3)
	}
	for i := range doc {
		doc[i] = article{"name", strings.Repeat("text ", 50), numbers}
	}
	return doc
})

// judgeGuilty runs every scenario among harmless requests, in an order that the seed determines, and
// returns the verdict on each. A scenario that the watchdog could not observe on a busy machine, or
// during which no other request waited, is repeated, up to a number of times. With handoff, other
// requests wait all the time, so that the loop is handed over.
func judgeGuilty(t *testing.T, seed uint64, again int, handoff bool) (got map[string]Verdict, innocents []Overrun) {
	largeDocument()
	got = map[string]Verdict{}
	routes := map[string]func(*loop.Task){
		"fast": func(*loop.Task) {},
		"nap":  func(task *loop.Task) { _ = task.Sleep(2 * time.Millisecond) },
	}
	byName := map[string]scenario{}
	for _, sc := range guilty {
		if _, ok := sc.expected(); !ok {
			t.Logf("%s is left out: no certain verdict without %q", sc.name, loop.Runtime().Missing())
			continue
		}
		byName[sc.name] = sc
		routes[sc.name] = func(*loop.Task) { sc.run(t, time.Duration(40+seed%40)*time.Millisecond) }
	}
	for ; len(byName) > 0 && again >= 0; again-- {
		handoffTime := time.Duration(-1)
		if handoff {
			handoffTime = loop.HandoffTime
		}
		s := openStage(t, 1, handoffTime, Config{}, routes, true)
		var others sync.WaitGroup
		stop := make(chan struct{})
		if handoff {
			others.Go(func() { s.callOften("fast", stop) })
		}
		for i, k := range shuffled(len(guilty), seed) {
			if _, ok := byName[guilty[k].name]; !ok {
				continue
			}
			if i%3 == 0 {
				s.call("fast", "fast")
				s.call("nap", "nap")
			}
			s.call(guilty[k].name, guilty[k].name)
		}
		close(stop)
		others.Wait()
		for _, o := range s.settled() {
			sc, known := byName[o.Route]
			switch {
			case !known && o.Blamed:
				innocents = append(innocents, o)
			case known && (o.Samples > 0 && o.Blamed && (o.Released || !handoff) || again == 0):
				if handoff {
					require.True(t, o.Released, o.Line())
					require.Greater(t, o.Ran, o.Held)
				}
				got[o.Route] = o.Verdict
				delete(byName, o.Route)
			}
			if want, _ := sc.expected(); known && o.Verdict != want {
				t.Logf("%s: %s own %s of %s: running %s starved %s paused %s stopped %s, %d samples, %d discarded, late %s",
					sc.name, o.Verdict, o.Own, o.Held, o.Running, o.Starved, o.Paused, o.Stopped, o.Samples, o.Discarded, o.Lateness)
			}
		}
		s.stop()
	}
	return got, innocents
}
