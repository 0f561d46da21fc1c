// Tests of the trace with the importer of Chrome's trace viewer, which the Go distribution contains for go tool trace.

package admin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// viewerPage imports a trace and shows the result.
const viewerPage = `<!DOCTYPE html>
<script src="/static/webcomponents.min.js"></script>
<link rel="import" href="/static/trace_viewer_full.html">
<script>
document.addEventListener('WebComponentsReady', async () => {
  const model = new tr.Model(), options = new tr.importer.ImportOptions();
  const trace = await (await fetch('/trace.json')).text();
  await new tr.importer.Import(model, options).importTracesWithProgressDialog([trace]);
  const seen = {tracks: [], slices: 0, nested: 0, flows: 0, loose: 0, overruns: 0, warnings: model.importWarnings.map(w => w.type + ': ' + w.message)};
  for (const thread of model.getAllThreads()) {
    seen.tracks.push(thread.name);
    for (const slice of thread.sliceGroup.slices) {
      seen.slices++;
      if (slice.parentSlice) seen.nested++;
      if (slice.category === 'overrun') seen.overruns++;
    }
  }
  for (const flow of model.flowEvents) {
    seen.flows++;
    if (!flow.startSlice || !flow.endSlice) seen.loose++;
  }
  window.seen = seen;
});
</script>`

// viewerFiles is the directory of the viewer.
func viewerFiles(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	folder := filepath.Join(strings.TrimSpace(string(root)), "src", "internal", "trace", "traceviewer", "static")
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, "trace_viewer_full.html"))
	}
	if err != nil {
		testrig.Lacks(t, "no viewer of go tool trace: "+err.Error())
	}
	return folder
}

func TestTraceInAViewer(t *testing.T) {
	folder := viewerFiles(t)
	r := newRig(t, nil)
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for range 250 { // short slices, close to each other
				for _, path := range []string{"/plaintext", "/nap"} {
					if response, err := r.client.Get("http://" + r.server.Addr().String() + path); err == nil {
						_, _ = io.Copy(io.Discard, response.Body)
						_ = response.Body.Close()
					}
				}
			}
		})
	}
	load.Wait()
	answered := r.hold("trace")
	r.release()
	answered()
	r.await("the overrun is closed", func() bool { return r.overruns()[0].Final })
	status, _, trace := r.get("/trace?seconds=60")
	require.Equal(t, http.StatusOK, status)

	files := http.NewServeMux()
	files.Handle("GET /static/", http.StripPrefix("/static/", http.FileServer(http.Dir(folder))))
	files.HandleFunc("GET /trace.json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(trace)) })
	files.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(viewerPage)) })
	site := httptest.NewServer(files)
	defer site.Close()
	run := browse(t, site.URL)
	var seen struct {
		Tracks                                 []string
		Slices, Nested, Flows, Loose, Overruns int
		Warnings                               []string
	}
	run(chromedp.Poll("window.seen !== undefined", nil), chromedp.Evaluate("window.seen", &seen))
	require.Equal(t, []string{"loop 0"}, seen.Tracks)
	require.GreaterOrEqual(t, seen.Slices, 3000)
	require.Positive(t, seen.Overruns)
	require.Zero(t, seen.Nested, "slices of one loop follow each other")
	require.Positive(t, seen.Flows, "requests across their waits")
	require.Zero(t, seen.Loose, "an arrow joins two slices")
	require.Empty(t, seen.Warnings)
}
