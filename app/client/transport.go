// The exchange of HTTP/2 outside of tasks, where there is no loop: http.Transport of net/http, which has goroutines of its own. It is for
// health checks, commands and tests. Trailers of requests are not sent, because net/http wants their names before the body.

package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tafe/httpparse"
)

// newTransport returns the Transport of c. It dials by Options.Dial and dialTarget: the host of its URLs is an encoded authority.
func (c *Client) newTransport() *http.Transport {
	o := &c.options
	t := &http.Transport{
		DialContext:     func(ctx context.Context, _, addr string) (net.Conn, error) { return c.dialEncoded(ctx, addr, false) },
		DialTLSContext:  func(ctx context.Context, _, addr string) (net.Conn, error) { return c.dialEncoded(ctx, addr, true) },
		MaxConnsPerHost: o.ConnsPerHostMax, IdleConnTimeout: o.IdleTimeout, DisableCompression: true,
		MaxResponseHeaderBytes: int64(o.Limits.HeadBytesMax), Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP2(o.Protocol == HTTP2)
	t.Protocols.SetUnencryptedHTTP2(o.Protocol == H2C)
	return t
}

// dialFault is an error of dialEncoded, with its stage.
type dialFault struct {
	stage Stage
	error
}

func (f *dialFault) Unwrap() error { return f.error }

func (c *Client) dialEncoded(ctx context.Context, addr string, secure bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.DialTimeout)
	defer cancel()
	host, _, _ := net.SplitHostPort(addr)
	b, err := hex.DecodeString(host)
	if err != nil {
		return nil, &dialFault{StageDial, err}
	}
	authority, serverName, _ := strings.Cut(string(b), "\x00")
	network, target, name, err := dialTarget(hostKey{tls: secure, authority: authority})
	if err != nil {
		return nil, &dialFault{StageDial, err}
	}
	c.shared.count.dials.Add(1)
	raw, err := c.shared.dial(ctx, nil, false, network, target)
	if err != nil || !secure {
		if err != nil {
			err = &dialFault{StageDial, err}
		}
		return raw, err
	}
	session := tls.Client(raw, c.tlsFor(cmp.Or(serverName, name)))
	if err = session.HandshakeContext(ctx); err == nil && session.ConnectionState().NegotiatedProtocol != string(HTTP2) {
		err = ErrNotHTTP2
	}
	if err != nil {
		_ = raw.Close()
		return nil, &dialFault{StageTLS, err}
	}
	return session, nil
}

// transportExchange is one request of the Transport.
type transportExchange struct {
	x        *call
	template *http.Request
	ctx      context.Context
	cancel   context.CancelCauseFunc
	resp     *http.Response
	interims chan interimHead
	reused   atomic.Bool
	pipe     *io.PipeWriter // for Request.Stream
	fields   []httpparse.Header
}

func (e *transportExchange) prepare(req *Request, d destination, length int64, traceparent string) (err error) {
	x := e.x
	if x.out, err = x.appendSection(req, d, length, traceparent); err != nil { // it validates
		return err
	}
	header := http.Header{"User-Agent": nil} // nil: none of net/http's own
	for _, f := range req.Headers {
		header.Add(string(f.Name), string(bytes.Trim(f.Value, " \t")))
	}
	if traceparent != "" {
		header.Set("Traceparent", traceparent)
	}
	if req.AcceptTrailers {
		header.Set("Te", "trailers")
	}
	scheme := "http"
	if d.key.tls {
		scheme = "https"
	}
	e.template = &http.Request{
		Method: strings.Clone(req.Method), Header: header, Host: strings.Clone(d.host), ContentLength: length,
		URL: &url.URL{Scheme: scheme, Host: hex.EncodeToString([]byte(d.key.authority + "\x00" + d.key.serverName)), Opaque: string(d.target)},
	}
	if length == noBody {
		e.template.ContentLength = 0
	}
	x.out, x.headBytes, x.trailerFields = x.out[:0], 0, nil
	return nil
}

func (e *transportExchange) copyRequest(from exchange) {
	e.template = from.(*transportExchange).template
}

