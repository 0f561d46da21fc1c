// Compress: compression of responses.

package middleware

import (
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"tafe/app"
	"tafe/httpparse"
)

// CompressOptions configures Compress. Zero fields take their defaults.
type CompressOptions struct {
	// Codings lists the codings that may be used. The client's weights decide, and among equal ones the order here. Default: "zstd", "br",
	// "gzip".
	Codings  []string
	BytesMin int64 // bytes below which bodies are not compressed; default 1024
	// Types lists further media types that are compressed, in lower case, without parameters. The common ones are always compressed:
	// text/*, JSON, XML, JavaScript, SVG, WebAssembly, and uncompressed fonts and images.
	Types []string
}

const (
	compressOffLoop = 16 << 10 // bytes of a body, or a piece of one, from which it is compressed in the worker pool: 100 us and more
	brotliLevel     = 4        // about as fast as gzip 5, with a better ratio
	gzipLevel       = 5
	zstdWindow      = 128 << 10 // an encoder keeps two windows
)

// Compress compresses responses for clients that accept it (RFC 9110 section 8.4). It applies to responses with status 200, a compressible
// type, no Content-Encoding, no Cache-Control: no-transform (RFC 9111 section 5.2.2.6), and at least BytesMin bytes or an unknown length. The
// ETag becomes weak; Accept-Ranges and digests of the body are removed. Responses to HEAD, 206 and 304 get the same Vary and ETag. Pieces of a
// Stream are sent 2 ms after they were written, or by Flush.
//
// Do not compress responses that contain both a secret and text chosen by an attacker, because the length reveals the secret (BREACH).
// Compress panics on an unknown coding.
func Compress(o CompressOptions) app.Middleware {
	if o.BytesMin <= 0 {
		o.BytesMin = 1024
	}
	if len(o.Codings) == 0 {
		o.Codings = []string{"zstd", "br", "gzip"}
	}
	z := &compressor{options: o}
	for _, name := range o.Codings {
		k, ok := httpparse.CodingNamed(name)
		if !ok || k == httpparse.Identity {
			panic("middleware: Compress: unknown coding " + name + ", want zstd, br or gzip")
		}
		z.order = append(z.order, k)
	}
	choose := z.choose // one func for all requests
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			app.CodeBody(c, choose)
			return next(c)
		}
	}
}

type compressor struct {
	options CompressOptions
	order   []httpparse.Coding
	spare   [httpparse.Codings]sync.Pool // of *compression
}

// choose sets the headers of a response and returns its Coder; see app.CodeBody. HEAD, 206 and 304 get the Vary and the ETag that the 200
// to the same GET would have.
func (z *compressor) choose(c *app.Context, status int, contentType string, length int64) app.Coder {
	switch status {
	case 200:
	case 206:
		length = completeLength(c.ResponseHeaderView("Content-Range"))
		if strings.HasPrefix(contentType, "multipart/byteranges") {
			contentType = "" // the type of the file is in the parts
		}
	case 304:
	default:
		return nil
	}
	unknown := status != 200 && contentType == ""
	if length >= 0 && length < z.options.BytesMin || !unknown && !z.compressible(contentType) ||
		c.ResponseHeaderView("Content-Encoding") != "" || httpparse.HasMember(c.ResponseHeaderListView("Cache-Control"), "no-transform") {
		return nil
	}
	c.AddVary("Accept-Encoding") // also if this client gets it uncompressed
	best, weight := httpparse.Identity, 0
	weights := httpparse.ParseAcceptEncoding(c.HeaderListView("Accept-Encoding"))
	for _, k := range z.order {
		if weights[k] > weight {
			best, weight = k, weights[k]
		}
	}
	if weight == 0 || weight < weights[httpparse.Identity] {
		return nil
	}
	if tag := c.ResponseHeaderView("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		c.SetHeader("ETag", "W/"+tag)
	}
	if status == 206 { // the bytes are those of the uncompressed file
		return nil
	}
	for _, name := range [...]string{"Accept-Ranges", "Content-MD5", "Content-Digest", "Repr-Digest", "Digest"} {
		c.DelHeader(name) // they describe the uncompressed body
	}
	if status == 304 {
		return nil
	}
	c.SetHeader("Content-Encoding", best.Token())
	return &compression{z: z, coding: best}
}

