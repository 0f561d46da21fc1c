// permessage-deflate (RFC 7692) without context takeover: each message is compressed by itself, and a connection holds no state of it.

package websocket

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/gobwas/ws/wsflate"
	"github.com/klauspost/compress/flate"
)

const (
	rsvDeflate = 0b100 // the bit RSV1 of a compressed message
	// codecsKept is how many compressors and decompressors a loop keeps, each. A compressor takes about 0.5 MB.
	codecsKept = 2
	// deflateLevel is the fastest one: the messages are small, and the loop waits for it.
	deflateLevel = 1
)

var errInflate = errors.New("the message cannot be decompressed")

// codecs are the compressors and decompressors of a loop that are not in use. Code beside the loop may use them, too.
type codecs struct {
	mu        sync.Mutex
	inflaters []io.ReadCloser
	deflaters []*wsflate.Writer
}

// pop takes the last element of kept.
func pop[T any](mu *sync.Mutex, kept *[]T) (v T, ok bool) {
	mu.Lock()
	defer mu.Unlock()
	if n := len(*kept); n > 0 {
		v, *kept = (*kept)[n-1], (*kept)[:n-1]
		return v, true
	}
	return v, false
}

// push keeps v, unless codecsKept are kept.
func push[T any](mu *sync.Mutex, kept *[]T, v T) {
	mu.Lock()
	defer mu.Unlock()
	if len(*kept) < codecsKept {
		*kept = append(*kept, v)
	}
}

// inflateTail follows a message: the end of a flushed block, which senders remove (RFC 7692 section 7.2.2), and an empty last block.
const inflateTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// inflate decompresses a message of at most most bytes. It may write behind the end of p. The reader of wsflate is not used: with a source that
// is an io.ByteReader it decodes a zero byte too many.
func (k *codecs) inflate(p []byte, most int) ([]byte, error) {
	source := bytes.NewReader(append(p, inflateTail...))
	r, ok := pop(&k.mu, &k.inflaters)
	if ok {
		_ = r.(flate.Resetter).Reset(source, nil) // it does not fail without a dictionary
	} else {
		r = flate.NewReader(source)
	}
	out := bytes.NewBuffer(make([]byte, 0, min(4*len(p)+64, most+1)))
	n, err := out.ReadFrom(io.LimitReader(r, int64(most)+1))
	source.Reset(nil) // r does not keep p
	push(&k.mu, &k.inflaters, r)
	switch {
	case n > int64(most):
		return nil, errTooBig
	case err != nil:
		return nil, errInflate
	}
	return out.Bytes(), nil
}

// deflate compresses a message. ok is false if that does not make it shorter.
func (k *codecs) deflate(p []byte) (small []byte, ok bool) {
	var out bytes.Buffer
	out.Grow(len(p)/2 + 64)
	w, kept := pop(&k.mu, &k.deflaters)
	if kept {
		w.Reset(&out)
	} else {
		w = wsflate.NewWriter(&out, func(w io.Writer) wsflate.Compressor {
			f, _ := flate.NewWriter(w, deflateLevel) // the level is valid
			return f
		})
	}
	_, err := w.Write(p)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return nil, false // the writer is not used again
	}
	w.Reset(io.Discard)
	push(&k.mu, &k.deflaters, w)
	return out.Bytes(), out.Len() < len(p)
}