// start implements exchange. The Transport sends requests again on its own that the server has not processed.
func (e *transportExchange) start(bool) error {
	x := e.x
	e.fields, e.pipe = nil, nil
	e.reused.Store(false)
	e.interims = make(chan interimHead, interimsMax)
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	if !x.onInterrupt(func() { e.cancel(context.Canceled) }) {
		return x.callError(StageHead, ErrClosed)
	}
	req := e.template.Clone(httptrace.WithClientTrace(e.ctx, e.trace()))
	e.setBody(req)
	done := make(chan error, 1)
	go func(ctx context.Context, t *http.Transport) {
		resp, err := t.RoundTrip(req)
		if err == nil {
			e.resp = resp
		}
		done <- err
	}(e.ctx, x.pool.client.transport)
	sendErr := e.sendStream()
	err := e.awaitHead(done)
	switch {
	case sendErr != nil && (err != nil || errors.As(sendErr, new(*bodyError))):
		return e.failure(StageWrite, sendErr)
	case err != nil:
		return e.failure(StageHead, err)
	}
	return e.takeHead()
}

// awaitHead waits for the end of RoundTrip, which the context bounds, and passes interim heads on.
func (e *transportExchange) awaitHead(done <-chan error) error {
	x := e.x
	timer := time.AfterFunc(time.Until(x.earlier(time.Now().Add(x.options().HeadTimeout))), func() { e.cancel(errLate) })
	defer timer.Stop()
	for {
		select {
		case i := <-e.interims:
			x.callInterim(i.status, i.fields)
			continue
		default:
		}
		select {
		case i := <-e.interims:
			x.callInterim(i.status, i.fields)
		case err := <-done:
			if len(e.interims) == 0 || err != nil {
				return err
			}
			for len(e.interims) > 0 {
				i := <-e.interims
				x.callInterim(i.status, i.fields)
			}
			return nil
		}
	}
}

const interimsMax = 64 // interim heads that wait for Do

func (e *transportExchange) trace() *httptrace.ClientTrace {
	t := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { e.reused.Store(info.Reused) }}
	if e.x.onInterim == nil {
		return t
	}
	t.Got1xxResponse = func(status int, header textproto.MIMEHeader) error {
		select {
		case e.interims <- interimHead{status, fieldsOf(http.Header(header))}:
			return nil
		default:
			return ErrInterim
		}
	}
	return t
}

func fieldsOf(header http.Header) (fields []httpparse.Header) {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			fields = append(fields, httpparse.Header{Name: []byte(strings.ToLower(name)), Value: []byte(value)})
		}
	}
	return fields
}

