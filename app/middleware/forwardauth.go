// ForwardAuth: an external server decides about each request. forwardauthcache.go remembers its answers.

package middleware

import (
	"context"
	"net/http"
	"strings"
	"time"

	"tafe/app"
	"tafe/app/client"
	"tafe/httpparse"
	"tafe/loop"
)

// Sender sends the subrequest of ForwardAuth: a *client.Client, or a *proxy.Group, which sets the address itself.
type Sender interface {
	Do(t *loop.Task, ctx context.Context, req *client.Request, resp *client.Response) error
}

// ForwardAuthOptions configures ForwardAuth.
type ForwardAuthOptions struct {
	Sender Sender
	// URL of the subrequest; its path alone, such as "/verify", if Sender sets the address.
	URL string
	// SendHeaders are the request headers that the server sees. Nil means all, except those about the connection and the
	// body, and conditions.
	SendHeaders []string
	// CopyHeaders are headers of a 2xx answer that become request headers for the handler. Headers with these names that
	// the client has sent are removed before, also where '_' stands for '-'.
	CopyHeaders []string
	// AnswerHeaders are headers of any answer that become response headers for the client, such as Set-Cookie.
	AnswerHeaders []string
	// HideURI sends neither the method nor the URI of the request, so that one answer is valid for all of them.
	HideURI bool
	// Timeout of the subrequest; default 5 s.
	Timeout time.Duration
	// CacheTime is how long a 2xx answer is valid for other requests whose subrequest would be the same; 0 means that each
	// request asks the server. Answers with Cache-Control: no-store or with one of AnswerHeaders are not cached. It
	// requires SendHeaders.
	CacheTime time.Duration
	CacheMax  int // answers in the cache; default 10,000. Beyond it the least recently used one is dropped
}

// passedOn are headers of an answer other than 2xx that the client gets, besides AnswerHeaders.
var passedOn = [...]string{"Content-Type", "Content-Encoding", "Content-Language", "Location", "Set-Cookie", "WWW-Authenticate", "Retry-After", "Cache-Control"}

type forwardAuth struct {
	ForwardAuthOptions
	cache *answerCache // nil: none
}

// ForwardAuth asks a server about each request by a GET with headers of the request and X-Forwarded-Method, -Proto, -Host,
// -Uri and -For. The path in X-Forwarded-Uri is the one that was routed (app.Context.CanonicalPath), so that the server decides
// about what the handler serves.
//
// After a 2xx answer the request continues. Other answers of 3xx and 4xx are sent to the client, such as a redirect to a
// login page. Without such an answer, also when the server cannot be reached, the client gets 503. It panics without Sender,
// on an invalid name of a header, on one that frames or routes a message, and on CacheTime without SendHeaders.
func ForwardAuth(o ForwardAuthOptions) app.Middleware {
	if o.Sender == nil || o.URL == "" {
		panic("middleware: ForwardAuth: no server")
	}
	if o.CacheTime > 0 && o.SendHeaders == nil {
		panic("middleware: ForwardAuth: a cache needs the list of headers that the server sees")
	}
	for _, list := range [][]string{o.SendHeaders, o.CopyHeaders, o.AnswerHeaders} {
		for _, name := range list {
			if !CanForward(name) {
				panic("middleware: ForwardAuth: " + name + " is not a header that can be copied")
			}
		}
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	f := &forwardAuth{ForwardAuthOptions: o}
	if o.CacheTime > 0 {
		f.cache = newAnswerCache(o.CacheTime, o.CacheMax)
	}
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			if admitted, err := f.admit(c); !admitted {
				return err
			}
			return next(c)
		}
	}
}

// CanForward reports whether name can be an element of the lists of headers in ForwardAuthOptions: a token (RFC 9110 section 5.1) that does not
// frame or route a message.
func CanForward(name string) bool { return httpparse.ValidToken(name) && !isOfConnection(name) }

