package admin

// The page: three files in the binary, no build step, nothing from elsewhere.

import (
	"embed"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

// page serves one of the files.
func page(name, contentType string) http.HandlerFunc {
	content, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic("admin: " + err.Error()) // they are in the binary
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content) // the client has left
	}
}
