// /events: one frame per step for every viewer. A slow viewer misses frames; one that reads nothing
// for viewerPeriod is disconnected.

package admin

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	viewersMax   = 64
	viewerPeriod = 10 * time.Second // timeout of one write to a viewer
)

// subscribers are the viewers of the live page. Any goroutine may use it.
type subscribers struct {
	mu      sync.Mutex
	viewers map[chan []byte]bool
}

// add returns a channel of frames, or false if there are too many viewers.
func (a *subscribers) add() (chan []byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.viewers) >= viewersMax {
		return nil, false
	}
	frames := make(chan []byte, 1)
	if a.viewers == nil {
		a.viewers = map[chan []byte]bool{}
	}
	a.viewers[frames] = true
	return frames, true
}

func (a *subscribers) remove(frames chan []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.viewers, frames)
}

// publish sends a frame to every viewer that has read the last one. It calls frame only if there
// are viewers.
func (a *subscribers) publish(frame func() Frame) {
	a.mu.Lock()
	empty := len(a.viewers) == 0
	a.mu.Unlock()
	if empty {
		return
	}
	message := encode(frame())
	a.mu.Lock()
	defer a.mu.Unlock()
	for frames := range a.viewers {
		select {
		case frames <- message:
		default:
		}
	}
}

// encode returns a frame as a server-sent event. JSON has no line breaks.
func encode(f Frame) []byte {
	b, err := json.Marshal(f)
	if err != nil {
		return []byte(": " + err.Error() + "\n\n")
	}
	return append(append([]byte("data: "), b...), "\n\n"...)
}

func (d *dashboard) events(w http.ResponseWriter, r *http.Request) {
	frames, ok := d.subscribers.add()
	if !ok {
		http.Error(w, "too many viewers", http.StatusServiceUnavailable)
		return
	}
	defer d.subscribers.remove(frames)
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	message := append([]byte("retry: 1000\n"), encode(d.frame())...)
	for {
		if control.SetWriteDeadline(time.Now().Add(viewerPeriod)) != nil {
			return
		}
		if _, err := w.Write(message); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case message = <-frames:
		}
	}
}
