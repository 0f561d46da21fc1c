// This file owns the place where an answer's body is changed on its way out: by compression, mostly. What it is changed to is the
// Coder's business, and when to offer one a middleware's.

package app

// CodeOp tells a Coder what follows.
type CodeOp uint8

const (
	CodeMore  CodeOp = iota // more of the body
	CodeFlush               // more, but the client wants what there is now
	CodeEnd                 // nothing
)

// Coder codes the body of one answer.
type Coder interface {
	// Code appends to dst what p becomes, which may be nothing yet. It runs in the request's task, and may wait. An error breaks the
	// answer off. CodeFlush without p must not wait: the loop calls for it while the task does something else. What it offloads may go on with dst and p after the request has been cancelled: they are not used again then.
	Code(c *Context, dst, p []byte, op CodeOp) ([]byte, error)
}

// CodeBody has choose asked when the answer's head is about to be made: with its status, type and length, -1 if that is not known
// yet. A Coder that it returns codes the body; choose must then set the headers that say so. Nil leaves the
// answer as it is, and so do answers to failures, and files that the kernel sends. It is asked for HEAD as for GET, and also for a 304, whose
// type and length may not be known: what it returns then is not used, but the headers that it sets are sent. Of two calls, the last
// counts.
func (c *Context) CodeBody(choose func(c *Context, status int, contentType string, length int64) Coder) {
	c.resp.choose = choose
}

// coderFor calls for a Coder once.
func (c *Context) coderFor(status int, contentType string, length int64) Coder {
	r := &c.resp
	choose := r.choose
	if choose == nil {
		return nil
	}
	r.choose = nil
	if r.hasType {
		contentType = c.ResponseHeader("Content-Type")
	}
	r.coder = choose(c, status, contentType, length)
	return r.coder
}

// uncoded copies p, so that what answering methods are given need not be on the heap for all who answer.
func uncoded[T string | []byte](c *Context, p T) []byte {
	c.uncoded = append(c.uncoded[:0], p...)
	return c.uncoded
}

// answerCoded writes a whole answer by way of a Coder.
func (c *Context) answerCoded(coder Coder, status int, contentType string, body []byte) error {
	r := &c.resp
	r.coder, r.length = nil, -1
	if !r.headless {
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
	conn := c.http1.conn // what HEAD is told is what GET would be, but for a length that nobody has counted
	conn.SetOutput(c.appendHead(conn.Output(headRoom+len(r.text)), status, contentType, -1))
	return nil
}

// code passes p through the Coder into the stream.
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

// endCoding ends a coded body while its task may still wait.
func (c *Context) endCoding() error {
	s := &c.stream
	if c.resp.coder == nil || !s.begun {
		return nil
	}
	var err error
	if !c.resp.headless && c.resp.framing != byNothing {
		err = s.code(nil, CodeEnd)
	}
	c.resp.coder = nil
	return err
}
