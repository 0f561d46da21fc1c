// /bid is tested with the embedded backends, with foreign ones that are late or broken, and with a real memcached.

package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/cmd/tafe/internal/backend"
	"tafe/loop/testrig"
)

// bidAnswer is the response of /bid as clients read it.
type bidAnswer struct {
	User, Segment, Winner string
	Price                 float64
	Bidders               []struct {
		Name, Status string
		MS           float64
	}
}

// bid retries until the response is as wanted: on a busy machine a store or a bidder may be late.
func bid(t *testing.T, addr, user string, wanted func(bidAnswer) bool) (a bidAnswer) {
	t.Helper()
	await(t, "the right answer to /bid", func() bool {
		status, body := get(t, addr, "/bid?user="+user)
		if status != http.StatusOK {
			require.Equal(t, http.StatusServiceUnavailable, status, body)
			return false
		}
		a = bidAnswer{}
		require.NoError(t, json.Unmarshal([]byte(body), &a))
		return wanted(a)
	})
	return a
}

func anyAnswer(bidAnswer) bool { return true }

func TestBidAsksTheEmbeddedBackends(t *testing.T) {
	e := startServe(t)
	for _, c := range []struct{ user, segment, why string }{
		{"1", "travel", "a user with a profile"},
		{"1000", "sports", "the last of them"},
		{"stranger", "unknown", "one without"},
	} {
		a := bid(t, e.addr, c.user, anyAnswer)
		require.Equal(t, c.user, a.User, c.why)
		require.Equal(t, c.segment, a.Segment, c.why)
		require.Len(t, a.Bidders, 3)
		won := a.Winner == "" && a.Price == 0
		for i, b := range a.Bidders {
			require.Equal(t, backend.BidderName(i), b.Name)
			won = won || b.Name == a.Winner && b.Status == "ok" && a.Price > 0
		}
		require.True(t, won, "the winner is a bidder that answered: %+v", a)
	}
}

func TestBidTellsLateAndBrokenBidders(t *testing.T) {
	t.Parallel()
	slow := start(t, "backend", "--store", "127.0.0.1:0", "--bidders", "127.0.0.1:0", "--delay", "10s", "--jitter", "0s")
	store := strings.TrimPrefix(slow.line(), "store ")
	late := strings.TrimPrefix(slow.line(), "bidder-1 ")
	fast := start(t, "backend", "--store", "127.0.0.1:0", "--bidders", "127.0.0.1:0", "--delay", "0s")
	fast.line()
	quick := strings.TrimPrefix(fast.line(), "bidder-1 ")
	broken := "127.0.0.1:" + testrig.Port(t)

	e := startServe(t, "--store", store, "--bidders", late+","+quick+","+broken)
	a := bid(t, e.addr, "2", func(a bidAnswer) bool { return a.Bidders[1].Status == "ok" })
	require.Equal(t, "news", a.Segment)
	for i, want := range []struct{ name, status string }{{late, "late"}, {quick, "ok"}, {broken, "error"}} {
		require.Equal(t, want.name, a.Bidders[i].Name)
		require.Equal(t, want.status, a.Bidders[i].Status, want.name)
	}
	require.Equal(t, quick, a.Winner)
	require.Positive(t, a.Price)
}

func TestBidWithoutAStoreIsUnavailable(t *testing.T) {
	e := startServe(t, "--store", "127.0.0.1:"+testrig.Port(t))
	status, body := get(t, e.addr, "/bid?user=1")
	require.Equal(t, http.StatusServiceUnavailable, status, body)
}

// A bidder that dies under load fails only in the responses that asked it, and is used again when it is back.
func TestABidderDiesUnderLoad(t *testing.T) {
	t.Parallel()
	shaky := "127.0.0.1:" + testrig.Port(t)
	bidder := func() *process {
		p := start(t, "backend", "--store", "127.0.0.1:0", "--bidders", shaky, "--delay", "1ms", "--jitter", "0s")
		p.line()
		return p
	}
	steady := start(t, "backend", "--store", "127.0.0.1:0", "--bidders", "127.0.0.1:0", "--delay", "1ms", "--jitter", "0s")
	store := strings.TrimPrefix(steady.line(), "store ")
	well := strings.TrimPrefix(steady.line(), "bidder-1 ")
	p := bidder()
	e := startServe(t, "--store", store, "--bidders", well+","+shaky)
	both := func(a bidAnswer) bool { return a.Bidders[0].Status == "ok" && a.Bidders[1].Status == "ok" }
	bid(t, e.addr, "1", both)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var asked, refused atomic.Int64
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				if status, _ := get(t, e.addr, "/bid?user=1"); status != http.StatusOK {
					refused.Add(1) // the store was slow: a busy machine
				}
			}
		})
	}
	require.NoError(t, p.cmd.Process.Kill())
	a := bid(t, e.addr, "1", func(a bidAnswer) bool { return a.Bidders[0].Status == "ok" && a.Bidders[1].Status != "ok" })
	require.Equal(t, well, a.Winner, "the other one wins")
	_, _ = p.wait()
	bidder()
	bid(t, e.addr, "1", both)
	close(stop)
	wg.Wait()
	require.Positive(t, asked.Load())
	require.Less(t, refused.Load(), asked.Load())
	require.NotContains(t, e.stderr.String(), "panic")
}

func TestBidReadsARealMemcached(t *testing.T) {
	t.Parallel()
	path := testrig.Program(t, "memcached")
	addr := "127.0.0.1:" + testrig.Port(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	memcached := exec.Command(path, "-l", "127.0.0.1", "-p", port, "-u", "nobody", "-U", "0")
	require.NoError(t, memcached.Start())
	defer func() { _ = memcached.Process.Kill(); _ = memcached.Wait() }()

	var conn net.Conn
	await(t, "memcached", func() bool {
		conn, err = net.Dial("tcp", addr)
		return err == nil
	})
	defer conn.Close()
	raw := &rawConn{Conn: conn, t: t}
	raw.send("set " + backend.ProfileKey("42") + " 0 0 20 noreply\r\n{\"segment\":\"garden\"}\r\n")

	e := startServe(t, "--store", addr)
	require.Equal(t, "garden", bid(t, e.addr, "42", anyAnswer).Segment)
	require.Equal(t, "unknown", bid(t, e.addr, "43", anyAnswer).Segment)
}
