package httpparse

// This file owns the question where a body ends (RFC 9112 section 6.3). It answers from two tables and refuses to look at
// anything but their indices.

// body is how the body of a message is delimited.
type framing uint8

const (
	framingInvalid framing = iota // the zero value: a hole in a table would refuse
	noBody                        // no body
	byLength                      // Content-Length bytes
	byChunks                      // the chunked coding
	untilClose                    // until the connection closes
	noBodyClose                   // none, but what follows on the connection cannot be trusted: close it
)

// verdict is one cell: a body, or why not.
type verdict struct {
	framing framing
	why     reason
}

func refuse(why reason) verdict { return verdict{framingInvalid, why} }

var (
	ruleNone      = verdict{framing: noBody}
	ruleLength    = verdict{framing: byLength}
	ruleChunked   = verdict{framing: byChunks}
	ruleClose     = verdict{framing: untilClose}
	ruleNoneClose = verdict{framing: noBodyClose}

	errBoth     = refuse(lengthAndCoding)
	errUnknown  = refuse(unknownTransferCoding)
	errNotFinal = refuse(transferCodingNotFinal)
	errHTTP10   = refuse(transferCodingIn10)
	errConnect  = refuse(connectBody)
	errInterim  = refuse(interimBody)
)

// requestKind is the row group of the request table.
type requestKind uint8

const (
	ordinaryRequest requestKind = iota
	connectRequest              // what follows the head is the tunnel's
	requestKindsCount
)

// requestFraming decides the body of a request. Malformed and repeated fields never get here.
//
//	Transfer-Encoding \ Content-Length      none      0         > 0
var requestFraming = [requestKindsCount][transferCodingCount][lengthClassCount]verdict{
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

// responseKind is the row group of the response table.
type responseKind uint8

const (
	ordinaryResponse  responseKind = iota
	headOrNotModified              // to HEAD, and 304: the fields describe a body that is not sent
	noContent                      // 204
	interim                        // 1xx, 101 included
	tunnel                         // 2xx to CONNECT: both fields are ignored
	responseKindsCount
)

// responseFraming decides the body of a response. It is as strict as the request table, because a proxy that guesses
// where an upstream's answer ends lets one client write another's.
//
//	Transfer-Encoding \ Content-Length      none      0         > 0
var responseFraming = [responseKindsCount][transferCodingCount][lengthClassCount]verdict{
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

// kindOfResponse names the row group for a status that answers a request with method.
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
