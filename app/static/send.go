// The response: header fields and content, complete or in ranges.

package static

import (
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"tafe/app"
	"tafe/httpparse"
)

// answer sends the response for a.
func (s *Site) answer(c *app.Context, a *asset) error {
	k := conditionsOf(c)
	v := a.choose(&k)
	now := time.Now()
	date := validatorDate(v.info.ModTime(), now)
	result := k.check(v.etag, date)
	if result == failed {
		return app.Error(412, "")
	}
	c.SetHeader("ETag", v.etag)
	if !date.IsZero() {
		c.SetHeader("Last-Modified", v.modified)
	}
	if a.coded {
		c.AddVary("Accept-Encoding")
	}
	if a.cacheControl != "" {
		c.SetHeader("Cache-Control", a.cacheControl)
	}
	if v.size > codedMax {
		app.CodeBody(c, nil) // the kernel sends it uncompressed, so all responses for it are uncoded
	}
	if result == notModified {
		return c.NotModified(a.contentType, v.size)
	}
	c.SetHeader("Accept-Ranges", "bytes")
	if v.coding != httpparse.Identity {
		c.SetHeader("Content-Encoding", v.coding.Token())
	}
	if k.ranges != "" && c.Method() == "GET" && k.rangeHolds(v.etag, date, now) {
		var space [4]span
		if spans, ok := parseRanges(k.ranges, v.size, s.o.RangesMax, space[:]); ok {
			return v.answerRanges(c, a.contentType, spans)
		}
	}
	return v.send(c, 200, a.contentType, span{0, v.size})
}

// send sends one part of v.
func (v *variant) send(c *app.Context, status int, contentType string, s span) error {
	if v.file == nil {
		return c.Bytes(status, contentType, v.content[s.start:s.end])
	}
	c.SetHeader("Content-Length", strconv.FormatInt(s.end-s.start, 10))
	stream := c.Stream(status, contentType)
	if c.Method() == "HEAD" {
		return nil
	}
	return v.copy(c, stream, s)
}

const (
	// codedMax is the size up to which a file may be coded. The kernel sends larger ones (sendfile).
	codedMax = 1 << 20
	// readStep is what one offloaded read reads. Files up to that size, and those that are coded, are read so; the rest is
	// sent from the page cache. A client that does not read holds no more than one step and the output.
	readStep = 128 << 10
)

// copy writes a part of a file to stream. If the file has become shorter, the connection is aborted, because
// Content-Length is not reached.
func (v *variant) copy(c *app.Context, stream *app.Stream, s span) error {
	if v.file == nil {
		_, err := stream.Write(v.content[s.start:s.end])
		return err
	}
	disk, ok := v.file.(*os.File)
	if !ok || s.end-s.start <= readStep {
		return v.copyRead(c, stream, s)
	}
	if err := stream.Begin(); err != nil {
		return err
	}
	if stream.Coded() {
		return v.copyRead(c, stream, s)
	}
	if _, err := disk.Seek(s.start, io.SeekStart); err != nil {
		return err
	}
	n, err := stream.ReadFrom(&io.LimitedReader{R: disk, N: s.end - s.start})
	if err == nil && n < s.end-s.start {
		err = app.ErrContentLength
	}
	return err
}

// copyRead copies a part of a file by offloaded reads.
func (v *variant) copyRead(c *app.Context, stream *app.Stream, s span) error {
	for file := v.file; s.start < s.end; {
		content, err := app.Offload(c, func() ([]byte, error) {
			p := make([]byte, min(s.end-s.start, readStep))
			n, err := file.ReadAt(p, s.start)
			if err == io.EOF { // the file was truncated, and so is the response
				err = nil
			}
			return p[:n], err
		})
		if err != nil {
			return err
		}
		if len(content) == 0 {
			return app.ErrContentLength
		}
		if _, err = stream.Write(content); err != nil {
			return err
		}
		s.start += int64(len(content))
	}
	return nil
}

// answerRanges sends 206, or 416 if spans is empty (RFC 9110 sections 14.2 and 15.5.17).
func (v *variant) answerRanges(c *app.Context, contentType string, spans []span) error {
	switch len(spans) {
	case 0:
		for _, name := range []string{"ETag", "Last-Modified", "Cache-Control", "Content-Encoding", "Accept-Ranges"} {
			c.DelHeader(name) // they describe the file, not the error response
		}
		c.SetHeader("Content-Range", "bytes */"+strconv.FormatInt(v.size, 10))
		return app.Error(416, "")
	case 1:
		c.SetHeader("Content-Range", spans[0].contentRange(v.size))
		return v.send(c, 206, contentType, spans[0])
	}
	boundary := strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
	heads := make([]string, len(spans))
	end := "\r\n--" + boundary + "--\r\n"
	length := int64(len(end))
	for i, s := range spans {
		heads[i] = "\r\n--" + boundary + "\r\nContent-Type: " + contentType + "\r\nContent-Range: " + s.contentRange(v.size) + "\r\n\r\n"
		if i == 0 {
			heads[i] = heads[i][2:]
		}
		length += int64(len(heads[i])) + s.end - s.start
	}
	c.SetHeader("Content-Length", strconv.FormatInt(length, 10))
	stream := c.Stream(206, "multipart/byteranges; boundary="+boundary)
	for i, s := range spans {
		if _, err := stream.Write([]byte(heads[i])); err != nil {
			return err
		}
		if err := v.copy(c, stream, s); err != nil {
			return err
		}
	}
	_, err := stream.Write([]byte(end))
	return err
}

func (s span) contentRange(size int64) string {
	return "bytes " + strconv.FormatInt(s.start, 10) + "-" + strconv.FormatInt(s.end-1, 10) + "/" + strconv.FormatInt(size, 10)
}
