package watchdog

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// measured is one request as measured by the load generator.
type measured struct {
	id      string
	sent    time.Time
	waited  time.Duration // from sending the request to the writing of the response
	charged time.Duration // delay by overruns as stated in the response
	overrun uint64
}

// openLoop sends requests at given times, each on its own open connection, without waiting for earlier
// responses.
func (s *stage) openLoop(route string, at []time.Duration) []measured {
	all := make([]measured, len(at))
	var ready, done sync.WaitGroup
	start := make(chan time.Time)
	for i, offset := range at {
		ready.Add(1)
		done.Go(func() {
			conn, err := net.Dial("tcp", s.addr)
			require.NoError(s.t, err)
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
			answers := bufio.NewReader(conn)
			_, err = io.WriteString(conn, "hello "+route+"\n") // the loop has accepted it before a wait is measured
			require.NoError(s.t, err)
			_, err = answers.ReadString('\n')
			require.NoError(s.t, err)
			ready.Done()
			begin := <-start
			<-time.After(time.Until(begin.Add(offset)))
			id := fmt.Sprint(route, i)
			request := []byte(route + " " + id + "\n")
			sent := time.Now()
			_, err = conn.Write(request)
			require.NoError(s.t, err)
			answer, err := answers.ReadString('\n')
			require.NoError(s.t, err)
			var total, overrun, wrote int64
			_, err = fmt.Sscan(answer, &id, &total, &overrun, &wrote)
			require.NoError(s.t, err)
			all[i] = measured{id, sent, s.base.Add(time.Duration(wrote)).Sub(sent), time.Duration(total), uint64(overrun)}
		})
	}
	ready.Wait()
	begin := time.Now().Add(10 * time.Millisecond)
	for range at {
		start <- begin
	}
	done.Wait()
	return all
}

// With overruns at known times and victims at random times, the delay charged by the ledger equals the
// delay measured by the victims.
func TestLedgerAgreesWithTheVictims(t *testing.T) {
	const victims = 240
	var off []time.Duration
	for limit := time.Now().Add(2 * time.Minute); len(off) <= victims/6; off = chargeVictims(t, victims) {
		require.True(t, time.Now().Before(limit), "the hogs hold the loop for 40%% of the time, and the watchdog was always kept from running")
	}
	slices.Sort(off)
	t.Logf("%d late, off by %v at the median beyond 20%%, %v at the 90th percentile", len(off), off[len(off)/2], off[len(off)*9/10])
	require.LessOrEqual(t, off[len(off)/2], 2*time.Millisecond)
}

// chargeVictims lets hogs delay others, checks that the worst victims are named, and returns by how much the charge of each victim is off.
func chargeVictims(t *testing.T, victims int) (off []time.Duration) {
	const hogs, each = 8, 150 * time.Millisecond
	s := newStage(t, 1, Config{}, map[string]func(*loop.Task){
		"hog":    func(*loop.Task) { time.Sleep(60 * time.Millisecond) },
		"victim": func(*loop.Task) {},
		"timer":  func(t *loop.Task) { _ = t.Sleep(3 * time.Millisecond) },
	})
	random := rand.New(rand.NewPCG(7, 7))
	at := func(n int) (times []time.Duration) {
		for range n {
			times = append(times, time.Duration(random.Int64N(int64(hogs*each))))
		}
		return times
	}
	schedule := make([]time.Duration, hogs)
	for i := range schedule {
		schedule[i] = time.Duration(i) * each
	}
	var got []measured
	var wg sync.WaitGroup
	victimsAt, timersAt := at(victims), at(victims/4)
	wg.Go(func() { s.openLoop("hog", schedule) })
	wg.Go(func() { got = s.openLoop("victim", victimsAt) })
	wg.Go(func() { s.openLoop("timer", timersAt) })
	wg.Wait()

	records := map[uint64]Overrun{}
	named := map[string]bool{}
	for _, o := range s.settled() {
		records[o.ID] = o
		for _, v := range o.Victims.Worst {
			named[v.RequestID] = true
		}
	}
	slices.SortFunc(got, func(a, b measured) int { return int(b.waited - a.waited) })
	caused := func(m measured) bool {
		during := time.Duration(0)
		for _, o := range records {
			if time.Duration(o.Lateness) > testBudget {
				continue // the watchdog was kept from running: it may have begun too late to trace arrivals
			}
			end := o.Started.Add(time.Duration(o.Held))
			during += max(0, min(m.waited, end.Sub(m.sent))-max(0, o.Started.Sub(m.sent)))
		}
		return during > m.waited/2
	}
	for _, m := range got {
		if m.waited > 10*time.Millisecond && caused(m) {
			off = append(off, excess(m))
		}
	}
	for _, m := range got[:victims/100+1] {
		if !caused(m) {
			continue // delayed by the machine
		}
		require.True(t, named[m.id], "%s waited %v, was charged %v by overrun %d, and is no victim", m.id, m.waited, m.charged, m.overrun)
		require.Contains(t, records, m.overrun)
	}
	return off
}

// excess returns how much the charge differs from the wait beyond 20%.
func excess(m measured) time.Duration {
	return max((m.charged-m.waited).Abs()-m.waited/5, 0)
}