// admit asks the server, or the cache. If it returns false, the client has been answered, or is by the error.
func (f *forwardAuth) admit(c *app.Context) (bool, error) {
	for _, name := range f.CopyHeaders {
		c.RemoveRequestHeader(name)
	}
	req := client.Request{Timeout: f.Timeout}
	if strings.HasPrefix(f.URL, "/") {
		req.Target = []byte(f.URL)
	} else {
		req.URL = f.URL
	}
	f.describe(c, &req)
	key := cacheKey{}
	if f.cache != nil {
		key = keyOf(&req)
		if copied, ok := f.cache.get(key); ok {
			apply(c, copied)
			return true, nil
		}
	}
	var resp client.Response
	defer resp.Close()
	if err := f.Sender.Do(c.Task(), nil, &req, &resp); err != nil {
		if c.Err() != nil {
			return false, c.Err()
		}
		return false, unanswered(err)
	}
	cacheable := f.cache != nil && !httpparse.HasMember(httpparse.ListOf(resp.Headers, "Cache-Control"), "no-store")
	for _, name := range f.AnswerHeaders {
		for value := range resp.Values(name) {
			c.AddHeader(name, string(value))
			cacheable = false
		}
	}
	switch {
	case resp.Status >= 200 && resp.Status <= 299:
	case resp.Status >= 300 && resp.Status <= 499:
		return false, f.refuse(c, &resp)
	default:
		return false, unanswered(nil)
	}
	var copied []headerCopy
	for _, name := range f.CopyHeaders {
		for value := range resp.Values(name) {
			copied = append(copied, headerCopy{name, string(value)})
		}
	}
	apply(c, copied)
	if cacheable {
		f.cache.put(key, copied)
	}
	return true, nil
}

// headerCopy is a header of an answer that becomes a request header.
type headerCopy struct{ name, value string }

func apply(c *app.Context, copied []headerCopy) {
	for _, h := range copied {
		c.AddRequestHeader(h.name, h.value)
	}
}

// describe adds the headers of the subrequest. They depend on the request alone, so that equal subrequests get equal answers.
func (f *forwardAuth) describe(c *app.Context, req *client.Request) {
	if f.SendHeaders == nil {
		for name, value := range c.HeadersView() {
			if !isOfConnection(name) && !isOfBody(name) && !isForwarded(name) {
				req.AddHeader(name, value)
			}
		}
	}
	for _, name := range f.SendHeaders {
		for header, value := range c.HeadersView() {
			if strings.EqualFold(header, name) && !isForwarded(name) {
				req.AddHeader(header, value)
			}
		}
	}
	req.AddHeader("X-Forwarded-Proto", c.Scheme())
	req.AddHeader("X-Forwarded-Host", c.HostView())
	if client := c.ClientIPView(); client != "" {
		req.AddHeader("X-Forwarded-For", client)
	}
	if f.HideURI {
		return
	}
	uri := c.CanonicalPath()
	if c.HasQuery() {
		uri += "?" + c.RawQueryView()
	}
	req.AddHeader("X-Forwarded-Method", c.Method())
	req.AddHeader("X-Forwarded-Uri", uri)
}

// refuse sends the answer of the server to the client. It is not stored by caches unless the server allows it.
func (f *forwardAuth) refuse(c *app.Context, resp *client.Response) error {
	c.SetHeader("Cache-Control", "no-store")
	for _, name := range passedOn {
		if hasFold(f.AnswerHeaders, name) {
			continue // it was added
		}
		first := true
		for value := range resp.Values(name) {
			if first && name == "Cache-Control" {
				c.SetHeader(name, string(value))
			} else {
				c.AddHeader(name, string(value))
			}
			first = false
		}
	}
	out := c.Stream(resp.Status, "")
	if err := out.Begin(); err != nil {
		return err
	}
	_, err := resp.WriteTo(out)
	return err
}

// unanswered is the error for a request about which the server has not decided.
func unanswered(err error) error {
	return &app.HTTPError{Status: http.StatusServiceUnavailable, Message: "access cannot be checked", Reason: "forward-auth", Err: err}
}

func hasFold(list []string, name string) bool {
	for _, n := range list {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// isOfConnection reports whether a header frames or routes a message or applies to one connection.
func isOfConnection(name string) bool {
	switch strings.ToLower(name) {
	case "host", "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
		"upgrade", "content-length", "expect", "http2-settings":
		return true
	}
	return false
}

// isOfBody reports whether a header describes the body or the response that the client wants: the subrequest has neither.
func isOfBody(name string) bool {
	switch strings.ToLower(name) {
	case "content-type", "content-encoding", "content-language", "content-range", "content-md5", "content-digest", "repr-digest", "range", "if-range",
		"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "accept-encoding":
		return true
	}
	return false
}

// isForwarded reports whether a header tells about the client or the request, which only ForwardAuth itself does.
func isForwarded(name string) bool {
	const prefix = "x-forwarded-"
	return strings.EqualFold(name, "Forwarded") || len(name) >= len(prefix) && strings.EqualFold(strings.ReplaceAll(name[:len(prefix)], "_", "-"), prefix)
}
