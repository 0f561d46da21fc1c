// This file owns which answers are compressed, and by which coding. The codings themselves are libraries'; when a body passes by is
// app's to say.

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

// CompressOptions say what is compressed. Zero fields take the defaults.
type CompressOptions struct {
	// Codings that may be used: "zstd", "br", "gzip". The client's weights decide, and among equals their order here. Default: these three.
	Codings  []string
	BytesMin int64 // shorter bodies are left as they are; default 1024
	// Types beyond the common ones of text: text/*, JSON, XML, JavaScript, SVG, WebAssembly and fonts that are not compressed by nature.
	// Lower case, without parameters.
	Types []string
}

const (
	compressOffLoop = 16 << 10 // from this many bytes on a body, or a piece of one, is compressed beside the loop: it would take 100 us and more
	brotliLevel     = 4        // the levels: about the speed of gzip 5, at a better ratio
	gzipLevel       = 5
	zstdWindow      = 128 << 10 // bounds memory: an encoder keeps two of them
)

// Compress compresses answers of 200 on their way out, for clients that accept it (RFC 9110 section 8.4): those of a text-like type that
// have no Content-Encoding, no Cache-Control: no-transform (section 5.2.2.6 of RFC 9111) and are not too short. Of an
// answer whose length is not known when it begins, all pieces are compressed. The ETag becomes a weak one, Accept-Ranges and
// digests of the body are dropped. A HEAD, a 206 and a 304 get the Vary and the weak ETag of the 200.
// A streamed piece reaches the client a moment after it was written, or with Flush.
//
// Do not compress answers that hold both a secret and what an attacker may choose: the length tells (BREACH).
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
			panic("middleware: Compress: there is no coding " + name + ": want zstd, br or gzip")
		}
		z.order = append(z.order, k)
	}
	choose := z.choose // one func for all requests
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			app.Hooks{}.CodeBody(c, choose)
			return next(c)
		}
	}
}

type compressor struct {
	options CompressOptions
	order   []httpparse.Coding
	spare   [httpparse.Codings]sync.Pool // of *compression
}

// choose is asked when the head of an answer is made. A HEAD, a 206 and a 304 carry the fields that the 200 to the same GET would, as
// far as they say something about its coding: Vary, and a weak ETag.
func (z *compressor) choose(c *app.Context, status int, contentType string, length int64) app.Coder {
	switch status {
	case 200:
	case 206:
		length = completeLength(c.ResponseHeader("Content-Range"))
		if strings.HasPrefix(contentType, "multipart/byteranges") {
			contentType = "" // that of the file is in the parts
		}
	case 304:
	default:
		return nil
	}
	unknown := status != 200 && contentType == ""
	if length >= 0 && length < z.options.BytesMin || !unknown && !z.compressible(contentType) ||
		c.ResponseHeader("Content-Encoding") != "" || httpparse.HasMember(c.ResponseHeaderList("Cache-Control"), "no-transform") {
		return nil
	}
	c.AddVary("Accept-Encoding") // also where this client gets it as it is
	best, weight := httpparse.Identity, 0
	weights := httpparse.ParseAcceptEncoding(c.HeaderList("Accept-Encoding"))
	for _, k := range z.order {
		if weights[k] > weight {
			best, weight = k, weights[k]
		}
	}
	if weight == 0 || weight < weights[httpparse.Identity] {
		return nil
	}
	if tag := c.ResponseHeader("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		c.SetHeader("ETag", "W/"+tag)
	}
	if status == 206 { // its bytes, and their digests, are those of the file
		return nil
	}
	for _, name := range [...]string{"Accept-Ranges", "Content-MD5", "Content-Digest", "Repr-Digest", "Digest"} {
		c.DelHeader(name) // they are of the body as it was
	}
	if status == 304 {
		return nil
	}
	c.SetHeader("Content-Encoding", best.Token())
	return &compression{z: z, coding: best}
}

// completeLength is that of a Content-Range, such as "bytes 0-9/100"; -1 if it does not say.
func completeLength(contentRange string) int64 {
	_, length, _ := strings.Cut(contentRange, "/")
	if n, err := strconv.ParseInt(length, 10, 64); err == nil {
		return n
	}
	return -1
}

// compressible tells whether bodies of a type become much shorter.
func (z *compressor) compressible(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch {
	case kind == "text/event-stream": // each event would be flushed for itself
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

// encoder is what the three libraries have in common.
type encoder interface {
	io.Writer
	Flush() error
	Close() error
	Reset(io.Writer)
}

// engine is an encoder with where its output goes, for one body after the other.
type engine struct {
	encoder encoder
	out     []byte
}

// Write takes what the encoder puts out.
func (e *engine) Write(p []byte) (int, error) {
	e.out = append(e.out, p...)
	return len(p), nil
}

// compression is the app.Coder of one answer.
type compression struct {
	z      *compressor
	coding httpparse.Coding
	engine *engine // from the first piece on
}

// Code implements app.Coder.
func (x *compression) Code(c *app.Context, dst, p []byte, op app.CodeOp) ([]byte, error) {
	e := x.engine
	if e == nil {
		e = x.z.take(x.coding)
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
		x.z.put(x.coding, e)
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

func (z *compressor) take(k httpparse.Coding) *engine {
	e, _ := z.spare[k].Get().(*engine)
	if e == nil {
		e = &engine{encoder: newEncoder(k)}
	}
	e.encoder.Reset(e)
	return e
}

// put keeps an engine whose body is complete.
func (z *compressor) put(k httpparse.Coding, e *engine) {
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
