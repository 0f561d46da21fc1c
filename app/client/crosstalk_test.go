package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// rogue answers each request with the id in its target, and misbehaves at random: it answers twice, late, with
// garbage, in part, with extra bytes, or closes. Extra bytes carry another id, so that they would be detected in the
// next response.
func rogue(w *wire) {
	dice := rand.New(rand.NewPCG(uint64(w.id), 1))
	for {
		req, _ := w.request()
		if req == nil {
			return
		}
		id := strings.TrimPrefix(req.URL.Path, "/")
		good := fmt.Sprintf("HTTP/1.1 200 OK\r\nId: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(id), id)
		evil := "HTTP/1.1 200 OK\r\nId: evil\r\nContent-Length: 4\r\n\r\nevil"
		ok := true
		switch dice.IntN(16) {
		case 0:
			ok = w.send(good + evil)
		case 1:
			ok = w.send(good + "\r\n")
		case 2: // later than any caller waits
			select {
			case <-time.After(150 * time.Millisecond):
			case <-w.stop:
				return
			}
			ok = w.send(good)
		case 3:
			ok = w.send("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n" + evil)
		case 4:
			w.send(good[:dice.IntN(len(good))])
			return
		case 5:
			return
		case 6:
			ok = w.send("HTTP/1.1 103 Early Hints\r\nId: evil\r\n\r\n" + good)
		case 7:
			ok = w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nId: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", id, len(id), id))
		case 8:
			ok = w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nId: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n%s", id, len(id), id, evil))
		case 9:
			ok = w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nId: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s%s", id, len(id), id, evil))
		case 10: // a body that the reader gives up on
			ok = w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nId: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(id)+len(evil)+100, id))
		default:
			ok = w.send(good)
		}
		if !ok {
			return
		}
	}
}

// A response must never reach another request.
func TestNoCrossTalk(t *testing.T) {
	p := serve(t, rogue)
	c := newClient(t, Options{ConnsPerHostMax: 16, Hedge: Hedge{SamplesMin: 10, BudgetPercent: 20, DelayMin: time.Microsecond}})
	var wg sync.WaitGroup
	var answered, failed atomic.Int32
	for worker := range 32 {
		wg.Go(func() {
			for i := range 100 {
				id := fmt.Sprintf("%d-%d", worker, i)
				body, head, err := askRogue(c, nil, p, id, i)
				if err != nil {
					failed.Add(1)
					continue
				}
				answered.Add(1)
				if body != id || head != id {
					t.Errorf("request %s got the response of %s/%s", id, head, body)
				}
			}
		})
	}
	wg.Wait()
	s := c.Stats()
	t.Logf("%d answered, %d failed: %+v", answered.Load(), failed.Load(), s)
	assert.Positive(t, answered.Load())
	assert.Positive(t, failed.Load())
	assert.Positive(t, s.Reuses)
}

func askRogue(c *Client, task *loop.Task, p *peer, id string, i int) (body, head string, err error) {
	var resp Response
	defer resp.Close()
	req := Request{URL: p.url("/" + id), Timeout: 100 * time.Millisecond, Hedge: i%2 == 0}
	if i%5 == 0 {
		req.Method = "POST"
	}
	var ctx context.Context
	if i%7 == 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
	}
	if err := c.Do(task, ctx, &req, &resp); err != nil {
		return "", "", err
	}
	head = string(resp.Header("Id"))
	b, err := resp.ReadAll(100)
	return string(b), head, err
}

// A late response belongs to an abandoned request and must not reach another.
func TestLateResponseIsNobodys(t *testing.T) {
	ctx, giveUp := context.WithCancel(context.Background())
	late := make(chan bool)
	p := serve(t, func(w *wire) {
		if req, _ := w.request(); req != nil && w.id == 1 {
			giveUp()
			<-late
			w.send(strings.ReplaceAll(hello, "hello", "stale"))
			return
		}
		w.send(hello)
		w.drain()
	})
	c := newClient(t, Options{})
	var resp Response
	requireKind(t, c.Do(nil, ctx, &Request{URL: p.url("/")}, &resp), KindCancelled, StageHead)
	close(late)
	_, body, err := fetch(c, p.url("/"))
	require.NoError(t, err)
	assert.Equal(t, "hello", body)
}
