// An http.RoundTripper that sends by a Client. roundtripbody.go has the body of the response.

package client

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

// RoundTripper returns a http.RoundTripper that sends requests by c. An http.Client with it, or a library that takes an http.Client, waits in a
// task as c does: the task parks, and its loop continues. The transport of net/http waits on channels and would hold the loop.
//
// d finds the calling task and must be bound; it does not dial. A caller that is not a task blocks. The body of a response belongs to the
// goroutine that sent the request: in another one, its methods fail with loop.ErrForeignGoroutine if the request was sent by a task.
//
// In contrast to http.Transport it requests no compression, ignores proxies of the environment and httptrace, and leaves Response.TLS nil. A body
// of known length up to 1 MiB that can be replayed (http.Request.GetBody) is read before it is sent. Options bounds all requests. Errors are an
// *Error, or the cause of the request's context.
func (c *Client) RoundTripper(d *reactor.Dialer) http.RoundTripper { return &roundTripper{c, d} }

type roundTripper struct {
	client *Client
	dialer *reactor.Dialer
}

const (
	replayBytesMax = 1 << 20
	userAgent      = "Go-http-client/1.1" // that of net/http
)

// RoundTrip implements http.RoundTripper.
func (rt *roundTripper) RoundTrip(from *http.Request) (*http.Response, error) {
	if from.Body != nil {
		defer func() { _ = from.Body.Close() }()
	}
	req, err := requestOf(from)
	if err != nil {
		return nil, err
	}
	ctx, t := from.Context(), rt.dialer.Current()
	b := &roundTripBody{ctx: ctx, task: t, dialer: rt.dialer}
	if err := rt.client.Do(t, ctx, req, &b.from); err != nil {
		return nil, causeOf(ctx, err)
	}
	b.to = responseOf(&b.from, from)
	b.to.Body = b
	switch {
	case b.to.StatusCode == http.StatusSwitchingProtocols:
		conn, err := b.from.Upgrade()
		b.from.Close()
		if err != nil {
			return nil, causeOf(ctx, err)
		}
		b.to.Body = conn
	case b.from.Complete():
		b.ended()
		b.from.Close()
		b.to.Body = http.NoBody
	}
	return b.to, nil
}

// causeOf returns the cause of ctx if it has ended, as net/http does, or else err.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// requestOf converts a request. The fields that frame it or control the connection become settings of the Request.
func requestOf(from *http.Request) (*Request, error) {
	if from.URL == nil || from.URL.Scheme != "http" && from.URL.Scheme != "https" {
		return nil, &Error{Kind: KindRequest, Stage: StagePrepare, Err: ErrURL}
	}
	req := &Request{Method: from.Method, Addr: from.URL.Host, TLS: from.URL.Scheme == "https", Target: []byte(from.URL.RequestURI()), Host: from.Host, Close: from.Close}
	if req.Host == "" {
		req.Host = from.URL.Host
	}
	if _, ok := from.Header["User-Agent"]; !ok {
		req.AddHeader("User-Agent", userAgent)
	}
	for _, name := range slices.Sorted(maps.Keys(from.Header)) {
		for _, value := range from.Header[name] {
			req.addField(name, value)
		}
	}
	return req, req.setBody(from)
}

// addField adds a field of a http.Header.
func (r *Request) addField(name, value string) {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Proxy-Connection":
	case "Trailer":
		r.AddHeader(name, value)
	case "Connection":
		r.Close = r.Close || httpparse.HasMember(value, "close")
	case "Te":
		r.AcceptTrailers = r.AcceptTrailers || httpparse.HasMember(value, "trailers")
	case "Upgrade":
		r.Upgrade = value
	case "User-Agent":
		if value != "" {
			r.AddHeader(name, value)
		}
	default:
		r.AddHeader(name, value)
	}
}

// setBody sets the body and its trailers. Its length is 0 if from has none, and unknown if that is not said.
func (r *Request) setBody(from *http.Request) error {
	if from.Body == nil || from.Body == http.NoBody {
		return nil
	}
	n := from.ContentLength
	if n == 0 {
		n = -1
	}
	if n > 0 && n <= replayBytesMax && from.GetBody != nil {
		b, err := io.ReadAll(io.LimitReader(from.Body, n+1))
		if err == nil && int64(len(b)) != n {
			err = fmt.Errorf("ContentLength %d, and the body has another length", n)
		}
		if err != nil {
			return &Error{Kind: KindRequest, Stage: StagePrepare, Err: err}
		}
		r.Body = b
		return nil
	}
	r.Stream, r.StreamLength = from.Body, n
	if len(from.Trailer) > 0 {
		r.AddHeader("Trailer", strings.Join(slices.Sorted(maps.Keys(from.Trailer)), ", "))
		r.Trailers = func() (fields []httpparse.Header) {
			for _, name := range slices.Sorted(maps.Keys(from.Trailer)) {
				for _, value := range from.Trailer[name] {
					fields = append(fields, httpparse.Header{Name: []byte(name), Value: []byte(value)})
				}
			}
			return fields
		}
	}
	return nil
}

// responseOf converts the head of a response.
func responseOf(r *Response, request *http.Request) *http.Response {
	to := &http.Response{
		Status: fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status)), StatusCode: r.Status,
		Proto: fmt.Sprintf("HTTP/%d.%d", r.Major, r.Minor), ProtoMajor: int(r.Major), ProtoMinor: int(r.Minor),
		Header: make(http.Header, len(r.Headers)), ContentLength: r.ContentLength, Request: request,
	}
	if r.Status == http.StatusNoContent || r.Status == http.StatusNotModified {
		to.ContentLength = max(r.ContentLength, 0)
	}
	for i := range r.Headers {
		name, value := http.CanonicalHeaderKey(string(r.Headers[i].Name)), string(r.Headers[i].Value)
		switch name {
		case "Transfer-Encoding":
			to.TransferEncoding = []string{"chunked"}
			continue
		case "Trailer":
			for member := range strings.SplitSeq(value, ",") {
				setTrailer(to, http.CanonicalHeaderKey(strings.TrimSpace(member)), nil)
			}
			continue
		case "Connection":
			to.Close = to.Close || httpparse.HasMember(value, "close")
		}
		to.Header[name] = append(to.Header[name], value)
	}
	return to
}

// setTrailer sets a trailer field; without values it is one that is announced.
func setTrailer(to *http.Response, name string, values []string) {
	if to.Trailer == nil {
		to.Trailer = http.Header{}
	}
	to.Trailer[name] = append(to.Trailer[name], values...)
}
