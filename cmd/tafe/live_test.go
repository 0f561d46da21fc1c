package main

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// /events sends numbered events, /ws echoes, and SIGTERM ends both in order.
func TestLiveRoutes(t *testing.T) {
	e := startServe(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+e.addr+"/events", nil)
	require.NoError(t, err)
	events, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = events.Body.Close() }()
	require.Equal(t, "text/event-stream", events.Header.Get("Content-Type"))
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+e.addr+"/ws", http.Header{"Origin": {"https://elsewhere.example"}})
	require.NoError(t, err)
	defer func() { _ = ws.Close() }()
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(time.Minute)))
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("hello")))
	_, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))

	lines := bufio.NewScanner(events.Body)
	var ids []int
	for len(ids) < 2 && lines.Scan() {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			n, err := strconv.Atoi(id)
			require.NoError(t, err)
			ids = append(ids, n)
		}
	}
	require.Len(t, ids, 2)
	require.Equal(t, ids[0]+1, ids[1], "one after the other")

	require.NoError(t, e.cmd.Process.Signal(syscall.SIGTERM))
	_, _, err = ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
	for lines.Scan() {
	}
	require.NoError(t, lines.Err(), "the stream ends, and is not cut off")
}
