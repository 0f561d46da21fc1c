// This file owns the answer: the headers of a file, and its bytes, whole or in ranges. Which they are was decided elsewhere.

package static

import (
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"tafe/app"
	"tafe/httpparse"
)

// answer answers with the file that a stands for.
func (s *Site) answer(c *app.Context, a *asset) error {
	k := conditionsOf(c)
	v := a.choose(&k)
	now := time.Now()
	date := dateOf(v.info.ModTime(), now)
	verdict := k.check(v.etag, date)
	if verdict == failed {
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
	if v.size > onceMax {
		app.Hooks{}.CodeBody(c, nil) // the kernel sends it: all answers about it say the same
	}
	if verdict == notModified {
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

// send answers with one piece of v.
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

// onceMax is up to where a piece of a file is read at once, beside the loop; what is larger the kernel sends.
const onceMax = 1 << 20

// copy appends a piece of a large file. One that has become shorter breaks the connection off, when the Stream finds its
// Content-Length not reached.
func (v *variant) copy(c *app.Context, stream *app.Stream, s span) error {
	if v.file == nil {
		_, err := stream.Write(v.content[s.start:s.end])
		return err
	}
	if s.end-s.start <= onceMax {
		file := v.file
		content, err := app.Offload(c, func() ([]byte, error) {
			p := make([]byte, s.end-s.start)
			n, err := file.ReadAt(p, s.start)
			if err == io.EOF { // it was cut short: so is the answer
				err = nil
			}
			return p[:n], err
		})
		if err != nil {
			return err
		}
		_, err = stream.Write(content)
		return err
	}
	if _, err := v.file.Seek(s.start, io.SeekStart); err != nil {
		return err
	}
	n, err := stream.ReadFrom(&io.LimitedReader{R: v.file, N: s.end - s.start})
	if err == nil && n < s.end-s.start {
		err = app.ErrContentLength
	}
	return err
}

// answerRanges answers 206, or 416 where no range is inside.
func (v *variant) answerRanges(c *app.Context, contentType string, spans []span) error {
	switch len(spans) {
	case 0:
		for _, name := range []string{"ETag", "Last-Modified", "Cache-Control", "Content-Encoding", "Accept-Ranges"} {
			c.DelHeader(name) // of a file, which this answer is not
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
