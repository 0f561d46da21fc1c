// Files as responses. Package static has the files; this is its entry for handlers.

package app

import "errors"

// FileSender sends files as responses: a *static.Site.
type FileSender interface {
	// File sends the file with a name relative to a directory, or returns an error that answers 404 and the like.
	File(c *Context, name string) error
}

var errNoFiles = errors.New("app: Context.File: Options.Files is not set")

// File sends a file of Options.Files, with its media type, validators, conditional requests and ranges. name is relative to the directory of the
// files, with slashes; it cannot lead out of it. A Content-Disposition that was set before makes browsers save the file:
//
//	c.SetHeader("Content-Disposition", `attachment; filename="report.pdf"`)
//	return c.File("reports/7.pdf")
//
// The error can be returned by the handler.
func (c *Context) File(name string) error {
	if c.app.options.Files == nil {
		return errNoFiles
	}
	return c.app.options.Files.File(c, name)
}
