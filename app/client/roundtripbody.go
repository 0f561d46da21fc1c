// The body of a response of RoundTripper.

package client

import (
	"context"
	"errors"
	"io"
	"net/http"

	"tafe/loop"
	"tafe/loop/reactor"
)

// roundTripBody is a http.Response.Body. It belongs to the goroutine of its task, or to one goroutine at a time if it has none.
type roundTripBody struct {
	from   Response
	to     *http.Response // gets the trailers
	ctx    context.Context
	task   *loop.Task
	dialer *reactor.Dialer
	closed bool
}

// mayUse returns an error if the caller is not the task that has the response.
func (b *roundTripBody) mayUse() error {
	if b.task != nil && b.dialer.Current() != b.task {
		return loop.ErrForeignGoroutine
	}
	return nil
}

// Read implements io.Reader.
func (b *roundTripBody) Read(p []byte) (int, error) {
	if err := b.mayUse(); err != nil {
		return 0, err
	}
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.from.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		b.ended()
	case err != nil:
		err = causeOf(b.ctx, err)
	}
	return n, err
}

// ended takes the trailers of a body that was received completely.
func (b *roundTripBody) ended() {
	for _, h := range b.from.Trailers() {
		setTrailer(b.to, http.CanonicalHeaderKey(string(h.Name)), []string{string(h.Value)})
	}
}

// Close implements io.Closer.
func (b *roundTripBody) Close() error {
	if err := b.mayUse(); err != nil {
		return err
	}
	b.closed = true
	b.from.Close()
	return nil
}
