package httpparse

// This file owns the classes of bytes and the scans over them, eight bytes at a time where that pays. It refuses to know
// what a line means. No scan reads a byte outside the slice it was given (the guard-page test proves it).

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

const (
	tokenByte  = 1 << iota // tchar, RFC 9110 section 5.6.2
	valueByte              // field-vchar, SP, HTAB: what a field value may hold, RFC 9110 section 5.5
	pathByte               // what a target may hold before its query
	queryByte              // what a target may hold after '?'
	hostByte               // reg-name without its percent escapes, RFC 3986 section 3.2.2
	digitByte              // 0-9
	hexByte                // 0-9 a-f A-F
	schemeByte             // the letters of http and https
)

// class tells for each byte which of the sets above hold it.
//
// Targets follow RFC 3986 plus the characters that the WHATWG URL standard makes browsers send raw: [ ] | anywhere and
// { } ^ ` \ in the query. A backslash in a path stays refused: too many file systems and backends read it as a slash.
// A percent sign is taken as it is; DecodePath and DecodeQuery judge the escape.
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

// controls marks the lanes of w that hold a byte below 0x20 or 0x7f by their top bit. Borrows can mark a lane above a
// true one falsely, so only the lowest mark is exact; callers look at no other.
func controls(w uint64) uint64 {
	del := w ^ lanes7f
	return ((w-lanes20)&^w | (del-lanes01)&^del) & lanes80
}

func load(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// valueEnd returns the index of the first byte at or after i that no field value may hold, or len(b).
// BenchmarkGuardCookies holds its cost.
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

// equalFold tells whether b is lower, ignoring the case of ASCII letters. lower holds no upper-case letter.
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

// view returns the bytes of t without copying them; nobody may write to them.
func view[T text](t T) []byte {
	s := *(*string)(unsafe.Pointer(&t)) // a slice header starts as a string header does: pointer, length
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// ValidToken tells whether t is a token: a method, a field name, a coding (RFC 9110 section 5.6.2).
func ValidToken[T text](t T) bool {
	b := view(t)
	return len(b) > 0 && classEnd(b, 0, tokenByte) == len(b)
}

// ValidFieldValue tells whether t can stand as a field value: no control byte except HTAB (RFC 9110 section 5.5).
// Bytes above 0x7f are allowed as obs-text; whitespace at either end is allowed and lost on the way.
func ValidFieldValue[T text](t T) bool {
	b := view(t)
	return valueEnd(b, 0) == len(b)
}