// completeLength returns the complete length in a Content-Range, such as "bytes 0-9/100"; -1 if there is none.
func completeLength(contentRange string) int64 {
	_, length, _ := strings.Cut(contentRange, "/")
	if n, err := strconv.ParseInt(length, 10, 64); err == nil {
		return n
	}
	return -1
}

// compressible reports whether bodies of a type are worth compressing.
func (z *compressor) compressible(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch {
	case kind == "text/event-stream": // each event would be flushed separately
		return false
	case strings.HasPrefix(kind, "text/"), strings.HasSuffix(kind, "+json"), strings.HasSuffix(kind, "+xml"):
		return true
	}
	for _, known := range [...]string{
		"application/json", "application/javascript", "application/xml", "application/wasm", "application/x-ndjson", "application/jsonl",
		"application/manifest+json", "application/yaml", "application/toml", "application/sql", "application/graphql",
		"application/x-javascript", "font/ttf", "font/otf", "application/vnd.ms-fontobject", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon",
	} {
		if kind == known {
			return true
		}
	}
	for _, more := range z.options.Types {
		if kind == more {
			return true
		}
	}
	return false
}

// encoder is the common interface of the three libraries.
type encoder interface {
	io.Writer
	Flush() error
	Close() error
	Reset(io.Writer)
}

// engine is a reusable encoder with its output.
type engine struct {
	encoder encoder
	out     []byte
}

// Write appends the output of the encoder.
func (e *engine) Write(p []byte) (int, error) {
	e.out = append(e.out, p...)
	return len(p), nil
}

// compression is the app.Coder of one answer.
type compression struct {
	z      *compressor
	coding httpparse.Coding
	engine *engine // nil before the first piece and after the last
}

// Code implements app.Coder.
func (x *compression) Code(c *app.Context, dst, p []byte, op app.CodeOp) ([]byte, error) {
	e := x.engine
	if e == nil {
		e = x.z.takeEngine(x.coding)
		x.engine = e
	}
	e.out = dst
	if len(p) < compressOffLoop {
		if err := e.code(p, op); err != nil {
			return nil, err
		}
	} else {
		if _, err := app.Offload(c, func() (struct{}, error) { return struct{}{}, e.code(p, op) }); err != nil {
			return nil, err
		}
	}
	coded := e.out
	e.out = nil
	if op == app.CodeEnd {
		x.z.putEngine(x.coding, e)
		x.engine = nil
	}
	return coded, nil
}

func (e *engine) code(p []byte, op app.CodeOp) error {
	if len(p) > 0 {
		if _, err := e.encoder.Write(p); err != nil {
			return err
		}
	}
	switch op {
	case app.CodeFlush:
		return e.encoder.Flush()
	case app.CodeEnd:
		return e.encoder.Close()
	}
	return nil
}

func (z *compressor) takeEngine(k httpparse.Coding) *engine {
	e, _ := z.spare[k].Get().(*engine)
	if e == nil {
		e = &engine{encoder: newEncoder(k)}
	}
	e.encoder.Reset(e)
	return e
}

// putEngine recycles an engine whose body is complete.
func (z *compressor) putEngine(k httpparse.Coding, e *engine) {
	z.spare[k].Put(e)
}

func newEncoder(k httpparse.Coding) encoder {
	switch k {
	case httpparse.Zstd:
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic("middleware: Compress: " + err.Error()) // the options are ours
		}
		return e
	case httpparse.Brotli:
		return brotli.NewWriterLevel(nil, brotliLevel)
	}
	e, err := gzip.NewWriterLevel(nil, gzipLevel)
	if err != nil {
		panic("middleware: Compress: " + err.Error())
	}
	return e
}
