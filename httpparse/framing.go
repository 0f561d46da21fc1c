// How a body is delimited (RFC 9112 section 6.3): one table for requests and one for responses.

package httpparse

// Framing is how the body of a message is delimited.
type Framing uint8

// The framings of RFC 9112 section 6.3.
const (
	FramingNone    Framing = iota // no body
	FramingLength                 // Content-Length bytes
	FramingChunked                // the chunked coding
	FramingClose                  // until the connection is closed
)

// bodyRule is one table entry: a framing, or the reason to reject the message.
type bodyRule struct {
	valid   bool // false in a missing entry
	framing Framing
	closes  bool // the connection is closed after the message: with FramingNone, the bytes after the head are ambiguous
	why     reason
}

func refuse(why reason) bodyRule { return bodyRule{why: why} }

var (
	ruleNone      = bodyRule{valid: true, framing: FramingNone}
	ruleLength    = bodyRule{valid: true, framing: FramingLength}
	ruleChunked   = bodyRule{valid: true, framing: FramingChunked}
	ruleClose     = bodyRule{valid: true, framing: FramingClose, closes: true}
	ruleNoneClose = bodyRule{valid: true, framing: FramingNone, closes: true}

	errBoth     = refuse(lengthAndCoding)
	errUnknown  = refuse(unknownTransferCoding)
	errNotFinal = refuse(transferCodingNotFinal)
	errHTTP10   = refuse(transferCodingIn10)
	errConnect  = refuse(connectBody)
	errInterim  = refuse(interimBody)
)

// requestKind selects the rows of requestFraming.
type requestKind uint8

const (
	ordinaryRequest requestKind = iota
	connectRequest              // the bytes after the head belong to the tunnel
	requestKindsCount
)

// requestFraming is the framing of a request (RFC 9112 section 6.3). Malformed and repeated fields are rejected earlier.
//
//	Transfer-Encoding \ Content-Length      none      0         > 0
var requestFraming = [requestKindsCount][transferCodingCount][lengthClassCount]bodyRule{
	ordinaryRequest: {
		noCoding:          {ruleNone, ruleNone, ruleLength},
		chunkedCoding:     {ruleChunked, errBoth, errBoth},
		chunkedAfterOther: {errUnknown, errBoth, errBoth},
		chunkedNotFinal:   {errNotFinal, errBoth, errBoth},
		codingInHTTP10:    {errHTTP10, errHTTP10, errHTTP10},
	},
	connectRequest: {
		noCoding:          {ruleNone, ruleNone, errConnect},
		chunkedCoding:     {errConnect, errConnect, errConnect},
		chunkedAfterOther: {errConnect, errConnect, errConnect},
		chunkedNotFinal:   {errConnect, errConnect, errConnect},
		codingInHTTP10:    {errConnect, errConnect, errConnect},
	},
}

// responseKind selects the rows of responseFraming.
type responseKind uint8

const (
	ordinaryResponse  responseKind = iota
	headOrNotModified              // response to HEAD, and 304: the fields describe a body that is not sent
	noContent                      // 204
	interim                        // 1xx, including 101
	tunnel                         // 2xx response to CONNECT: both fields are ignored
	responseKindsCount
)

// responseFraming is the framing of a response (RFC 9112 section 6.3). It is as strict as the request table: if a proxy
// misjudges the end of a response, one client can inject a response for another (response splitting).
//
//	Transfer-Encoding \ Content-Length      none      0         > 0
var responseFraming = [responseKindsCount][transferCodingCount][lengthClassCount]bodyRule{
	ordinaryResponse: {
		noCoding:          {ruleClose, ruleNone, ruleLength},
		chunkedCoding:     {ruleChunked, errBoth, errBoth},
		chunkedAfterOther: {errUnknown, errBoth, errBoth},
		chunkedNotFinal:   {errNotFinal, errBoth, errBoth},
		codingInHTTP10:    {errHTTP10, errHTTP10, errHTTP10},
	},
	headOrNotModified: {
		noCoding:          {ruleNone, ruleNone, ruleNone},
		chunkedCoding:     {ruleNone, ruleNone, ruleNone},
		chunkedAfterOther: {ruleNone, ruleNone, ruleNone},
		chunkedNotFinal:   {ruleNone, ruleNone, ruleNone},
		codingInHTTP10:    {ruleNone, ruleNone, ruleNone},
	},
	noContent: {
		noCoding:          {ruleNone, ruleNone, ruleNoneClose},
		chunkedCoding:     {ruleNoneClose, ruleNoneClose, ruleNoneClose},
		chunkedAfterOther: {ruleNoneClose, ruleNoneClose, ruleNoneClose},
		chunkedNotFinal:   {ruleNoneClose, ruleNoneClose, ruleNoneClose},
		codingInHTTP10:    {ruleNoneClose, ruleNoneClose, ruleNoneClose},
	},
	interim: {
		noCoding:          {ruleNone, ruleNone, errInterim},
		chunkedCoding:     {errInterim, errInterim, errInterim},
		chunkedAfterOther: {errInterim, errInterim, errInterim},
		chunkedNotFinal:   {errInterim, errInterim, errInterim},
		codingInHTTP10:    {errInterim, errInterim, errInterim},
	},
	tunnel: {
		noCoding:          {ruleNone, ruleNone, ruleNone},
		chunkedCoding:     {ruleNone, ruleNone, ruleNone},
		chunkedAfterOther: {ruleNone, ruleNone, ruleNone},
		chunkedNotFinal:   {ruleNone, ruleNone, ruleNone},
		codingInHTTP10:    {ruleNone, ruleNone, ruleNone},
	},
}

// kindOfResponse returns the kind of a response with status to a request with method.
func kindOfResponse(status int, method string) responseKind {
	switch {
	case status < 200:
		return interim
	case method == "CONNECT" && status < 300:
		return tunnel
	case method == "HEAD", status == 304:
		return headOrNotModified
	case status == 204:
		return noContent
	}
	return ordinaryResponse
}
