// Character classes, and scans that read eight bytes at a time. No scan reads outside its slice (see
// guardpage_test.go).

package httpparse

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

const (
	tokenByte  = 1 << iota // tchar, RFC 9110 section 5.6.2
	valueByte              // field-vchar, SP, HTAB: bytes of a field value, RFC 9110 section 5.5
	pathByte               // bytes of a target before its query
	queryByte              // bytes of a target after '?'
	hostByte               // reg-name without percent escapes, RFC 3986 section 3.2.2
	digitByte              // 0-9
	hexByte                // 0-9 a-f A-F
	schemeByte             // the letters of http and https
)

// class holds, for each byte, the sets it belongs to.
//
// Targets follow RFC 3986, plus the characters that browsers send unescaped under the WHATWG URL standard: [ ] |
// anywhere and { } ^ ` \ in the query. A backslash in a path is rejected, because many file systems and backends
// treat it as a slash. A percent sign is accepted here; DecodePath and DecodeQuery check escapes.
var class = func() (c [256]uint8) {
	set := func(bit uint8, chars string) {
		for i := range len(chars) {
			c[chars[i]] |= bit
		}
	}
	const digits = "0123456789"
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const subDelims = "!$&'()*+,;="
	set(tokenByte, "!#$%&'*+-.^_`|~"+digits+letters)
	for b := 0; b < 256; b++ {
		if b >= 0x20 && b != 0x7f || b == '\t' {
			c[b] |= valueByte
		}
	}
	set(hostByte, letters+digits+"-._~"+subDelims)
	set(pathByte|queryByte, letters+digits+"-._~"+subDelims+":@/%[]|")
	set(queryByte, "?{}^`\\")
	set(digitByte, digits)
	set(hexByte, digits+"abcdefABCDEF")
	set(schemeByte, "htpsHTPS")
	return c
}()

const (
	lanes01 = 0x0101010101010101
	lanes20 = 0x2020202020202020
	lanes7f = 0x7f7f7f7f7f7f7f7f
	lanes80 = 0x8080808080808080
)

// controls sets the top bit of each lane of w that holds a byte below 0x20 or 0x7f. A borrow can also set it in a
// higher lane, so only the lowest set bit is exact; callers use no other.
func controls(w uint64) uint64 {
	del := w ^ lanes7f
	return ((w-lanes20)&^w | (del-lanes01)&^del) & lanes80
}

func load(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// valueEnd returns the index of the first byte at or after i that is invalid in a field value, or len(b). See
// BenchmarkGuardCookies.
func valueEnd(b []byte, i int) int {
	for i <= len(b)-16 {
		low, high := controls(load(b, i)), controls(load(b, i+8))
		if low|high == 0 {
			i += 16
			continue
		}
		if low != 0 {
			i += bits.TrailingZeros64(low) >> 3
		} else {
			i += 8 + bits.TrailingZeros64(high)>>3
		}
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && class[b[i]]&valueByte != 0 {
		i++
	}
	return i
}

// classEnd returns the index of the first byte at or after i that is not in set, or len(b).
func classEnd(b []byte, i int, set uint8) int {
	for i < len(b) && class[b[i]]&set != 0 {
		i++
	}
	return i
}

// equalFold reports whether b equals lower, ignoring the case of ASCII letters. lower has no upper-case letter.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// trimLeft returns the index of the first byte at or after i that is neither SP nor HTAB, or len(b).
func trimLeft(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	return i
}

// trimRight returns the smallest end >= start such that b[end:limit] is only SP and HTAB.
func trimRight(b []byte, start, limit int) int {
	for limit > start && (b[limit-1] == ' ' || b[limit-1] == '\t') {
		limit--
	}
	return limit
}

type text interface{ ~string | ~[]byte }

// ViewBytes returns the bytes of t without copying. They must not be modified.
func ViewBytes[T text](t T) []byte {
	s := *(*string)(unsafe.Pointer(&t)) // a slice header starts with the fields of a string header: pointer, length
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// ViewString returns b as a string without copying. It is valid until b is modified.
func ViewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// ValidToken reports whether t is a token, such as a method, a field name or a coding (RFC 9110 section 5.6.2).
func ValidToken[T text](t T) bool {
	b := ViewBytes(t)
	return len(b) > 0 && classEnd(b, 0, tokenByte) == len(b)
}

// ValidFieldValue reports whether t is valid as a field value: it has no control byte except HTAB (RFC 9110 section
// 5.5). Bytes above 0x7f are valid (obs-text). Leading and trailing whitespace is valid, but the recipient removes
// it.
func ValidFieldValue[T text](t T) bool {
	b := ViewBytes(t)
	return valueEnd(b, 0) == len(b)
}
