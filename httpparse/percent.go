// Percent-encoding (RFC 3986 section 2.1): the bytes that need none, and the escape of one byte.

package httpparse

import "strings"

// IsUnreserved reports whether b is an unreserved character, which means the same in every part of a URL and is equivalent to its escape
// (RFC 3986 section 2.3).
func IsUnreserved(b byte) bool {
	return 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9' || b == '-' || b == '.' || b == '_' || b == '~'
}

// IsPathByte reports whether b may stand in a path without an escape: pchar or '/' (RFC 3986 section 3.3).
func IsPathByte(b byte) bool { return IsUnreserved(b) || strings.IndexByte("!$&'()*+,;=:@/", b) >= 0 }

// IsHex reports whether b is a hexadecimal digit.
func IsHex(b byte) bool { return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f' }

// AppendEscape appends the escape of b, such as %2F.
func AppendEscape(dst []byte, b byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[b>>4], digits[b&15])
}
