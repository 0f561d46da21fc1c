// Field sections that this side writes. The encoder is stateless: it refers to the static table of HPACK and adds
// nothing to the dynamic one (RFC 7541 section 6.2.2). A section costs some more bytes on the wire, and no memory and
// no lookups in tables of each connection. Package hpack of x/net has the Huffman code, for values that are sent often.

package http2

import (
	"strconv"
	"unsafe"

	"golang.org/x/net/http2/hpack"
)

// The representations of a literal field (RFC 7541 sections 6.2.2 and 6.2.3).
const (
	plainLiteral     = 0x00 // without indexing
	sensitiveLiteral = 0x10 // never indexed, not by intermediaries either
	literalIndexBits = 4
)

// tableOfNothing sets the size of the dynamic table to 0. A peer that has made the table smaller than it was expects
// the next section to begin with a size (RFC 7541 section 4.2), also of an encoder that does not use it.
const tableOfNothing = 0x20

// The static table of HPACK has the response statuses at these indices (RFC 7541 appendix A).
var statusIndex = map[int]byte{200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}

const statusNameIndex = 8

// nameIndex are the indices of the names in the static table, without those of pseudo-header fields.
var nameIndex = map[string]byte{
	"accept-charset": 15, "accept-encoding": 16, "accept-language": 17, "accept-ranges": 18, "accept": 19,
	"access-control-allow-origin": 20, "age": 21, "allow": 22, "authorization": 23, "cache-control": 24,
	"content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28,
	"content-location": 29, "content-range": 30, "content-type": 31, "cookie": 32, "date": 33, "etag": 34, "expect": 35,
	"expires": 36, "from": 37, "host": 38, "if-match": 39, "if-modified-since": 40, "if-none-match": 41, "if-range": 42,
	"if-unmodified-since": 43, "last-modified": 44, "link": 45, "location": 46, "max-forwards": 47,
	"proxy-authenticate": 48, "proxy-authorization": 49, "range": 50, "referer": 51, "refresh": 52, "retry-after": 53,
	"server": 54, "set-cookie": 55, "strict-transport-security": 56, "transfer-encoding": 57, "user-agent": 58,
	"vary": 59, "via": 60, "www-authenticate": 61,
}

const (
	contentLengthIndex = 28
	contentTypeIndex   = 31
	indexedNameMax     = 32 // longer than each name of nameIndex
)

// text is a string or a view of bytes.
type text interface{ ~string | ~[]byte }

func viewOf[T text](t T) string {
	return *(*string)(unsafe.Pointer(&t)) // a slice header starts with the fields of a string header
}

// AppendStatus appends the field :status.
func AppendStatus(b []byte, status int) []byte {
	if i, ok := statusIndex[status]; ok {
		return append(b, 0x80|i)
	}
	b = append(b, plainLiteral|statusNameIndex, 3)
	return append(b, byte('0'+status/100%10), byte('0'+status/10%10), byte('0'+status%10))
}

// AppendContentLength appends the field content-length.
func AppendContentLength(b []byte, n int64) []byte {
	b = appendInteger(b, literalIndexBits, plainLiteral, contentLengthIndex)
	at := len(b)
	b = strconv.AppendInt(append(b, 0), n, 10)
	b[at] = byte(len(b) - at - 1) // at most 19 digits
	return b
}

// AppendContentType appends the field content-type.
func AppendContentType[T text](b []byte, value T) []byte {
	return appendString(appendInteger(b, literalIndexBits, plainLiteral, contentTypeIndex), viewOf(value))
}

// AppendField appends a field. The name is sent in lower case (RFC 9113 section 8.2.1); it must be a token, or that of
// a pseudo-header field, and the value valid. Cookies and credentials are marked so that no intermediary indexes them.
func AppendField[N, V text](b []byte, name N, value V) []byte {
	return appendString(appendName(b, viewOf(name)), viewOf(value))
}

// AppendHuffman is AppendField with the Huffman code, which is smaller and slower. It is for fields that are encoded
// once and sent often.
func AppendHuffman(b []byte, name, value string) []byte {
	b = appendName(b, name)
	n := hpack.HuffmanEncodeLength(value)
	if n >= uint64(len(value)) {
		return appendString(b, value)
	}
	return hpack.AppendHuffmanString(appendInteger(b, 7, 0x80, int(n)), value)
}

// appendName appends the begin of a literal field: its representation and its name.
func appendName(b []byte, name string) []byte {
	var space [indexedNameMax]byte
	if len(name) < indexedNameMax {
		lower := space[:len(name)]
		for i := range lower {
			lower[i] = lowerByte(name[i])
		}
		if i, ok := nameIndex[string(lower)]; ok {
			kind := byte(plainLiteral)
			if i == nameIndexSetCookie || i == nameIndexCookie || i == nameIndexAuthorization {
				kind = sensitiveLiteral
			}
			return appendInteger(b, literalIndexBits, kind, int(i))
		}
	}
	b = appendInteger(append(b, plainLiteral), 7, 0, len(name))
	for i := range len(name) {
		b = append(b, lowerByte(name[i]))
	}
	return b
}

const (
	nameIndexAuthorization = 23
	nameIndexCookie        = 32
	nameIndexSetCookie     = 55
)

func appendString(b []byte, s string) []byte {
	return append(appendInteger(b, 7, 0, len(s)), s...)
}

// appendInteger appends n with a prefix of some bits, whose byte has first in its other bits (RFC 7541 section 5.1).
func appendInteger(b []byte, bits uint, first byte, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}
