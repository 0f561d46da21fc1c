package main

import (
	"io"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// topic sends messages to many clients, each of which has a goroutine and a channel: the way that is usual with net/http and with
// gorilla/websocket.
type topic struct {
	mu      sync.Mutex
	clients map[chan []byte]struct{}
}

func newTopic() *topic { return &topic{clients: map[chan []byte]struct{}{}} }

// queueMax is the number of messages that a slow client may be behind; it misses what comes then.
const queueMax = 16

func (t *topic) join() chan []byte {
	c := make(chan []byte, queueMax)
	t.mu.Lock()
	t.clients[c] = struct{}{}
	t.mu.Unlock()
	return c
}

func (t *topic) leave(c chan []byte) {
	t.mu.Lock()
	delete(t.clients, c)
	t.mu.Unlock()
}

func (t *topic) publish(message []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.clients {
		select {
		case c <- message:
		default:
		}
	}
}

// published is the handler of POST /publish.
func published(publish func([]byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		message, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		publish(message)
		w.WriteHeader(http.StatusNoContent)
	}
}

// serve sends the messages as server-sent events.
func (t *topic) serve(w http.ResponseWriter, r *http.Request) {
	c := t.join()
	defer t.leave(c)
	w.Header()["Content-Type"] = []string{"text/event-stream"}
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case message := <-c:
			_, _ = w.Write([]byte("data: "))
			_, _ = w.Write(message)
			_, _ = w.Write([]byte("\n\n"))
			if control.Flush() != nil {
				return
			}
		}
	}
}

// feed sends the messages on WebSockets. The goroutine of the request reads, another one writes.
func (t *topic) feed(upgrader *websocket.Upgrader) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		c := t.join()
		defer t.leave(c)
		left := make(chan struct{})
		defer close(left)
		go func() {
			for {
				select {
				case <-left:
					return
				case message := <-c:
					if conn.WriteMessage(websocket.BinaryMessage, message) != nil {
						return
					}
				}
			}
		}()
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}
}
