package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tafe/bench/peers/work"
)

// routes is the handler of net/http and of nbio, which takes the same interface. sized sets Content-Length by hand:
// net/http finds it out for short bodies, nbio would send them chunked.
func routes(o options, sized bool) http.Handler {
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: 4096, DisableCompression: true}}
	backend := "http://" + o.Backend + "/delay"
	plaintext := []byte(work.Plaintext)
	mux := http.NewServeMux()
	mux.HandleFunc("/plaintext", func(w http.ResponseWriter, _ *http.Request) {
		send(w, sized, "text/plain", plaintext)
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.Marshal(work.Message{Message: work.Plaintext})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		send(w, sized, "application/json", b)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 {
			http.Error(w, "no length", http.StatusLengthRequired)
			return
		}
		// Whole, then back: writing before the body is read makes net/http drop the rest of it.
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return
		}
		w.Header()["Content-Type"] = r.Header["Content-Type"]
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		for range work.Calls {
			if err := fetch(r.Context(), client, backend); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
		}
		finish(w, sized, o.Rounds)
	})
	mux.HandleFunc("/hold", func(w http.ResponseWriter, _ *http.Request) { finish(w, sized, work.HoldMillis*o.Rounds) })
	mux.HandleFunc("/light", func(w http.ResponseWriter, _ *http.Request) { finish(w, sized, work.Light(o.Rounds)) })
	mux.HandleFunc("/heavy", func(w http.ResponseWriter, _ *http.Request) { finish(w, sized, work.Heavy(o.Rounds)) })
	mux.HandleFunc("/nap", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(work.Nap)
		finish(w, sized, 1)
	})
	mux.HandleFunc("/fan", func(w http.ResponseWriter, r *http.Request) { fan(w, r, client, sized, o.Backend) })
	mux.HandleFunc("/sleep", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(work.SleepMax)
		send(w, sized, "text/plain", []byte(work.Done))
	})
	events := newTopic()
	mux.HandleFunc("/events", events.serve)
	mux.HandleFunc("POST /publish", published(events.publish))
	return mux
}

// fetch makes one backend call and reads its answer to the end, so that the connection is used again.
func fetch(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// fan asks all bidders at once, each on a goroutine, under one deadline.
func fan(w http.ResponseWriter, r *http.Request, client *http.Client, sized bool, backend string) {
	query := r.URL.Query()
	urls, err := work.Fan(backend, query.Get("n"), query.Get("slow"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), work.FanDeadline)
	defer cancel()
	var answered atomic.Int64
	var all sync.WaitGroup
	for _, bidder := range urls {
		all.Go(func() {
			if fetch(ctx, client, bidder) == nil {
				answered.Add(1)
			}
		})
	}
	all.Wait()
	send(w, sized, "text/plain", []byte(work.FanDone(int(answered.Load()), len(urls))))
}

// finish computes and answers; the result of the computation decides the status, so that no compiler leaves it out.
func finish(w http.ResponseWriter, sized bool, rounds int) {
	if work.Burn(rounds) == 0 {
		http.Error(w, "zero", http.StatusInternalServerError)
		return
	}
	send(w, sized, "text/plain", []byte(work.Done))
}

func send(w http.ResponseWriter, sized bool, contentType string, body []byte) {
	w.Header()["Content-Type"] = []string{contentType}
	if sized {
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	_, _ = w.Write(body)
}

func serveNetHTTP(o options) error {
	return (&http.Server{Addr: o.Listen, Handler: routes(o, false), Protocols: o.protocols()}).ListenAndServe()
}

// protocols are HTTP/1 alone, or HTTP/2 without TLS alone.
func (o options) protocols() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(!o.HTTP2)
	p.SetUnencryptedHTTP2(o.HTTP2)
	return &p
}

// serveProxy is httputil.ReverseProxy with what its users learn to set: idle connections for all, shared buffers.
func serveProxy(o options) error {
	upstream := options{HTTP2: o.UpstreamHTTP2}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: o.Backend})
			r.SetXForwarded()
		},
		Transport:  &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: 4096, DisableCompression: true, Protocols: upstream.protocols()},
		BufferPool: &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}},
	}
	return (&http.Server{Addr: o.Listen, Handler: proxy, Protocols: o.protocols()}).ListenAndServe()
}

// buffers is the proxy's pool of copy buffers.
type buffers struct{ pool sync.Pool }

// Get gives a buffer of 32 KB.
func (b *buffers) Get() []byte { return b.pool.Get().(*[32 << 10]byte)[:] }

// Put takes it back.
func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }

func serveFiles(o options) error {
	return (&http.Server{Addr: o.Listen, Handler: http.FileServer(http.Dir(o.Root)), Protocols: o.protocols()}).ListenAndServe()
}

// serveTLS speaks one of the protocols: the scenario is about TLS, and all peers shall speak the same inside.
func serveTLS(o options) error {
	var protocols http.Protocols
	protocols.SetHTTP1(!o.HTTP2)
	protocols.SetHTTP2(o.HTTP2)
	return (&http.Server{Addr: o.Listen, Handler: routes(o, false), Protocols: &protocols}).ListenAndServeTLS(o.Cert, o.Key)
}
