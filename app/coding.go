// Content coding of response bodies, such as compression. Middlewares offer a Coder with CodeBody.

package app

import "tafe/httpparse"

// CodeOp tells a Coder how to treat the data that it is given.
type CodeOp uint8

const (
	CodeMore  CodeOp = iota // more data follows
	CodeFlush               // more data follows, but the client must be able to decode the data so far
	CodeEnd                 // the body ends with this data
)

// Coder codes the body of one response.
type Coder interface {
	// Code codes p and appends the result, which may be empty, to dst. It runs in the request's task and may wait. An error aborts the
	// response. With CodeFlush and an empty p it must not wait, because the loop may call it then. dst and p are not reused if the request
	// is cancelled, so that an offloaded call may continue to use them.
	Code(c *Context, dst, p []byte, op CodeOp) ([]byte, error)
}

// coderFor calls choose, once.
func (c *Context) coderFor(status int, contentType string, length int64) Coder {
	r := &c.resp
	choose := r.choose
	if choose == nil {
		return nil
	}
	r.choose = nil
	if r.hasType {
		contentType = c.ResponseHeaderView("Content-Type")
	}
	r.coder = choose(c, status, contentType, length)
	return r.coder
}

// uncoded copies p to a buffer of c, so that the arguments of the response methods do not escape to the heap.
func uncoded[T string | []byte](c *Context, p T) []byte {
	c.uncoded = append(c.uncoded[:0], p...)
	return c.uncoded
}

// answerCoded writes a response with a coded body.
func (c *Context) answerCoded(coder Coder, status int, contentType string, body []byte) error {
	r := &c.resp
	r.coder, r.length = nil, -1
	if !r.bodiless {
		coded, err := coder.Code(c, c.coded[:0], body, CodeEnd)
		if err != nil {
			return err
		}
		c.coded = coded
		return answerPlain(c, status, contentType, coded)
	}
	if err := c.mayWrite(status); err != nil {
		return err
	}
	defer c.task.Leave(c.task.Enter())
	c.wire.begin(c, status, contentType, -1, 0) // HEAD gets the headers of GET, except for the length, which is unknown
	return nil
}

// code codes p and appends the result to the stream.
func (s *Stream) code(p []byte, op CodeOp) error {
	s.setCoding(true)
	defer s.setCoding(false)
	s.held = op == CodeMore
	coded, err := s.c.resp.coder.Code(s.c, s.c.coded[:0], uncoded(s.c, p), op)
	if err != nil {
		return err
	}
	s.c.coded = coded
	_, err = s.send(coded)
	return err
}

// endCoding ends a coded body. It runs in the task, because a Coder may wait.
func (c *Context) endCoding() error {
	s := &c.stream
	if c.resp.coder == nil || !s.begun {
		return nil
	}
	var err error
	if !c.resp.bodiless && c.resp.framing != httpparse.FramingNone {
		err = s.code(nil, CodeEnd)
	}
	c.resp.coder = nil
	return err
}