// setBody sets the body of a request. The Transport may read it until the response is closed, so it gets copies.
func (e *transportExchange) setBody(req *http.Request) {
	x := e.x
	switch {
	case x.stream != nil:
		var r *io.PipeReader
		r, e.pipe = io.Pipe()
		req.Body = r
	case len(x.out)+len(x.rest) > 0:
		body := append(bytes.Clone(x.out), x.rest...)
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
}

// sendStream reads Request.Stream and passes it to the Transport, until that wants no more.
func (e *transportExchange) sendStream() error {
	x := e.x
	if e.pipe == nil {
		return nil
	}
	stop := context.AfterFunc(e.ctx, func() { _ = e.pipe.CloseWithError(context.Cause(e.ctx)) })
	defer stop()
	p := make([]byte, windowBytes)
	left := x.streamLeft
	for {
		if left >= 0 {
			p = p[:min(int64(len(p)), left)]
		}
		x.streamed = true
		n, err := 0, error(io.EOF)
		if len(p) > 0 {
			n, err = x.readStream(p)
		}
		if left >= 0 {
			if left -= int64(n); left > 0 && err == io.EOF {
				err = ErrBodyShort
			}
		}
		timer := time.AfterFunc(time.Until(x.earlier(time.Now().Add(x.options().BodyTimeout))), func() { e.cancel(errLate) })
		_, failed := e.pipe.Write(p[:n])
		timer.Stop()
		switch {
		case failed == io.ErrClosedPipe: // the Transport has a response, or an error
			return nil
		case failed != nil:
			return failed
		case err == io.EOF:
			return e.pipe.Close()
		case err != nil:
			e.cancel(err)
			return &bodyError{err}
		}
	}
}

// takeHead takes the head of the response.
func (e *transportExchange) takeHead() error {
	x := e.x
	x.gotBytes, x.reused = true, e.reused.Load()
	if e.resp.ProtoMajor != 2 {
		return e.failure(StageHead, ErrNotHTTP2)
	}
	x.head.Reset()
	x.head.Status, x.head.ContentLength, x.head.KeepAlive = e.resp.StatusCode, e.resp.ContentLength, true
	x.head.Headers = append(x.head.Headers, fieldsOf(e.resp.Header)...)
	if len(x.head.Headers) > x.options().Limits.HeaderCountMax {
		return e.failure(StageHead, errHeadTooLarge)
	}
	if e.resp.ContentLength > x.options().Limits.BodyBytesMax && x.method != "HEAD" {
		return e.failure(StageHead, errBodyTooLarge)
	}
	x.recordLatency()
	switch {
	case x.method == "HEAD" || x.head.Status == http.StatusNoContent || x.head.Status == http.StatusNotModified:
		x.end = io.EOF
	case e.resp.ContentLength == 0 || e.resp.Body == http.NoBody:
		e.fill() // the end, with trailers
	}
	return nil
}

// failure returns the error of the call for an error of the Transport.
func (e *transportExchange) failure(stage Stage, err error) error {
	x := e.x
	var short *bodyError
	if errors.As(err, &short) {
		return &Error{Kind: KindRequest, Stage: StageWrite, Addr: x.host.addr, Err: short.error}
	}
	late := context.Cause(e.ctx) == errLate
	var dial *dialFault
	if errors.As(err, &dial) {
		stage, err = dial.stage, dial.error
	}
	f := x.callError(stage, err).(*Error)
	switch {
	case f.Kind == KindCancelled:
	case late || errors.Is(err, context.DeadlineExceeded):
		f.Kind = KindTimeout
	case dial != nil && f.Kind == KindLost:
		f.Kind = KindDial
	case err == ErrNotHTTP2:
		f.Kind = KindProtocol
	}
	return f
}

func (e *transportExchange) direct(n int) bool { return n >= directBytesMin }

func (e *transportExchange) receive(p []byte) int {
	x := e.x
	if x.end != nil || e.resp == nil {
		return 0
	}
	timer := time.AfterFunc(time.Until(x.earlier(time.Now().Add(x.bodyTimeout))), func() { e.cancel(errLate) })
	n, err := e.resp.Body.Read(p)
	timer.Stop()
	switch {
	case err == io.EOF:
		x.end = io.EOF
		e.fields = fieldsOf(e.resp.Trailer)
	case err != nil:
		x.end = e.failure(StageBody, err)
	}
	return n
}

func (e *transportExchange) fill() {
	x := e.x
	if x.window == nil {
		x.window = make([]byte, windowBytes)
	}
	x.buf, x.r = x.window, 0
	x.w = e.receive(x.window)
	x.d = x.w
}

// left implements exchange. Content-Length is only a hint for the reader, so it counts as unknown.
func (e *transportExchange) left() int64                  { return -1 }
func (e *transportExchange) trailers() []httpparse.Header { return e.fields }
func (e *transportExchange) abandon(error)                { e.release() }
func (e *transportExchange) switched() (net.Conn, error)  { return nil, ErrNoUpgrade }

func (e *transportExchange) release() (complete bool) {
	x := e.x
	if e.cancel == nil {
		return true
	}
	complete = x.end == io.EOF
	x.onInterrupt(nil)
	e.cancel(context.Canceled)
	if e.resp != nil {
		_ = e.resp.Body.Close()
		e.resp = nil
	}
	e.cancel = nil
	if x.pool.client.closed.Load() {
		x.pool.client.transport.CloseIdleConnections()
	}
	return complete
}
