// The close handshake (RFC 6455 section 7): close codes, CloseError, and how a connection ends.

package websocket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"tafe/loop"
	"tafe/loop/reactor"
)

// Code is the code of a close frame (RFC 6455 section 7.4). 3000 to 4999 are for applications.
type Code uint16

// The codes that the package sends or reports by itself, and those that handlers use most.
const (
	Normal          Code = 1000 // the handler has returned
	GoingAway       Code = 1001 // the server shuts down, or the page was left
	ProtocolError   Code = 1002
	UnsupportedData Code = 1003
	NoStatus        Code = 1005 // the close frame had no code; it is not sent
	Abnormal        Code = 1006 // the connection ended without a close frame; it is not sent
	InvalidData     Code = 1007 // text that is not UTF-8, or a message that cannot be decompressed
	PolicyViolation Code = 1008
	TooBig          Code = 1009
	InternalError   Code = 1011 // the handler has failed
	TryAgainLater   Code = 1013 // overload
)

// CloseError is the error of a connection that is closed or being closed. errors.Is matches it with context.Canceled.
type CloseError struct {
	Code   Code
	Reason string
	Local  bool  // the server closed, not the client
	Err    error // of the stream, if the connection has ended without a close frame; may be nil
}

func (e *CloseError) Error() string {
	by := "client"
	if e.Local {
		by = "server"
	}
	s := fmt.Sprintf("websocket: closed by the %s with code %d", by, e.Code)
	if e.Reason != "" {
		s += fmt.Sprintf(" (%q)", e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is reports whether target is context.Canceled.
func (e *CloseError) Is(target error) bool { return target == context.Canceled }

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

const (
	// closeWait is how long the client may take to answer a close frame.
	closeWait = 5 * time.Second
	// goAwayGrace is how long a busy handler may take during a drain until its connection is closed.
	goAwayGrace = time.Second
	// reasonMax is the length of a close frame's reason in bytes.
	reasonMax = 123
)

// errSilent ends a connection whose client has not answered a ping.
var errSilent = errors.New("websocket: no answer to a ping")

// errSlow ends a connection whose client does not read.
var errSlow = errors.New("websocket: the client does not read fast enough")

// Close begins the close handshake. It does not wait: the loop waits for the client's close frame, up to 5 s, and ends the connection. Read
// and Write return a *CloseError from then on. The reason, at most 123 bytes of UTF-8, is cut if it is longer. A second call has no effect.
// Any goroutine may call Close.
func (c *Conn) Close(code Code, reason string) {
	l := c.set.config.Loop
	t := l.Current()
	defer t.Leave(t.Enter())
	if l.Drive().Owned() {
		c.close(code, reason)
		return
	}
	l.PostUnbounded(func() { c.close(code, reason) })
}

// close sends a close frame and waits for the client's. On the loop.
func (c *Conn) close(code Code, reason string) {
	if c.sentClose || c.ended {
		return
	}
	c.sendClose(code, reason)
	c.settle(&CloseError{Code: code, Reason: reason, Local: true})
	c.conn.SetTimeout(closeWait)
	c.dropInput()
	c.undefer()
}

// fail ends a connection whose client broke the protocol. Later input is discarded.
func (c *Conn) fail(code Code, reason, count string) {
	if c.ended || c.gotClose {
		return
	}
	c.count(count)
	if !c.sentClose {
		c.sendClose(code, reason)
	}
	c.settle(&CloseError{Code: code, Reason: reason, Local: true})
	c.gotClose = true // nothing more is read
	c.dropInput()
	c.conn.Close()
}

func (c *Conn) count(reason string) {
	if reason != "" && c.set.config.Count != nil {
		c.set.config.Count(reason)
	}
}

// sendClose queues a close frame. NoStatus sends one without a code.
func (c *Conn) sendClose(code Code, reason string) {
	c.sentClose = true
	if code == NoStatus {
		c.appendFrame(ws.OpClose, 0, nil)
		return
	}
	var payload [2 + reasonMax]byte
	binary.BigEndian.PutUint16(payload[:], uint16(code))
	n := copy(payload[2:], reason)
	for n < len(reason) && n > 0 && !utf8.RuneStart(reason[n]) { // the cut is not inside of a character
		n--
	}
	c.appendFrame(ws.OpClose, 0, payload[:2+n])
}

// closeReceived handles the client's close frame.
func (c *Conn) closeReceived(payload []byte) {
	code, reason := NoStatus, ""
	if len(payload) > 0 {
		if len(payload) == 1 {
			c.fail(ProtocolError, "a close frame of one byte", ReasonProtocol)
			return
		}
		statusCode, text := ws.ParseCloseFrameData(payload)
		code, reason = Code(statusCode), text
		if err := checkCode(statusCode, text); err != nil {
			answer := ProtocolError
			if err == ws.ErrProtocolInvalidUTF8 {
				answer = InvalidData
			}
			c.fail(answer, err.Error(), ReasonProtocol)
			return
		}
	}
	c.gotClose = true
	if !c.sentClose {
		c.sendClose(code, "")
	}
	c.settle(&CloseError{Code: code, Reason: reason})
	c.dropInput()
	c.conn.Close()
}

// checkCode checks the code and the reason of a client's close frame. 1012 to 1014 were registered after RFC 6455.
func checkCode(code ws.StatusCode, reason string) error {
	switch {
	case code >= 5000:
		return ws.ErrProtocolStatusCodeNotInUse
	case code >= 1012 && code <= 1014:
		code = ws.StatusNormalClosure
	}
	return ws.CheckCloseFrameData(code, reason)
}

// settle records the first reason for the end, and tells it to the handler.
func (c *Conn) settle(err *CloseError) {
	if c.err != nil {
		return
	}
	c.err = err
	c.reader.Wake()
	if c.cancels && c.task != nil {
		c.task.Cancel(err)
	}
}

// CloseSlow ends the connection of a client that does not read, without a close frame, and counts it. On the loop of the connection.
func (c *Conn) CloseSlow() {
	if !c.ended && !c.conn.Closed() {
		c.count(ReasonSlow)
		c.conn.Abort(errSlow)
	}
}

// goAway is Set.GoAway for one connection.
func (c *Conn) goAway() {
	if c.sentClose || c.ended {
		return
	}
	c.goingAway = true
	if c.idle() {
		c.closeGoingAway()
		return
	}
	c.conn.SetTimeout(goAwayGrace)
}

func (c *Conn) closeGoingAway() { c.close(GoingAway, "the server is shutting down") }

// Closed implements reactor.Handler.
func (c *Conn) Closed(_ *reactor.Conn, err error) {
	c.ended = true
	if errors.Is(err, reactor.ErrWriteTimeout) {
		c.count(ReasonSlow)
	}
	c.settle(&CloseError{Code: Abnormal, Err: err})
	c.set.remove(c)
	c.releaseInput()
	for _, f := range c.whenClosed {
		f()
	}
	c.whenClosed = nil
	c.ending()
}

// Timeout implements reactor.Handler. The timer is that of the close handshake, of a drain, or of the next ping.
func (c *Conn) Timeout(*reactor.Conn) {
	switch {
	case c.sentClose:
		c.conn.Close()
	case c.goingAway:
		c.closeGoingAway()
	default:
		c.pingDue()
	}
}

// pingDue sends a ping if nothing has come from the client since the last one was due, and ends the connection if it was sent in vain.
func (c *Conn) pingDue() {
	every := int64(c.pingEvery)
	if quiet := c.set.config.Loop.Now() - c.heard; quiet < every {
		c.pinged = false
		c.conn.SetTimeout(time.Duration(every - quiet))
		return
	}
	if c.pinged {
		c.count(ReasonSilent)
		c.conn.Abort(errSilent)
		return
	}
	c.pinged = true
	c.appendFrame(ws.OpPing, 0, nil)
	c.conn.SetTimeout(c.pingEvery)
}

// HandlerDone ends the connection after its request's handler has returned or panicked, unless Serve was called. It returns the error that
// is to be reported: nil if the connection was closed. On the loop.
func (c *Conn) HandlerDone(err error) error {
	c.task, c.cancels = nil, false
	var closed *CloseError
	switch {
	case err == nil && c.onMessage != nil:
		c.deliver()
	case err == nil:
		c.close(Normal, "")
	case errors.As(err, &closed):
		c.close(Normal, "")
		err = nil
	case errors.Is(err, loop.ErrShutdown):
		c.closeGoingAway()
		err = nil
	default:
		c.close(InternalError, "")
	}
	if c.onMessage == nil || err != nil {
		c.releaseInput()
	}
	return err
}
