// Tests of the stream without a browser.

package admin

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// frames reads the frames of a stream until the server or the test ends it.
func frames(t *testing.T, r *rig) (next func() Frame) {
	t.Helper()
	response, err := r.client.Get("http://" + r.admin.Addr().String() + "/events")
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	lines := bufio.NewReader(response.Body)
	return func() (f Frame) {
		for {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				require.NoError(t, json.Unmarshal([]byte(data), &f))
				return f
			}
		}
	}
}

func TestFramesFollowTheServer(t *testing.T) {
	r := newRig(t, nil)
	next := frames(t, r)
	f := next()
	require.Equal(t, "ok", f.Status)
	require.Len(t, f.Loops, 1)
	require.Len(t, f.Loops[0].Columns, columnsMax)
	require.Empty(t, f.Culprits)

	answered := r.hold("frames")
	for f = next(); len(f.Culprits) == 0 || f.Loops[0].State != stateOverrun; f = next() {
	}
	require.True(t, f.Culprits[0].Live)
	require.Equal(t, "/hold/frames", f.Loops[0].Path)
	r.release()
	answered()
	for f = next(); f.Culprits[0].Live || f.Rate == 0; f = next() {
	}
	require.Equal(t, "/hold/{what}", f.Culprits[0].Route)
	require.Contains(t, f.Loops[0].Columns, string(columnOverrun))
	require.Contains(t, f.Overruns[0].Path, "/hold/frames")
}

func TestViewersAreBounded(t *testing.T) {
	r := newRig(t, nil)
	for range viewersMax {
		frames(t, r)()
	}
	status, _, _ := r.get("/events")
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, _, _ = r.get("/healthz")
	require.Equal(t, 200, status, "viewers are not all there is")
}
