// The table of errors: each reason has one status, one slug and one sentence.

package httpparse

import (
	"net/http"
	"strconv"
)

// Error is the reason why a message is rejected. All of them are package-level values, so an error allocates nothing:
// compare them by pointer or by Reason, and do not modify them.
type Error struct {
	Status int    // status to answer with: 4xx or 5xx; 502 if an upstream's response was rejected
	Reason string // stable slug for logs and metrics, such as "bad-header-name"
	Detail string // one sentence for logs
}

func (e *Error) Error() string {
	return "httpparse: " + strconv.Itoa(e.Status) + " " + e.Reason + ": " + e.Detail
}

// reason is the index of an Error; accepted is none.
type reason uint8

const (
	accepted reason = iota

	tlsHello
	badMethod
	longMethod
	emptyLines
	bareCR
	bareLF
	controlByte
	headTooLarge
	targetTooLong
	incompleteHead
	headOverrun

	badTarget
	nonASCIITarget
	fragmentTarget
	formMismatch
	missingVersion
	badVersion
	unsupportedVersion
	badStatusLine

	badHeaderName
	emptyHeaderName
	spaceBeforeColon
	missingColon
	obsFold
	tooManyHeaders

	missingHost
	emptyHost
	duplicateHost
	badHost
	unknownExpectation

	badContentLength
	duplicateContentLength
	contentLengthOverflow
	bodyTooLarge
	badTransferEncoding
	unknownTransferCoding
	transferCodingNotFinal
	transferCodingIn10
	lengthAndCoding
	connectBody
	interimBody
	badSwitch

	badPseudoField
	connectionField
	lengthMismatch
	unknownProtocol

	badChunkSize
	badChunkExtension
	badChunkEnd
	chunkOverhead
	trailerTooLarge

	badEscape
	escapedNUL
	aboveRoot
	unsafeName
	unsafeValue
	unsafeMethod
	unsafeTarget

	reasonCount
)

