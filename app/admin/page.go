// The live page: files embedded in the binary. It has no build step and loads nothing from other sites.

package admin

import (
	"embed"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

// page serves one file of the live page.
func page(name, contentType string) http.HandlerFunc {
	content, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic("admin: " + err.Error()) // the files are embedded
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content) // the client has left
	}
}
