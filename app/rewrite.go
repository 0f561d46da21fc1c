// Rewrite: a handler behind a route sees another path and query than the client has sent.

package app

import (
	"bytes"
	"errors"
	"slices"
)

// rewrittenNames are the parameter names of a rewritten request.
var rewrittenNames = []string{"path"}

var errRewriteTarget = errors.New("app: Rewrite: the target is not a path with an optional query")

// Rewrite replaces the path and query that c shows to the handler: RawPath, Path, RawQuery, Query and so on. target is a percent-encoded path,
// with a query behind a '?' or without one. The parameters of the route are replaced by one, "path", whose value is the rest of the path behind
// its first slash; Capture returns "". The route stays, and so do RawTarget and the target in the access log. The request is not routed again.
//
// A target with dot segments is answered with 400: it could lead out of the directory that it seems to be in.
func (c *Context) Rewrite(target string) error {
	raw := append(c.rewritten[:0], target...)
	c.rewritten = raw
	path, query, hasQuery := bytes.Cut(raw, []byte("?"))
	if len(path) == 0 || path[0] != '/' || slices.ContainsFunc(raw, func(b byte) bool { return b <= ' ' || b >= 0x7f || b == '#' || b == '\\' }) {
		return errRewriteTarget
	}
	cleaned, err := cleanPath(nil, path)
	if err != nil {
		return err
	}
	if _, same := rawPart(path, len(cleaned), 0, 0); !same {
		return errHiddenDots
	}
	c.req.Path, c.req.Query, c.req.HasQuery = path, query, hasQuery
	c.routed, c.path, c.captures = cleaned, cleaned, nil
	if bytes.IndexByte(cleaned, escapedSlash) >= 0 {
		c.path = appendShown(nil, cleaned)
	}
	c.params.reset()
	c.params.names, c.params.rest, c.params.values = rewrittenNames, true, append(c.params.values, cleaned[1:])
	return nil
}