var requestErrors = [reasonCount]Error{
	tlsHello:       {400, "tls-hello", "TLS handshake on a plain HTTP connection"},
	badMethod:      {400, "bad-method", "the method is not a token (RFC 9110 section 9.1)"},
	longMethod:     {501, "long-method", "the method is longer than any implemented method (RFC 9112 section 3)"},
	emptyLines:     {400, "empty-lines", "too many empty lines before the request line (RFC 9112 section 2.2)"},
	bareCR:         {400, "bare-cr", "a CR is not followed by LF (RFC 9112 section 2.2)"},
	bareLF:         {400, "bare-lf", "an LF is not preceded by CR (RFC 9112 section 2.2)"},
	controlByte:    {400, "control-byte", "the head contains a control byte (RFC 9110 section 5.5)"},
	headTooLarge:   {431, "head-too-large", "the head exceeds HeadBytesMax"},
	targetTooLong:  {414, "target-too-long", "the request target exceeds TargetBytesMax"},
	incompleteHead: {400, "incomplete-head", "the head does not end with an empty line"},
	headOverrun:    {400, "head-overrun", "the empty line that ends the head is followed by more bytes"},

	badTarget:          {400, "bad-target", "the request target contains an invalid character (RFC 9112 section 3.2)"},
	nonASCIITarget:     {400, "non-ascii-target", "the request target contains a byte above 0x7f (RFC 3986 section 2)"},
	fragmentTarget:     {400, "fragment-in-target", "the request target contains a fragment (RFC 9112 section 3.2)"},
	formMismatch:       {400, "target-form", "the form of the target does not fit the method (RFC 9112 section 3.2)"},
	missingVersion:     {400, "missing-version", "the request line ends before its HTTP version (RFC 9112 section 3)"},
	badVersion:         {400, "bad-version", "the HTTP version is malformed (RFC 9112 section 2.3)"},
	unsupportedVersion: {505, "unsupported-version", "only HTTP/1.x is supported (RFC 9110 section 15.6.6)"},
	badStatusLine:      {400, "bad-status-line", "the status line is malformed (RFC 9112 section 4)"},

	badHeaderName:    {400, "bad-header-name", "a field name is not a token (RFC 9110 section 5.1)"},
	emptyHeaderName:  {400, "empty-header-name", "a field name is empty (RFC 9110 section 5.1)"},
	spaceBeforeColon: {400, "space-before-colon", "whitespace between field name and colon (RFC 9112 section 5.1)"},
	missingColon:     {400, "missing-colon", "a field line has no colon (RFC 9112 section 5)"},
	obsFold:          {400, "obs-fold", "a field line starts with whitespace (RFC 9112 section 5.2)"},
	tooManyHeaders:   {431, "too-many-headers", "the number of field lines exceeds HeaderCountMax"},

	missingHost:        {400, "missing-host", "an HTTP/1.1 request has no Host (RFC 9112 section 3.2)"},
	emptyHost:          {400, "empty-host", "Host is empty and the target has no authority (RFC 9110 section 4.2.1)"},
	duplicateHost:      {400, "duplicate-host", "more than one Host (RFC 9112 section 3.2)"},
	badHost:            {400, "bad-host", "the host or its port is malformed (RFC 9110 section 7.2)"},
	unknownExpectation: {417, "unknown-expectation", "an expectation other than 100-continue (RFC 9110 section 10.1.1)"},

	badContentLength:       {400, "bad-content-length", "Content-Length is not a plain decimal number (RFC 9110 section 8.6)"},
	duplicateContentLength: {400, "duplicate-content-length", "more than one Content-Length (RFC 9112 section 6.3)"},
	contentLengthOverflow:  {400, "content-length-overflow", "Content-Length does not fit 63 bits (RFC 9110 section 8.6)"},
	bodyTooLarge:           {413, "body-too-large", "the body exceeds BodyBytesMax"},
	badTransferEncoding:    {400, "bad-transfer-encoding", "Transfer-Encoding is malformed or repeats chunked (RFC 9112 section 6.1)"},
	unknownTransferCoding:  {501, "unknown-transfer-coding", "a transfer coding other than chunked (RFC 9112 section 6.1)"},
	transferCodingNotFinal: {400, "chunked-not-final", "the last transfer coding is not chunked (RFC 9112 section 6.3)"},
	transferCodingIn10:     {400, "transfer-encoding-in-1.0", "Transfer-Encoding in an HTTP/1.0 message (RFC 9112 section 6.1)"},
	lengthAndCoding:        {400, "length-and-coding", "both Content-Length and Transfer-Encoding are present (RFC 9112 section 6.3)"},
	connectBody:            {400, "connect-with-body", "a CONNECT request declares a body (RFC 9110 section 9.3.6)"},
	interimBody:            {400, "interim-with-body", "an interim response declares a body (RFC 9110 section 15.2)"},
	badSwitch:              {400, "bad-switch", "a 101 response lacks Connection: upgrade or Upgrade (RFC 9110 section 15.2.2)"},

	badPseudoField:  {400, "bad-pseudo-field", "a pseudo-header field is missing, repeated, unknown or misplaced (RFC 9113 section 8.3)"},
	connectionField: {400, "connection-field", "an HTTP/2 request has a field of HTTP/1 connections (RFC 9113 section 8.2.2)"},
	lengthMismatch:  {400, "content-length-mismatch", "Content-Length is not the length of the body (RFC 9113 section 8.1.1)"},
	unknownProtocol: {501, "unknown-protocol", "an extended CONNECT for a protocol other than websocket (RFC 8441 section 4)"},

	badChunkExtension: {400, "bad-chunk-extension", "a chunk extension is malformed (RFC 9112 section 7.1.1)"},
	badChunkSize:      {400, "bad-chunk-size", "a chunk-size line is malformed (RFC 9112 section 7.1)"},
	badChunkEnd:       {400, "bad-chunk-end", "chunk data is not followed by CRLF (RFC 9112 section 7.1)"},
	chunkOverhead:     {400, "chunk-overhead", "chunk extensions exceed ChunkOverheadMax (RFC 9112 section 7.1.1)"},
	trailerTooLarge:   {431, "trailer-too-large", "the trailer section exceeds TrailerBytesMax"},

	badEscape:    {400, "bad-escape", "a percent sign is not followed by two hexadecimal digits (RFC 3986 section 2.1)"},
	escapedNUL:   {400, "escaped-nul", "the path contains an escaped NUL"},
	aboveRoot:    {400, "path-above-root", "dot segments climb above the root (RFC 3986 section 5.2.4)"},
	unsafeName:   {500, "unsafe-name", "the field name to send is not a token"},
	unsafeValue:  {500, "unsafe-value", "the field value to send contains a control byte"},
	unsafeMethod: {500, "unsafe-method", "the method to send is not a token"},
	unsafeTarget: {500, "unsafe-target", "the request target to send contains a space, '#', a control or a non-ASCII byte"},
}

// responseErrors are the same errors for a response. A gateway answers its client with 502 (RFC 9110 section 15.6.3).
var responseErrors = func() (errs [reasonCount]Error) {
	errs = requestErrors
	for i := range errs {
		errs[i].Status = http.StatusBadGateway
	}
	return errs
}()

func (r reason) inRequest() error { return r.in(false) }

func (r reason) inResponse() error { return r.in(true) }

func (r reason) in(response bool) error {
	switch {
	case r == accepted:
		return nil
	case response:
		return &responseErrors[r]
	}
	return &requestErrors[r]
}
