// A new process takes over from an old one on one host, while requests go on: docs/decisions/008.

package main

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const takeOvers = 4

// visitors make requests, each on a connection of its own and at fixed times, whatever becomes of the earlier ones.
func visitors(t *testing.T, addr string, every time.Duration) (stop func() (asked, failed int64)) {
	var asked, failed atomic.Int64
	ended := make(chan struct{})
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				wg.Go(func() {
					asked.Add(1)
					resp, err := client.Get("http://" + addr + "/hello")
					if err == nil {
						_ = resp.Body.Close()
					}
					if err != nil || resp.StatusCode != 200 {
						failed.Add(1)
						t.Logf("%v", err)
					}
				})
			}
		}
	})
	return func() (int64, int64) {
		close(ended)
		wg.Wait()
		return asked.Load(), failed.Load()
	}
}

func TestTakeOverLosesNoRequest(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	require.NoError(t, free.Close())
	file := filepath.Join(t.TempDir(), "edge.toml")
	writeConfig(t, file, fmt.Sprintf("[server]\nlisten = %q\nshared = true\nloops = 2\n[[route]]\npath = \"/hello\"\nrespond = { body = \"hello\" }\n", addr))
	serve := func() *process {
		p := start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
		require.Contains(t, p.line(), "serving http://"+addr)
		return p
	}
	old := serve()
	stop := visitors(t, addr, 2*time.Millisecond)
	for range takeOvers {
		next := serve()
		require.NoError(t, old.cmd.Process.Signal(syscall.SIGTERM))
		code, _ := old.wait()
		require.Zero(t, code)
		old = next
	}
	asked, failed := stop()
	t.Logf("%d requests, each on a new connection, %d take-overs: %d failed", asked, takeOvers, failed)
	require.Positive(t, asked)
	require.Zero(t, failed)
}
