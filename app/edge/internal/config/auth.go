// forward_auth: its keys, and the middleware that they describe.

package config

import (
	"time"

	"tafe/app"
	"tafe/app/middleware"
)

// ForwardAuth asks a server about each request: a GET with X-Forwarded-Method, -Proto, -Host, -Uri and -For. After a 2xx
// answer the request continues. Answers of 3xx and 4xx are sent to the client, such as a redirect to a login page. Without such
// an answer the client gets 503.
type ForwardAuth struct {
	// Name of the [[upstream]].
	Upstream string `toml:"upstream" required:"yes"`
	// Path of the GET request, with its query.
	Path string `toml:"path" default:"/"`
	// Request headers that the upstream sees, such as ["Authorization", "Cookie"]. Unset: all but those about the connection,
	// the body and conditions.
	SendHeaders []string `toml:"send_headers"`
	// Headers of a 2xx answer that become headers of the request, such as ["Remote-User"]. Headers with these names that the
	// client has sent are removed before, also with "_" for "-".
	CopyHeaders []string `toml:"copy_headers"`
	// Headers of the answer that become headers of the response, such as ["Set-Cookie"].
	AnswerHeaders []string `toml:"answer_headers"`
	// Send X-Forwarded-Method and -Uri. With false one answer is valid for all paths and methods.
	URI bool `toml:"uri" default:"true"`
	// Timeout of one try. The tries and other timeouts are those of the upstream.
	Timeout Duration `toml:"timeout" default:"5s" min:"1ms" max:"1h"`
	// Time for which a 2xx answer is used for requests of which the upstream would see the same. Answers with Cache-Control:
	// no-store or with one of answer_headers are not cached. It requires send_headers. 0s: each request asks.
	CacheTime Duration `toml:"cache_time" default:"0s" min:"0s" max:"24h"`
	// Cached answers. Beyond it the least recently used one is dropped.
	CacheMax int `toml:"cache_max" default:"10000" min:"1" max:"10000000"`
}

// checkForwardAuth checks the values of f against one another.
func (d *decoder) checkForwardAuth(p path, f *ForwardAuth) {
	if f.CacheTime > 0 && f.SendHeaders == nil {
		d.problem(p.child("cache_time"), `%s: want send_headers too, such as ["Authorization", "Cookie"]: answers are cached by what the upstream sees`, p.child("cache_time"))
	}
	for key, names := range map[string][]string{"send_headers": f.SendHeaders, "copy_headers": f.CopyHeaders, "answer_headers": f.AnswerHeaders} {
		for i, name := range names {
			if at := p.child(key).index(i); !middleware.CanForward(name) {
				d.problem(at, "%s has %q, which is not the name of a header that can be copied", at, name)
			}
		}
	}
	if f.Path == "" || f.Path[0] != '/' {
		d.problem(p.child("path"), `%s = %q: want a path, such as "/verify"`, p.child("path"), f.Path)
	}
}

// forwardAuth makes the middleware, or returns nil after reporting a problem. With an upstream that cannot be used it refuses
// every request.
func (b *builder) forwardAuth(p path, f *ForwardAuth) app.Middleware {
	if answer, unusable := b.unusable[f.Upstream]; unusable {
		if answer == nil { // a problem that was named
			return nil
		}
		return func(app.Handler) app.Handler { return answer }
	}
	g := b.resources.group(f.Upstream)
	if g == nil {
		b.noUpstream(p.child("upstream"), f.Upstream)
		return nil
	}
	return middleware.ForwardAuth(middleware.ForwardAuthOptions{
		Sender: g, URL: f.Path, SendHeaders: f.SendHeaders, CopyHeaders: f.CopyHeaders, AnswerHeaders: f.AnswerHeaders, HideURI: !f.URI,
		Timeout: time.Duration(f.Timeout), CacheTime: time.Duration(f.CacheTime), CacheMax: f.CacheMax,
	})
}
