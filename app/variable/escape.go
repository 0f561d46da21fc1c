// Escaping of values for each Use. URLs are in url.go.

package variable

import (
	"unicode/utf8"

	"tafe/httpparse"
)

const lowerHex = "0123456789abcdef"

var escapers = [...]func(dst []byte, value string) []byte{
	Text: appendText, Header: appendHeader, HTML: appendHTML, JSON: appendJSON, Log: appendLog,
}

func appendText(dst []byte, value string) []byte { return append(dst, value...) }

// appendHeader percent-encodes control characters, which a header cannot hold.
func appendHeader(dst []byte, value string) []byte {
	from := 0
	for i := range len(value) {
		if b := value[i]; b < ' ' || b == 0x7f {
			dst = httpparse.AppendEscape(append(dst, value[from:i]...), b)
			from = i + 1
		}
	}
	return append(dst, value[from:]...)
}

func appendHTML(dst []byte, value string) []byte {
	for i := range len(value) {
		switch b := value[i]; b {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '"':
			dst = append(dst, "&#34;"...)
		case '\'':
			dst = append(dst, "&#39;"...)
		case 0:
			dst = append(dst, "\uFFFD"...)
		default:
			dst = append(dst, b)
		}
	}
	return dst
}

// appendJSON escapes a string of JSON (RFC 8259 section 7), and the characters that end a script in HTML or a line in JavaScript. Invalid UTF-8,
// DEL and the C1 control characters become U+FFFD.
func appendJSON(dst []byte, value string) []byte {
	for i := 0; i < len(value); {
		b := value[i]
		if b < utf8.RuneSelf && b != 0x7f {
			switch {
			case b == '"' || b == '\\':
				dst = append(dst, '\\', b)
			case b < ' ' || b == '<' || b == '>' || b == '&' || b == '\'':
				dst = append(dst, '\\', 'u', '0', '0', lowerHex[b>>4], lowerHex[b&15])
			default:
				dst = append(dst, b)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(value[i:])
		switch {
		case r < 0xa0:
			dst = append(dst, "\uFFFD"...)
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, '\\', 'u', '2', '0', '2', lowerHex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
		i += n
	}
	return dst
}

// appendLog escapes as Apache does: quotes and backslashes with a backslash, and other bytes that are not printable ASCII as \xHH.
func appendLog(dst []byte, value string) []byte {
	if value == "" {
		return append(dst, '-')
	}
	from := 0
	for i := range len(value) {
		b := value[i]
		if b >= ' ' && b < 0x7f && b != '"' && b != '\\' {
			continue
		}
		dst = append(dst, value[from:i]...)
		if from = i + 1; b == '"' || b == '\\' {
			dst = append(dst, '\\', b)
		} else {
			dst = append(dst, '\\', 'x', lowerHex[b>>4], lowerHex[b&15])
		}
	}
	return append(dst, value[from:]...)
}
