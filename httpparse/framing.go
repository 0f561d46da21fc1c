package httpparse

// This file owns the question where a body ends (RFC 9112 section 6.3). It answers from two tables and refuses to look at
// anything but their indices.

// body is how the body of a message is delimited.
type body uint8

const (
	bodyRefused  body = iota // the zero value: a hole in a table would refuse
	bodyNone                 // no body
	bodyLength               // Content-Length bytes
	bodyChunked              // the chunked coding
	bodyTillEnd              // until the connection closes
	bodyDistrust             // none, but what follows on the connection cannot be trusted: close it
)

// verdict is one cell: a body, or why not.
type verdict struct {
	body body
	why  reason
}

func refuse(why reason) verdict { return verdict{bodyRefused, why} }

var (
	none     = verdict{body: bodyNone}
	counted  = verdict{body: bodyLength}
	chunks   = verdict{body: bodyChunked}
	tillEnd  = verdict{body: bodyTillEnd}
	distrust = verdict{body: bodyDistrust}

	both      = refuse(lengthAndCoding)
	foreign   = refuse(unknownTransferCoding)
	notFinal  = refuse(transferCodingNotFinal)
	outdated  = refuse(transferCodingIn10)
	connect   = refuse(connectBody)
	premature = refuse(interimBody)
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
var requestFraming = [requestKindsCount][codingsCount][lengthsCount]verdict{
	ordinaryRequest: {
		noCoding:         {none, none, counted},
		chunkedCoding:    {chunks, both, both},
		foreignCoding:    {foreign, both, both},
		unfinishedCoding: {notFinal, both, both},
		outdatedCoding:   {outdated, outdated, outdated},
	},
	connectRequest: {
		noCoding:         {none, none, connect},
		chunkedCoding:    {connect, connect, connect},
		foreignCoding:    {connect, connect, connect},
		unfinishedCoding: {connect, connect, connect},
		outdatedCoding:   {connect, connect, connect},
	},
}

// responseKind is the row group of the response table.
type responseKind uint8

const (
	ordinaryResponse responseKind = iota
	describingOnly                // to HEAD, and 304: the fields describe a body that is not sent
	noContent                     // 204
	interim                       // 1xx, 101 included
	tunnel                        // 2xx to CONNECT: both fields are ignored
	responseKindsCount
)

// responseFraming decides the body of a response. It is as strict as the request table, because a proxy that guesses
// where an upstream's answer ends lets one client write another's.
//
//	Transfer-Encoding \ Content-Length      none      0         > 0
var responseFraming = [responseKindsCount][codingsCount][lengthsCount]verdict{
	ordinaryResponse: {
		noCoding:         {tillEnd, none, counted},
		chunkedCoding:    {chunks, both, both},
		foreignCoding:    {foreign, both, both},
		unfinishedCoding: {notFinal, both, both},
		outdatedCoding:   {outdated, outdated, outdated},
	},
	describingOnly: {
		noCoding:         {none, none, none},
		chunkedCoding:    {none, none, none},
		foreignCoding:    {none, none, none},
		unfinishedCoding: {none, none, none},
		outdatedCoding:   {none, none, none},
	},
	noContent: {
		noCoding:         {none, none, distrust},
		chunkedCoding:    {distrust, distrust, distrust},
		foreignCoding:    {distrust, distrust, distrust},
		unfinishedCoding: {distrust, distrust, distrust},
		outdatedCoding:   {distrust, distrust, distrust},
	},
	interim: {
		noCoding:         {none, none, premature},
		chunkedCoding:    {premature, premature, premature},
		foreignCoding:    {premature, premature, premature},
		unfinishedCoding: {premature, premature, premature},
		outdatedCoding:   {premature, premature, premature},
	},
	tunnel: {
		noCoding:         {none, none, none},
		chunkedCoding:    {none, none, none},
		foreignCoding:    {none, none, none},
		unfinishedCoding: {none, none, none},
		outdatedCoding:   {none, none, none},
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
		return describingOnly
	case status == 204:
		return noContent
	}
	return ordinaryResponse
}
