// Bidders, tested without waiting: the distribution of delays, and the responses.

package backend

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDelayHasTheMeanAndDeviationItSays(t *testing.T) {
	for _, d := range []Delay{
		{5 * time.Millisecond, 2 * time.Millisecond},
		{20 * time.Millisecond, 20 * time.Millisecond},
		{time.Millisecond, 0},
	} {
		const n = 200_000
		random := rand.New(rand.NewPCG(1, 2))
		var sum, squares float64
		for range n {
			x := float64(d.draw(random.NormFloat64()))
			sum += x
			squares += x * x
		}
		mean := sum / n
		require.InEpsilon(t, float64(d.Mean), mean, 0.02)
		if d.Deviation == 0 {
			require.InDelta(t, 0, squares/n-mean*mean, 1e6, "constant")
			continue
		}
		require.InEpsilon(t, float64(d.Deviation), math.Sqrt(squares/n-mean*mean), 0.05)
	}
}

func TestDelayDraw(t *testing.T) {
	d := Delay{5 * time.Millisecond, 2 * time.Millisecond}
	for _, c := range []struct {
		delay      Delay
		normal     float64
		least, top time.Duration
		why        string
	}{
		{d, 0, 4642 * time.Microsecond, 4643 * time.Microsecond, "the median is the mean over sqrt(1+s*s)"},
		{d, 3.09, 15 * time.Millisecond, 16 * time.Millisecond, "one in a thousand, as the comment says"},
		{d, -8, time.Nanosecond, time.Millisecond, "never nothing"},
		{d, 100, DelayMax, DelayMax, "never beyond the bound"},
		{Delay{}, 3, 0, 0, "no delay at all"},
	} {
		got := c.delay.draw(c.normal)
		require.GreaterOrEqual(t, got, c.least, c.why)
		require.LessOrEqual(t, got, c.top, c.why)
	}
}

func TestDelayCheck(t *testing.T) {
	require.NoError(t, Delay{DelayMax, DelayMax}.Check())
	require.NoError(t, Delay{}.Check())
	for _, d := range []Delay{{Mean: -1}, {Mean: DelayMax + 1}, {Deviation: -1}, {Deviation: DelayMax + 1}} {
		require.Error(t, d.Check())
	}
}

func TestBidderAnswers(t *testing.T) {
	for _, c := range []struct {
		method, target string
		status         int
		why            string
	}{
		{"GET", "/bid?user=7", 200, "the question"},
		{"POST", "/bid?user=7", 200, "as a post, which bidding protocols prefer"},
		{"DELETE", "/bid?user=7", 405, "nothing else"},
		{"GET", "/bid", 400, "for whom?"},
		{"GET", "/", 404, "one path"},
	} {
		b := NewBidder("alone", Delay{Mean: time.Hour}, 1)
		b.wait = func(*http.Request, time.Duration) error { return nil }
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(c.method, c.target, nil))
		require.Equal(t, c.status, w.Code, c.why)
		if c.status != 200 {
			continue
		}
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var bid Bid
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &bid))
		require.Equal(t, "alone", bid.Bidder)
		require.Positive(t, bid.Price)
	}
}

func TestBidderIsMadeBySeedAndName(t *testing.T) {
	delay := Delay{5 * time.Millisecond, 2 * time.Millisecond}
	type pair struct {
		delay time.Duration
		price float64
	}
	draws := func(name string, seed uint64) (pairs []pair) {
		b := NewBidder(name, delay, seed)
		for range 10 {
			d, p := b.next()
			require.GreaterOrEqual(t, p, 0.01)
			require.LessOrEqual(t, p, 10.0)
			pairs = append(pairs, pair{d, p})
		}
		return pairs
	}
	require.Equal(t, draws("a", 1), draws("a", 1))
	require.NotEqual(t, draws("a", 1), draws("b", 1))
	require.NotEqual(t, draws("a", 1), draws("a", 2))
}

func TestBidderStopsWaitingForAClientThatLeft(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	leave()
	b := NewBidder("slow", Delay{Mean: DelayMax}, 1)
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/bid?user=1", nil))
	require.Zero(t, w.Body.Len())
}

func TestSetServesAndStops(t *testing.T) {
	set, err := Start(Config{Store: "127.0.0.1:0", Bidders: []string{"127.0.0.1:0", "127.0.0.1:0"}, Delay: Delay{Mean: time.Nanosecond}})
	require.NoError(t, err)
	require.Len(t, set.BidderAddrs, 2)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i, addr := range set.BidderAddrs {
		target := url.URL{Scheme: "http", Host: addr, Path: "/bid", RawQuery: "user=1"}
		response, err := client.Get(target.String())
		require.NoError(t, err)
		var bid Bid
		require.NoError(t, json.NewDecoder(response.Body).Decode(&bid))
		require.NoError(t, response.Body.Close())
		require.Equal(t, BidderName(i), bid.Bidder)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, set.Wait(ctx), "asked to stop")
	require.NoError(t, set.Close())
	_, err = client.Get("http://" + set.BidderAddrs[0])
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestSetStartsWholeOrNotAtAll(t *testing.T) {
	first, err := Start(Config{Store: "127.0.0.1:0"})
	require.NoError(t, err)
	defer func() { require.NoError(t, first.Close()) }()
	_, err = Start(Config{Store: "127.0.0.1:0", Bidders: []string{"127.0.0.1:0", first.StoreAddr}})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.True(t, strings.Contains(err.Error(), first.StoreAddr), "the error names the address: %v", err)
	_, err = Start(Config{Delay: Delay{Mean: -1}})
	require.Error(t, err)
}

func TestSetReportsAListenerThatFails(t *testing.T) {
	set, err := Start(Config{Store: "127.0.0.1:0"})
	require.NoError(t, err)
	require.NoError(t, set.listeners[0].Close())
	require.Error(t, set.Wait(t.Context()))
	require.NoError(t, set.Close())
}
