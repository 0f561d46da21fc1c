// Names of fields in HTTP/2.

package httpparse

// ValidLowerName reports whether t is a field name as HTTP/2 sends it: a token without upper-case letters (RFC 9113
// section 8.2.1).
func ValidLowerName[T text](t T) bool {
	b := ViewBytes(t)
	for _, c := range b {
		if class[c]&tokenByte == 0 || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return len(b) > 0
}
