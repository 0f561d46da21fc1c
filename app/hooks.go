// Entry points for middlewares and other packages of this module that extend app. Handlers do not need them.

package app

import "tafe/loop"

// ContextOf returns the Context whose handler t runs; nil for other tasks, such as those of a loop.Group.
func ContextOf(t *loop.Task) *Context {
	if rt, ok := t.Observe().Runner().(*requestTask); ok {
		return (*Context)(rt)
	}
	return nil
}

// CodeBody sets the function that chooses the Coder of the response to c; nil sets none. It replaces one that was set before.
//
// choose is called once, before the response head is written, with the status, the content type and the length of the body, -1 if unknown. If
// it returns a Coder, the body is coded, and choose must have set the headers that say so. If it returns nil, the body is sent as it is.
// choose is not called for error responses and for files that the kernel sends. For HEAD it is called as for GET. For a 304, whose type and
// length may be unknown, only the headers that it sets are used.
func CodeBody(c *Context, choose func(c *Context, status int, contentType string, length int64) Coder) {
	c.resp.choose = choose
}

// SetUpstream records the name of the server that a proxy has sent the request to, for Context.Upstream. The string is kept until the end of
// the request.
func SetUpstream(c *Context, name string) { c.upstream = name }
