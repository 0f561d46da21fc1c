// The heads of an http2Exchange: the field section of the request, and what the sections of a response must look like (RFC 9113 section 8).

package client

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"tafe/app/internal/http2"
	"tafe/httpparse"
)

// errMalformed means that the fields of a response are not valid (RFC 9113 section 8.1.1).
var errMalformed = errors.New("malformed response")

// Errors of a response head beyond Options.Limits, with the reasons that HTTP/1 has for them.
var (
	errHeadTooLarge = &httpparse.Error{Status: 502, Reason: "head-too-large", Detail: "the head of the response is too large"}
	errBodyTooLarge = &httpparse.Error{Status: 502, Reason: "body-too-large", Detail: "the body of the response is too large"}
)

func (h *http2Exchange) prepare(req *Request, d destination, length int64, traceparent string) (err error) {
	x := h.x
	x.streamed = false
	if x.out, err = x.appendSection(req, d, length, traceparent); err != nil {
		return err
	}
	x.headBytes = len(x.out)
	if x.trailerFields = nil; req.Stream != nil {
		x.trailerFields = req.Trailers
	}
	return nil
}

// appendSection returns the field section of the request (RFC 9113 section 8.3.1), in the buffer of x.
func (x *call) appendSection(r *Request, d destination, bodyLength int64, traceparent string) ([]byte, error) {
	b := x.out[:0]
	switch {
	case d.key.tls != (x.options().Protocol == HTTP2):
		return b, ErrProtocol
	case r.Upgrade != "":
		return b, ErrUpgrade
	case len(r.Preface) > 0:
		return b, ErrPreface
	}
	method, scheme := r.Method, "http"
	if method == "" {
		method = "GET"
	}
	if d.key.tls {
		scheme = "https"
	}
	if !httpparse.ValidToken(method) {
		return b, ErrMethodName
	}
	if d.target[0] != '/' && string(d.target) != "*" || !httpparse.ValidFieldValue(d.target) || bytes.IndexByte(d.target, ' ') >= 0 {
		return b, ErrURL
	}
	b = http2.AppendField(b, ":method", method)
	b = http2.AppendField(b, ":scheme", scheme)
	b = http2.AppendField(b, ":authority", d.host)
	b = http2.AppendField(b, ":path", d.target)
	for i := range r.Headers {
		h := &r.Headers[i]
		switch {
		case reserved(h.Name):
			return b, ErrReservedField
		case !httpparse.ValidToken(h.Name) || !httpparse.ValidFieldValue(h.Value):
			return b, ErrField
		case traceparent != "" && strings.EqualFold(httpparse.ViewString(h.Name), "traceparent"):
			continue
		}
		b = http2.AppendField(b, h.Name, bytes.Trim(h.Value, " \t"))
	}
	if traceparent != "" {
		b = http2.AppendField(b, "traceparent", traceparent)
	}
	if r.AcceptTrailers {
		b = http2.AppendField(b, "te", "trailers")
	}
	if bodyLength >= 0 {
		b = http2.AppendContentLength(b, bodyLength)
	}
	return b, nil
}

// appendTrailers appends a section of trailers.
func appendTrailers(b []byte, fields []httpparse.Header) ([]byte, error) {
	for _, f := range fields {
		if reserved(f.Name) || !httpparse.ValidToken(f.Name) || !httpparse.ValidFieldValue(f.Value) {
			return b, ErrTrailer
		}
		b = http2.AppendField(b, f.Name, bytes.Trim(f.Value, " \t"))
	}
	return b, nil
}

// takeSection takes an interim or final head, or trailers, which the Stream has validated.
func (h *http2Exchange) takeSection(s *http2.Stream, head http2.Section) error {
	x := h.x
	if h.gotHead {
		h.fields = append([]httpparse.Header(nil), head.Fields...)
		return nil
	}
	if head.Over {
		return errHeadTooLarge
	}
	status, length, ok := parseResponse(head.Fields)
	switch {
	case !ok || status == 101: // RFC 9113 section 8.6
		return errMalformed
	case status >= 200:
		return h.takeHead(s, head, status, length)
	case head.End:
		return errMalformed
	}
	for _, f := range head.Fields {
		x.interim += len(f.Name) + len(f.Value)
	}
	if x.interim += len(head.Fields); x.interim > interimBytesMax {
		return ErrInterim
	}
	if x.onInterim != nil {
		h.interims = append(h.interims, interimHead{status, append([]httpparse.Header(nil), head.Fields[1:]...)})
	}
	return nil
}

// takeHead takes the head of the final response. length is that of Content-Length, or -1.
func (h *http2Exchange) takeHead(s *http2.Stream, head http2.Section, status int, length int64) error {
	x := h.x
	bodiless := x.method == "HEAD" || status == 204 || status == 304
	switch {
	case bodiless:
		s.Expect(0)
		h.length = 0
	case head.End && length > 0:
		return errMalformed
	case head.End:
		length, h.length = 0, 0
	case length >= 0:
		if length > x.options().Limits.BodyBytesMax {
			return errBodyTooLarge
		}
		s.Expect(length)
		h.length = length
	}
	s.SetHeaded()
	h.gotHead = true
	x.head.Reset()
	x.head.Status, x.head.ContentLength, x.head.KeepAlive = status, length, true
	x.head.Headers = append(x.head.Headers, head.Fields[1:]...)
	return nil
}

// parseResponse validates the fields of a response head, the first of which must be :status.
func parseResponse(fields []httpparse.Header) (status int, length int64, ok bool) {
	if len(fields) == 0 || string(fields[0].Name) != ":status" || len(fields[0].Value) != 3 {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(httpparse.ViewString(fields[0].Value), 10, 16)
	if err != nil || n < 100 {
		return 0, 0, false
	}
	length = -1
	for _, f := range fields[1:] {
		if !httpparse.ValidLowerName(f.Name) || !httpparse.ValidFieldValue(f.Value) || httpparse.IsConnectionField(f) {
			return 0, 0, false
		}
		if string(f.Name) != "content-length" {
			continue
		}
		l, err := strconv.ParseUint(httpparse.ViewString(f.Value), 10, 63)
		if err != nil || f.Value[0] == '+' || length >= 0 && int64(l) != length {
			return 0, 0, false
		}
		length = int64(l)
	}
	return int(n), length, true
}
